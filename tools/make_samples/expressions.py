"""Facial expressions as movements of the portrait's landmarks, in pixels of the portrait.

Each movement is (outward, down): for a left/right pair of landmarks `outward` is away from the middle of the
face, for a single landmark it is ignored. The face is about 87 pixels wide, and the photograph smiles:
neutral is a movement too.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from portrait import LANDMARKS

Movement = dict[str, tuple[float, float]]

CLOSED: Movement = {
    "mouth": (-3.4, 5.2),
    "fold": (-1.4, 2.6),
    "lip_top_out": (-2.6, 2.9),
    "lip_top_*": (-1.2, 1.6),
    "lip_top": (0, 1.0),
    "lip_upper_inner_out": (-2.6, 3.8),
    "lip_upper_inner_*": (-1.2, 2.2),
    "lip_upper_inner": (0, 1.4),
    "lip_lower_inner_out": (-2.6, 1.6),
    "lip_lower_inner_*": (-1.2, -1.1),
    "lip_lower_inner": (0, -2.5),
    "lip_bottom_out": (-2.4, 1.5),
    "lip_bottom_*": (-1.2, -0.6),
    "lip_bottom": (0, -1.8),
    "cheek": (-0.5, 1.5),
    "nose": (-1.0, 0.5),
    "eye_*_lower": (0, 0.5),
    "chin": (0, -1.0),
}
"""From the photograph's smile to closed, level lips."""

_ACTIONS: dict[str, Movement] = {
    "neutral": {},
    "sadness": {
        "mouth": (-0.6, 4.2), "fold": (0, 2.4), "lip_top_out": (-0.3, 2.6),
        "lip_upper_inner_out": (-0.4, 2.7),
        "lip_lower_inner_out": (-0.4, 2.7), "lip_bottom_out": (-0.4, 2.4), "lip_top_*": (0, 1.1),
        "lip_upper_inner_*": (0, 1.2), "lip_lower_inner_*": (0, 1.2), "lip_bottom_*": (0, 1.0),
        "lip_bottom": (0, -0.6), "lip_lower_inner": (0, -0.4),
        "brow_*_inner": (-1.2, -4.2), "brow_*_middle": (0, -0.8), "brow_*_outer": (0, 2.2),
        "eye_*_upper": (0, 2.0), "lid": (0, 0.6),
        "eye_*_inner": (0, -0.6), "cheek": (0, 0.6), "chin": (0, -1.0),
    },
    "anger": {
        "brow_*_inner": (-2.6, 4.4), "brow_*_middle": (-0.6, 3.2), "brow_*_outer": (0, -0.6),
        "eye_*_upper": (0, 1.9),
        "eye_*_lower": (0, -1.3), "mouth": (0.8, 2.4), "fold": (0.4, 1.2), "lip_top": (0, 0.8),
        "lip_top_out": (0.6, 1.6), "lip_upper_inner_out": (0.6, 1.6), "lip_lower_inner_out": (0.6, 1.6),
        "lip_bottom_out": (0.6, 1.4), "lip_top_*": (0, 1.0), "lip_upper_inner_*": (0, 0.7),
        "lip_lower_inner_*": (0, 0.7), "lip_bottom": (0, -1.0),
        "lip_bottom_*": (0.5, 0.4), "nose": (1.6, -0.6), "jaw_*_upper": (1.0, 0), "lid": (0, 2.2),
    },
    "surprise": {
        "brow_*_inner": (0, -4.6), "brow_*_middle": (0, -5.2), "brow_*_outer": (0, -4.2),
        "eye_*_upper": (0, -1.7),
        "lid": (0, -2.6),
        "eye_*_lower": (0, 0.6), "mouth": (-3.2, 1.0), "lip_lower_inner": (0, 8.0),
        "lip_lower_inner_*": (0, 6.4),
        "lip_bottom": (0, 7.6), "lip_bottom_*": (0.4, 6.6),
        "lip_lower_inner_out": (-2.2, 3.8), "lip_bottom_out": (-1.8, 4.6), "lip_upper_inner_out": (-2.4, 0.2),
        "lip_top_out": (-2.2, 0), "lip_upper_inner": (0, -1.2), "chin": (0, 6.0),
        "jaw": (0, 4.0),
    },
    "fear": {
        "brow_*_inner": (-2.0, -4.6), "brow_*_middle": (0, -3.2), "brow_*_outer": (0, -1.0),
        "eye_*_upper": (0, -1.6),
        "lid": (0, -2.4),
        "mouth": (4.0, 1.6), "lip_lower_inner": (0, 3.2), "lip_lower_inner_*": (1.0, 2.6),
        "lip_bottom": (0, 3.0),
        "lip_bottom_*": (1.6, 2.6), "lip_lower_inner_out": (2.8, 2.2), "lip_bottom_out": (2.8, 2.2),
        "lip_upper_inner_out": (2.8, 0.8), "lip_top_out": (2.6, 0.8), "chin": (0, 1.4),
    },
    "disgust": {
        "brow_*_inner": (-1.2, 2.8), "brow_*_middle": (0, 2.0), "lid": (0, 1.4), "eye_*_upper": (0, 1.2),
        "eye_*_lower": (0, -1.6),
        "nose": (1.2, -1.8), "nose_tip": (0, -1.2), "lip_top": (0, -2.6), "lip_top_*": (0, -3.2),
        "lip_upper_inner": (0, -1.0), "lip_upper_inner_*": (0, -1.4), "mouth": (1.0, 1.8),
        "lip_top_out": (0.6, -1.6), "lip_upper_inner_out": (0.6, 0), "lip_lower_inner_out": (0.6, 1.0),
        "lip_bottom_out": (0.6, 0.8), "cheek": (0, -2.0),
    },
}  # fmt: skip
_SMILE: Movement = {
    "mouth": (1.8, -1.8),
    "lip_top_out": (1.3, -1.1),
    "lip_upper_inner_out": (1.3, -1.0),
    "lip_lower_inner_out": (1.2, -0.6),
    "lip_bottom_out": (1.1, -0.3),
    "lip_lower_inner": (0, 1.0),
    "lip_bottom": (0, 1.0),
    "cheek": (0.6, -1.6),
    "eye_*_lower": (0, -1.1),
    "brow_*_middle": (0, -0.8),
}
_OPEN: Movement = {
    "lip_lower_inner": (0, 5.4),
    "lip_lower_inner_*": (0, 3.8),
    "lip_bottom": (0, 5.2),
    "lip_bottom_*": (0, 4.2),
    "lip_lower_inner_out": (-0.5, 2.0),
    "lip_bottom_out": (-0.4, 2.6),
    "lip_upper_inner_out": (-0.5, 0.2),
    "lip_upper_inner": (0, -0.9),
    "mouth": (-0.8, 0.8),
    "chin": (0, 4.2),
    "jaw": (0, 2.6),
}
_BLINK: Movement = {"eye_*_upper": (0, 5.6), "lid": (0, 2.4), "eye_*_lower": (0, -0.8)}

