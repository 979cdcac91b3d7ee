"""SeetaFace (Wu, Kan, He, Shan and Chen 2016), the paper's face detector: a funnel-structured cascade.

Its Rust port comes with the `rustface` wheel (extra `seetaface`, Linux x86-64). Every frame is searched once, upright
and as a whole, as the engine does it: there is no search near a known box and none of rotated frames.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from typing import ClassVar

import cv2
import numpy as np
from pydantic import Field

from mmpipe.extractors.faces.detectors.contract import Detection, Detector, DetectorConfig, Image
from mmpipe.extractors.faces.detectors.seetaface_library import WINDOW, Engine, library_paths
from mmpipe.extractors.faces.detectors.views import View
from mmpipe.extractors.weights.bundled import sha256

__all__ = ["SeetaFace", "SeetaFaceConfig"]


class SeetaFaceConfig(DetectorConfig):
    """Config of SeetaFace. Defaults are those of the engine's own demonstration program where it has the option."""

    min_face_pixels: int = Field(default=WINDOW, ge=20)
    """Smallest face to look for, in pixels of the frame, whatever the fraction says. Below 40, the engine's window, the
    frame is enlarged, at a cost that grows nearly with the square: 20 takes 2.6 times as long as 40."""

    min_face_fraction: float = Field(default=0.1, gt=0, le=1)
    """Smallest face to look for, as a part of the frame's shorter side: larger frames are reduced, so that the work
    hardly grows with the frame. A frame of up to 400 pixels is searched at its own size."""

    threshold: float = Field(default=2.0, gt=0, le=100)
    """Score of the cascade's last network that a face needs; the engine's scores have no upper bound."""

    pyramid_step: float = Field(default=0.8, ge=0.1, le=0.95)
    """Size of a pyramid level relative to the one before."""

    window_step: int = Field(default=4, ge=1, le=WINDOW)
    """Pixels from one window to the next."""


class SeetaFace(Detector):
    """The paper's detector: upright faces, whole frames only. Every face has score 1: the library returns no scores."""

    Config: ClassVar[type[DetectorConfig]] = SeetaFaceConfig
    margin: ClassVar[float] = 0.1
    """Measured as that of MTCNN, by `python -m studies.framing --calibrate`: of the 89 % found, the image's side is
    1.095 times that of the box (quartiles 1.01 and 1.21), and the centres agree."""

    config: SeetaFaceConfig

    def weights(self) -> dict[str, str]:
        """Hashes of the library and of the model.

        Raises:
            WeightsError: this is not Linux on x86-64, or the package or a file is missing or altered.
        """
        return {name: sha256(path) for name, path in library_paths().items()}

    def versions(self) -> dict[str, str]:
        """OpenCV scales the frame; the hash of the library says the rest."""
        return {"opencv-python-headless": importlib.metadata.version("opencv-python-headless")}

    def prepare(self) -> None:
        """Load library and model; they run on one thread of the CPU.

        Raises:
            WeightsError: they are missing, altered or do not load here.
        """
        config = self.config
        self._engine = Engine(config.threshold, config.pyramid_step, config.window_step)

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        """The faces of each image in the engine's order, the best first; all have score 1."""
        return [self._search(image) for image in images]

    def _search(self, image: Image) -> list[Detection]:
        view = _working(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False), self.config)
        return [view.placed(Detection(box, 1.0)) for box in self._engine.find(view.image)]


def _working(gray: Image, config: SeetaFaceConfig) -> View:
    """The gray image at the size at which the smallest face fills the engine's window."""
    height, width = gray.shape
    scale = WINDOW / max(config.min_face_pixels, config.min_face_fraction * min(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if size == (width, height):
        return View(gray, np.eye(2, 3))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    scaled = cv2.resize(gray, size, interpolation=method).astype(np.uint8, copy=False)
    return View(scaled, np.array([[width / size[0], 0.0, 0.0], [0.0, height / size[1], 0.0]]))
