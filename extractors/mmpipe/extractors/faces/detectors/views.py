"""Other views of a frame for a detector to search: the surroundings of a box, rotations, equalised contrast.

Each view maps what is found in it back to the frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mmpipe.extractors.faces.detectors.contract import Box, Detection, Image

__all__ = ["TILT_DEGREES", "View", "around", "evened", "faces_in", "overlap", "reduced", "square", "tilted"]

TILT_DEGREES = 18.0
"""Rotation of a frame that is searched again. Detectors trained on upright faces miss faces that are tilted by more."""


@dataclass(frozen=True)
class View:
    """An image made from a frame.

    Attributes:
        image: what to search, RGB uint8 [H, W, 3].
        to_frame: matrix float64 [2, 3] from the view's pixels to those of the frame.
    """

    image: Image
    to_frame: npt.NDArray[np.float64]

    def placed(self, face: Detection) -> Detection:
        """A face of the view as one of the frame; its box stays upright."""
        scale = math.hypot(self.to_frame[0, 0], self.to_frame[0, 1])
        left, top, width, height = face.box
        x, y = self._point(left + width / 2, top + height / 2)
        size = width * scale, height * scale
        points = None if face.landmarks is None else tuple(self._point(*point) for point in face.landmarks)
        return Detection((x - size[0] / 2, y - size[1] / 2, *size), face.score, points)

    def _point(self, x: float, y: float) -> tuple[float, float]:
        placed_x, placed_y = self.to_frame @ (x, y, 1.0)
        return float(placed_x), float(placed_y)


def around(image: Image, box: Box, times: float, side: int) -> View:
    """The square around a box, scaled to `side` pixels; beyond the frame its border is repeated.

    Args:
        image: the frame.
        box: left, top, width, height in pixels.
        times: side of the square relative to the longer side of the box.
        side: side of the view in pixels.
    """
    pixels = max(2, round(times * max(box[2:])))
    left, top = round(box[0] + (box[2] - pixels) / 2), round(box[1] + (box[3] - pixels) / 2)
    part = np.ascontiguousarray(square(image, left, top, pixels))
    method = cv2.INTER_AREA if pixels > side else cv2.INTER_LINEAR
    scale = pixels / side
    matrix = np.array([[scale, 0.0, left], [0.0, scale, top]])
    view: npt.NDArray[Any] = cv2.resize(part, (side, side), interpolation=method)
    return View(view, matrix)


def square(image: npt.NDArray[np.uint8], left: int, top: int, side: int) -> npt.NDArray[np.uint8]:
    """A square of an image [H, W] or [H, W, 3]; beyond the image its border is repeated. Inside, it is a view."""
    height, width = image.shape[:2]
    first_y, last_y = np.clip((top, top + side - 1), 0, height - 1)
    first_x, last_x = np.clip((left, left + side - 1), 0, width - 1)
    part = image[first_y : last_y + 1, first_x : last_x + 1]
    if part.shape[:2] == (side, side):
        return part
    above, before = np.clip((-top, -left), 0, side - 1)
    below, behind = side - above - part.shape[0], side - before - part.shape[1]
    padded: npt.NDArray[Any] = cv2.copyMakeBorder(part, above, below, before, behind, cv2.BORDER_REPLICATE)
    return padded


def tilted(image: Image, degrees: float) -> View:
    """The frame rotated counter-clockwise about its centre; its border fills the corners."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    turned: npt.NDArray[Any] = cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    back: npt.NDArray[Any] = cv2.invertAffineTransform(matrix)
    return View(turned, back)


def evened(image: Image) -> View:
    """The frame with the contrast of its parts equalised (CLAHE on the lightness, 8x8 parts, limit 3)."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(3.0, (8, 8)).apply(lab[..., 0])
    even: npt.NDArray[Any] = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    return View(even, np.eye(2, 3))


def reduced(image: Image, scale: float) -> View:
    """The frame at `scale` times its size, each pixel the mean of those it covers."""
    height, width = image.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small: npt.NDArray[Any] = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return View(small, np.array([[width / size[0], 0.0, 0.0], [0.0, height / size[1], 0.0]]))


def faces_in(views: Iterable[View], search: Callable[[Image], list[Detection]]) -> list[Detection]:
    """The faces that a search finds in several views of one frame, in its pixels; each face once, best first."""
    faces = [view.placed(face) for view in views for face in search(view.image)]
    kept: list[Detection] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if all(overlap(face.box, better.box) < 0.3 for better in kept):
            kept.append(face)
    return kept


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)
