"""The contract of a face detector: RGB images in, boxes out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from mmpipe.core.options import Options

__all__ = ["Box", "Detection", "Detector", "DetectorConfig", "Image"]

Image = npt.NDArray[np.uint8]
"""RGB uint8 [H, W, 3]."""

Box = tuple[float, float, float, float]
"""Left, top, width and height in pixels; a face at the border may reach beyond the image."""


@dataclass(frozen=True, slots=True)
class Detection:
    """A face found in an image.

    Attributes:
        box: left, top, width, height in pixels.
        score: the detector's confidence in [0, 1].
        landmarks: five (x, y) points in pixels: the eye on the image's left, the eye on its right, the nose
            tip, the mouth's corner on the left and on the right; None where the detector finds none.
    """

    box: Box
    score: float
    landmarks: tuple[tuple[float, float], ...] | None = None


class DetectorConfig(Options):
    """Base of every detector's config: frozen, unknown fields refused. It enters the shard's fingerprint."""


class Detector(ABC):
    """One way to find faces. Subclasses set `Config` and `margin` and are named in the registry.

    Constructing a detector is cheap and loads no model: `prepare` does, once in every worker. A detector runs on the
    CPU, in the worker that decodes the frames: a frame depends on the one before, so there is no batch for a GPU.
    """

    Config: ClassVar[type[DetectorConfig]]

    margin: ClassVar[float]
    """Enlargement that frames the detector's boxes as FER2013 frames a face: the crop's side is
    (1 + margin) times the longer side of the box."""

    def __init__(self, config: DetectorConfig) -> None:
        self.config = config

    @abstractmethod
    def weights(self) -> dict[str, str]:
        """Name -> SHA-256 (hex) of every weight file that decides the values; empty where there is none.

        Raises:
            WeightsError: a file is missing or altered.
        """

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Name -> version of the libraries that change the values."""

    def prepare(self) -> None:  # noqa: B027 - optional hook, a detector without a model needs none
        """Load what the detector needs, once in every worker; raises `WeightsError` where it cannot."""

    @abstractmethod
    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        """The faces of each image, best score first; an empty list where there is none.

        The result for an image depends on that image, the config and the weights only, never on the other images.
        """

    def detect_near(self, image: Image, box: Box) -> list[Detection]:
        """The faces near the place where a face was shortly before, found with less work than `detect`.

        After an empty list the whole image is searched, so a detector without a shortcut inherits this method.

        Args:
            image: the frame to search.
            box: where the face was in an earlier frame of the same camera.
        """
        del image, box
        return []
