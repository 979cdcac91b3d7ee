"""A decoded frame as a player shows it: fields, pixel shape, display matrix and changes of size.

The order is that of players: of an interlaced frame the first field is kept; pixels that are not square change the
width; the display matrix turns or mirrors; a frame of another size than the stream's is fitted into that, with black
borders where its shape differs.
"""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Geometry", "Image", "shown"]

Image = npt.NDArray[np.uint8]
_Matrix = tuple[int, int, int, int]

_WIDEST_PIXEL = 10
"""A pixel more than so many times wider than high, or higher than wide, is a damaged header and counts as square."""

_ROUNDED_PIXELS = 2
"""A border no wider than this is not left black."""


class Geometry:
    """How the frames of a stream are shown.

    Args:
        width: pixels of a coded line, by the stream's header.
        height: coded lines.
        pixel: width of a pixel divided by its height; None where the header does not tell.

    Attributes:
        coded: width and height of coded frames.
        width: width of a shown frame, before it is turned.
        height: its height.
        matrices: the display matrix of frames, by the rotation that they tell. A frame and its side data refer to each
            other, so the side data of every frame would keep frames in memory.
    """

    def __init__(self, width: int, height: int, pixel: Fraction | None) -> None:
        self.coded = width, height
        is_sound = pixel is not None and Fraction(1, _WIDEST_PIXEL) <= pixel <= _WIDEST_PIXEL
        self.width = max(1, round(width * pixel)) if is_sound and pixel is not None else width
        self.height = height
        self.matrices: dict[int, _Matrix | None] = {}


def shown(frame: Any, geometry: Geometry) -> Image:
    """The frame as RGB uint8 [H, W, 3], upright, with square pixels, in the size of its stream."""
    image: Image = frame.to_ndarray(format="rgb24")
    if frame.interlaced_frame and len(image) > 2:
        above = image[0::2][: len(image[1::2])].astype(np.uint16)
        below = np.concatenate([image[2::2], image[-2:-1]])[: len(above)]
        image[1::2] = ((above + below + 1) // 2).astype(np.uint8)
    if (image.shape[1], image.shape[0]) != (geometry.width, geometry.height):
        image = _fitted(image, geometry)
    return _turned(image, frame, geometry)


def _fitted(image: Image, geometry: Geometry) -> Image:
    """The image scaled into the size of its stream; where the coded shape differs, in the middle of a black frame."""
    import cv2

    height, width = image.shape[:2]
    full = geometry.width, geometry.height
    wide = width * geometry.width / geometry.coded[0]  # pixels of one stream have one shape
    scale = min(full[0] / wide, full[1] / height)
    fitted = max(1, round(wide * scale)), max(1, round(height * scale))
    size = tuple(whole if whole - part <= _ROUNDED_PIXELS else part for whole, part in zip(full, fitted, strict=True))
    shrinks = size[0] * size[1] < width * height
    scaled: Any = cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    if size == full:
        return np.asarray(scaled, np.uint8)
    whole = np.zeros((geometry.height, geometry.width, 3), np.uint8)
    top, left = (geometry.height - size[1]) // 2, (geometry.width - size[0]) // 2
    whole[top : top + size[1], left : left + size[0]] = scaled
    return whole


def _turned(image: Image, frame: Any, geometry: Geometry) -> Image:
    """The image turned and mirrored by the nearest of the eight positions of its display matrix."""
    turn = frame.rotation
    if turn not in geometry.matrices:
        geometry.matrices[turn] = _matrix(frame)
    matrix = geometry.matrices[turn]
    if matrix is None:
        return image
    a, b, c, d = matrix  # a point (x, y) is shown at (a x + c y, b x + d y)
    if abs(a) + abs(d) >= abs(b) + abs(c):
        rows, columns = d < 0, a < 0
    else:
        image = image.transpose(1, 0, 2)
        rows, columns = b < 0, c < 0
    if rows:
        image = image[::-1]
    if columns:
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def _matrix(frame: Any) -> _Matrix | None:
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d = struct.unpack("=5i", bytes(data)[:20])
            return a, b, c, d
    return None
