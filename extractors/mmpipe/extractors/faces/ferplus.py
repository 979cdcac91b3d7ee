"""Constants of the expression network from FERPlus and FER2013: size of a face, classes, statistics."""

from __future__ import annotations

__all__ = ["CROP_SIZE", "EXPRESSION_WIDTH", "FERPLUS_CLASSES", "FERPLUS_MEAN", "FERPLUS_STD"]

CROP_SIZE = 64
"""Height and width of a face crop in pixels."""

FERPLUS_CLASSES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
"""The classes of FERPlus in the order of its vote columns (Barsoum et al. 2016)."""

FERPLUS_MEAN, FERPLUS_STD = 129.42, 64.86
"""Mean and deviation of the FER2013 training faces on the 0..255 scale."""

EXPRESSION_WIDTH = 342
"""Values of the expression network's feature (paper section 4.2)."""
