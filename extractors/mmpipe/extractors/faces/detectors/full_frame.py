"""The detector for videos that are cropped to one face already: the whole frame is the face."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from mmpipe.extractors.faces.detectors.contract import Detection, Detector, DetectorConfig, Image

__all__ = ["FullFrame", "FullFrameConfig"]


class FullFrameConfig(DetectorConfig):
    """Config of the full-frame detector: it has no options."""


class FullFrame(Detector):
    """One face an image, as large as the image, with score 1."""

    Config: ClassVar[type[DetectorConfig]] = FullFrameConfig
    margin: ClassVar[float] = 0.0

    def weights(self) -> dict[str, str]:
        """Empty: there is no model."""
        return {}

    def versions(self) -> dict[str, str]:
        """Empty: no library decides the values."""
        return {}

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        """The frame of each image.

        Example:
            >>> import numpy as np
            >>> FullFrame(FullFrameConfig()).detect([np.zeros((48, 64, 3), np.uint8)])[0][0].box
            (0.0, 0.0, 64.0, 48.0)
        """
        return [[Detection((0.0, 0.0, float(image.shape[1]), float(image.shape[0])), 1.0)] for image in images]