TEETH: Mapping[str, float] = {
    "neutral": 0.1, "happiness": 1.0, "sadness": 0.05, "anger": 0.45, "surprise": 0.1, "fear": 0.4,
    "disgust": 0.4,
}  # fmt: skip
"""How bright the teeth are, 1 as in the photograph."""


def _names(pattern: str) -> list[str]:
    """Landmarks of a pattern: `*` stands for the side; without it, a name that is not a landmark is a pair."""
    if pattern in LANDMARKS:
        return [pattern]
    pattern = pattern if "*" in pattern else f"{pattern}_*"
    return [pattern.replace("*", side) for side in ("left", "right")]


def displacements(*movements: Movement) -> NDArray[np.float64]:
    """Sum of movements as (landmarks, 2) pixels, in the order of `LANDMARKS`."""
    order = list(LANDMARKS)
    moved = np.zeros((len(order), 2))
    for movement in movements:
        for pattern, (outward, down) in movement.items():
            for name in _names(pattern):
                sign = -1.0 if "left" in name else 1.0 if "right" in name else 0.0
                moved[order.index(name)] += (sign * outward, down)
    return moved


EXPRESSIONS: dict[str, NDArray[np.float64]] = {
    "happiness": displacements(_SMILE),
    **{name: displacements(CLOSED, action) for name, action in _ACTIONS.items()},
}
OPEN = displacements(_OPEN)
BLINK = displacements(_BLINK)


def blend(weights: Mapping[str, float]) -> NDArray[np.float64]:
    """Movement of a mixture of expressions: what is left of the weights up to 1 is neutral."""
    rest = max(0.0, 1.0 - sum(weights.values()))
    moved = rest * EXPRESSIONS["neutral"]
    for name, weight in weights.items():
        moved = moved + weight * EXPRESSIONS[name]
    return np.asarray(moved, np.float64)


def teeth(weights: Mapping[str, float]) -> float:
    """Brightness of the teeth for a mixture of expressions."""
    rest = max(0.0, 1.0 - sum(weights.values()))
    return rest * TEETH["neutral"] + sum(weight * TEETH[name] for name, weight in weights.items())
