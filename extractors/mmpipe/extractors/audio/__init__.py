"""Audio extractors: a waveform in, features out."""
