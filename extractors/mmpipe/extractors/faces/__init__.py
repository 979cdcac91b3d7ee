"""Face extractors: frames to crops, crops to expression features."""
