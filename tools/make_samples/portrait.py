"""The portrait that every face of the sample corpora is warped from, with hand-set landmarks and masks.

The photograph is NASA's portrait of Eileen Collins as scikit-image carries it (public domain). All
coordinates are pixels of the crop that `load_portrait` returns, x to the right and y down.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import skimage.data
from numpy.typing import NDArray

CROP_RIGHT, CROP_BOTTOM = 390, 400

LANDMARKS: dict[str, tuple[float, float]] = {
    "brow_left_outer": (190.2, 90.2),
    "brow_left_middle": (200.7, 88.1),
    "brow_left_inner": (213.4, 92.3),
    "brow_right_inner": (238.6, 93.4),
    "brow_right_middle": (251.3, 92.0),
    "brow_right_outer": (262.9, 95.6),
    "lid_left": (202.6, 93.0),
    "lid_right": (247.2, 95.3),
    "eye_left_outer": (193.1, 100.7),
    "eye_left_upper": (202.8, 97.0),
    "eye_left_lower": (203.0, 105.2),
    "eye_left_inner": (211.5, 102.4),
    "eye_right_inner": (236.9, 104.7),
    "eye_right_upper": (246.7, 98.9),
    "eye_right_lower": (246.7, 107.2),
    "eye_right_outer": (258.6, 103.3),
    "nose_bridge": (223.1, 107.9),
    "nose_tip": (223.8, 126.7),
    "nose_left": (213.7, 128.9),
    "nose_right": (236.9, 129.6),
    "cheek_left": (195.0, 126.0),
    "cheek_right": (252.0, 128.0),
    "fold_left": (196.5, 138.5),
    "fold_right": (251.0, 140.0),
    "mouth_left": (203.4, 140.3),
    "mouth_right": (244.0, 141.2),
    "lip_top_out_left": (207.9, 139.4),
    "lip_top_out_right": (239.8, 140.1),
    "lip_upper_inner_out_left": (207.9, 141.4),
    "lip_upper_inner_out_right": (239.8, 142.3),
    "lip_lower_inner_out_left": (207.9, 144.4),
    "lip_lower_inner_out_right": (239.8, 144.9),
    "lip_bottom_out_left": (207.7, 146.9),
    "lip_bottom_out_right": (240.0, 147.5),
    "lip_top_left": (213.7, 139.2),
    "lip_top": (224.6, 139.5),
    "lip_top_right": (235.4, 139.6),
    "lip_upper_inner_left": (213.0, 143.2),
    "lip_upper_inner": (224.3, 144.2),
    "lip_upper_inner_right": (234.6, 143.8),
    "lip_lower_inner_left": (213.4, 147.6),
    "lip_lower_inner": (224.0, 149.4),
    "lip_lower_inner_right": (234.4, 147.8),
    "lip_bottom_left": (213.0, 151.6),
    "lip_bottom": (223.8, 154.6),
    "lip_bottom_right": (234.2, 152.0),
    "chin": (222.4, 178.0),
    "jaw_left": (197.8, 168.7),
    "jaw_right": (244.1, 171.6),
    "jaw_left_upper": (185.5, 151.3),
    "jaw_right_upper": (261.5, 154.2),
    "side_left": (181.0, 128.0),
    "side_right": (268.0, 131.0),
}
"""Points that expressions and identities move."""

ANCHORS: tuple[tuple[float, float], ...] = (
    (203.6, 78.0), (225.3, 80.0), (251.3, 84.0),  # the hair line
    (225.0, 15.0), (180.0, 30.0), (270.0, 30.0), (154.0, 79.0), (299.0, 86.0), (160.0, 115.0),
    (292.0, 120.0),
    (186.0, 186.0), (254.0, 190.0), (220.0, 200.0),  # the collar
    (30.0, 200.0), (410.0, 200.0), (220.0, 330.0), (30.0, -60.0), (410.0, -60.0), (30.0, 420.0),
    (410.0, 420.0),
)  # fmt: skip
"""Points that stay where they are: hair, collar, the surroundings."""

_OUTLINE = (
    (220, 12), (182, 24), (150, 62), (142, 92), (154, 120), (176, 134), (130, 146), (110, 185), (102, 206),
    (74, 228), (52, 246), (36, 285), (20, 340), (8, 410), (370, 410), (366, 330), (348, 272), (310, 236),
    (306, 210), (266, 166), (264, 140), (276, 134), (302, 112), (306, 70), (282, 36), (250, 16),
)  # fmt: skip
_FACE = (
    (190, 84), (203, 79), (225, 81), (248, 86), (262, 90), (267, 110), (269, 132), (261, 156), (244, 173),
    (222, 180), (198, 170), (185, 152), (180, 130), (184, 104),
)  # fmt: skip
_BROW_LEFT = ((191, 90), (196, 88.6), (201, 88.4), (207, 90), (213, 92))
_BROW_RIGHT = ((239, 93), (245, 92.2), (251, 92), (257, 93.2), (262, 95.4))
_FURROW_LEFT = ((221.5, 91), (222.3, 99))
_FURROW_RIGHT = ((228.5, 91.5), (227.7, 99.5))
_FOLD_LEFT = ((211, 129), (206, 131), (201.5, 134.5), (198.5, 139), (197.5, 144))
_FOLD_RIGHT = ((239.5, 130), (244.5, 132.5), (248, 136.5), (250, 141), (250.5, 145))
_MOUTH = (
    (206, 141.5), (213, 143.4), (224.3, 144.6), (234.6, 144), (242, 142), (235, 147.6), (224, 149.2),
    (213.5, 147.4),
)  # fmt: skip
_BEARD = (
    (183, 140), (192, 142), (203, 134), (220, 134), (240, 134), (254, 143), (265, 142), (260, 160),
    (244, 176), (222, 184), (198, 174), (184, 156),
)  # fmt: skip


@dataclass(frozen=True)
class Portrait:
    """The photograph taken apart: float32 RGB in 0..255, and masks in 0..1 of the same height and width."""

    image: NDArray[np.float32]
    figure: NDArray[np.float32]
    hair: NDArray[np.float32]
    suit: NDArray[np.float32]
    beard: NDArray[np.float32]
    brows: NDArray[np.float32]
    furrow: NDArray[np.float32]
    """The two upright folds between drawn brows; the photograph has none there."""
    folds: NDArray[np.float32]
    """The smile's folds, from the nose's wings past the corners of the mouth."""
    mouth: NDArray[np.float32]
    """The opening between the lips, where the photograph shows teeth."""


def _polygon(shape: tuple[int, int], points: tuple[tuple[float, float], ...], feather: float) -> NDArray[np.float32]:
    """Filled polygon drawn at four times the resolution, then feathered by a Gaussian of that many pixels."""
    height, width = shape
    large = np.zeros((height * 4, width * 4), np.uint8)
    cv2.fillPoly(large, [np.round(np.array(points) * 4 + 1.5).astype(np.int32)], 255)
    mask = cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return cv2.GaussianBlur(mask, (0, 0), feather).astype(np.float32)


def _stroke(shape: tuple[int, int], points: tuple[tuple[float, float], ...], feather: float) -> NDArray[np.float32]:
    """A line two pixels wide through the points, feathered."""
    height, width = shape
    large = np.zeros((height * 4, width * 4), np.uint8)
    cv2.polylines(large, [np.round(np.array(points) * 4 + 1.5).astype(np.int32)], False, 255, thickness=8)
    mask = cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return cv2.GaussianBlur(mask, (0, 0), feather).astype(np.float32)


def _cut_out(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Alpha of head and shoulders: GrabCut started from a hand-drawn outline."""
    shape = image.shape[:2]
    inside = _polygon(shape, _OUTLINE, 0.5) > 0.5
    sure = cv2.erode(inside.astype(np.uint8), np.ones((29, 29), np.uint8), borderValue=1) > 0
    labels = np.full(shape, cv2.GC_BGD, np.uint8)
    labels[inside] = cv2.GC_PR_BGD
    labels[sure] = cv2.GC_FGD
    cv2.setNumThreads(1)
    cv2.setRNGSeed(7)
    cv2.grabCut(image, labels, (0, 0, 0, 0), np.zeros((1, 65)), np.zeros((1, 65)), 6, cv2.GC_INIT_WITH_MASK)
    figure = ((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)).astype(np.uint8)
    figure = cv2.morphologyEx(figure, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    figure = cv2.erode(figure, np.ones((3, 3), np.uint8))
    return cv2.GaussianBlur(figure.astype(np.float32), (0, 0), 0.8).astype(np.float32)


@cache
def load_portrait() -> Portrait:
    """Crop the photograph to head and shoulders and cut it into its parts."""
    photograph = skimage.data.astronaut()  # type: ignore[no-untyped-call]
    image = np.ascontiguousarray(photograph[:CROP_BOTTOM, :CROP_RIGHT])
    shape = image.shape[:2]
    figure = _cut_out(image)
    rows = np.arange(shape[0], dtype=np.float32)[:, None]
    face = _polygon(shape, _FACE, 1.5)
    hair = figure * (1 - face) * np.clip((138 - rows) / 10, 0, 1)
    red, green, blue = (image[..., channel].astype(np.float32) for channel in range(3))
    orange = ((red - blue > 60) & (red - green > 40) & (rows > 190)).astype(np.float32)
    suit = cv2.GaussianBlur(orange, (0, 0), 0.8)
    return Portrait(
        image=image.astype(np.float32),
        figure=figure,
        hair=hair.astype(np.float32),
        suit=suit.astype(np.float32),
        beard=_polygon(shape, _BEARD, 3.0),
        brows=np.maximum(_stroke(shape, _BROW_LEFT, 1.0), _stroke(shape, _BROW_RIGHT, 1.0)),
        furrow=np.maximum(_stroke(shape, _FURROW_LEFT, 0.7), _stroke(shape, _FURROW_RIGHT, 0.7)),
        folds=np.clip(1.6 * np.maximum(_stroke(shape, _FOLD_LEFT, 2.2), _stroke(shape, _FOLD_RIGHT, 2.2)), 0, 1),
        mouth=np.clip(1.3 * _polygon(shape, _MOUTH, 0.7), 0, 1),
    )
