"""YuNet (Wu, Peng and Yu 2023) through OpenCV's FaceDetectorYN: one small network, faces with five landmarks.

Frames are scaled to one working size, so that the cost is the same in every corpus and faces are large enough for the
network, which is trained on faces of 10 to 300 pixels.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
from pydantic import Field

from mmpipe.core.errors import WeightsError
from mmpipe.extractors.faces.detectors.contract import Box, Detection, Detector, DetectorConfig, Image
from mmpipe.extractors.faces.detectors.views import TILT_DEGREES, View, around, faces_in, tilted
from mmpipe.extractors.faces.detectors.yunet_model import find_yunet
from mmpipe.extractors.weights.bundled import sha256

__all__ = ["YuNet", "YuNetConfig"]

_SHORTER_SIDE, _LONGER_SIDE = 288, 640
"""Working size: the shorter side of a frame, unless the longer one would exceed its bound."""

_NEAR_TIMES, _NEAR_SIDE = 2.0, 192
"""The search around a box: a square of twice its longer side, scaled to 192 pixels, so that the face has 96."""


class YuNetConfig(DetectorConfig):
    """Config of YuNet."""

    model: Path | None = None
    """The ONNX file; None looks in mmpipe's cache folder, then downloads a fixed revision from the hub."""

    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """Hash of another model; None accepts OpenCV's releases only."""

    threshold: float = Field(default=0.7, gt=0, lt=1)
    """Score that a face needs."""

    overlap: float = Field(default=0.3, gt=0, lt=1)
    """Of boxes that overlap by more (intersection over union), the best one is kept."""

    second_look: bool = True
    """Search a frame without a face again, rotated by 18 degrees to either side."""


class YuNet(Detector):
    """Faster than MTCNN and better on tilted and blurred faces; its model is a file of its own."""

    Config: ClassVar[type[DetectorConfig]] = YuNetConfig
    margin: ClassVar[float] = -0.02
    config: YuNetConfig

    @property
    def _path(self) -> Path:
        return find_yunet(self.config.model, self.config.sha256)

    def weights(self) -> dict[str, str]:
        """The hash of the model.

        Raises:
            WeightsError: the model is missing or altered; the message says where to put which file.
        """
        return {self._path.name: sha256(self._path)}

    def versions(self) -> dict[str, str]:
        """OpenCV decides the values."""
        return {"opencv-python-headless": importlib.metadata.version("opencv-python-headless")}

    def prepare(self) -> None:
        """Load the model; it runs on the CPU.

        Raises:
            WeightsError: the model is missing, altered, or OpenCV cannot read it.
        """
        path, config = self._path, self.config
        try:
            with _without_warnings():
                self._network: Any = cv2.FaceDetectorYN.create(
                    str(path), "", (_NEAR_SIDE, _NEAR_SIDE), config.threshold, config.overlap
                )
        except cv2.error as error:
            raise WeightsError(f"OpenCV {cv2.__version__} cannot read {path}: {error.err}") from error

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        """The faces of each image, best score first."""
        return [self._looked_twice(image) for image in images]

    def detect_near(self, image: Image, box: Box) -> list[Detection]:
        """The faces in a square of twice the box, best score first."""
        return self._search(around(image, box, _NEAR_TIMES, _NEAR_SIDE))

    def _looked_twice(self, image: Image) -> list[Detection]:
        view = _working(image)
        found = self._search(view)
        if found or not self.config.second_look:
            return found
        turned = (tilted(view.image, degrees) for degrees in (TILT_DEGREES, -TILT_DEGREES))
        return [view.placed(face) for face in faces_in(turned, self._faces)]

    def _search(self, view: View) -> list[Detection]:
        return [view.placed(face) for face in self._faces(view.image)]

    def _faces(self, image: Image) -> list[Detection]:
        """The faces of an image at its own size."""
        height, width = image.shape[:2]
        self._network.setInputSize((width, height))
        _, rows = self._network.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        faces = []
        for row in [] if rows is None else rows:
            left, top, wide, high, *points, score = (float(value) for value in row)
            landmarks = tuple(zip(points[::2], points[1::2], strict=True))
            faces.append(Detection((left, top, wide, high), score, landmarks))
        return sorted(faces, key=lambda face: -face.score)


def _working(image: Image) -> View:
    """The image at its working size."""
    height, width = image.shape[:2]
    scale = min(_SHORTER_SIDE / min(height, width), _LONGER_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    back = np.array([[width / size[0], 0.0, 0.0], [0.0, height / size[1], 0.0]])
    view: Any = cv2.resize(image, size, interpolation=method) if scale != 1 else image
    return View(view, back)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Suppress OpenCV's warnings: OpenCV 5 warns of a target that FaceDetectorYN always sets."""
    levels: Any = cv2.utils.logging
    before = levels.getLogLevel()
    levels.setLogLevel(levels.LOG_LEVEL_ERROR)
    try:
        yield
    finally:
        levels.setLogLevel(before)
