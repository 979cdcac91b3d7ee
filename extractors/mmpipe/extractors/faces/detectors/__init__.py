"""Face detectors with one contract: images in, boxes out."""
