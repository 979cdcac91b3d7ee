"""Face detectors behind one contract: images in, boxes out."""
