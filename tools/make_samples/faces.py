"""Renders a talking head: thin-plate warps of the portrait by identity, expression, speech, blink, pose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
from expressions import BLINK, OPEN, blend, displacements, teeth
from numpy.typing import NDArray
from portrait import ANCHORS, LANDMARKS, load_portrait

Image = NDArray[np.uint8]
MIDDLE = np.array([224.0, 125.0])
"""The middle of the face in the portrait: the point about which a head is placed, turned and scaled."""

_GRID_STEP = 2


@dataclass(frozen=True)
class Identity:
    """What makes one speaker look unlike another. Lengths are portrait pixels (the face is 87 wide)."""

    width: float = 1.0
    height: float = 1.0
    eyes_apart: float = 0.0
    eyes_open: float = 0.0
    brow_height: float = 0.0
    nose_width: float = 0.0
    nose_length: float = 0.0
    mouth_width: float = 0.0
    jaw_width: float = 0.0
    chin_length: float = 0.0
    mirror: bool = False
    expressivity: float = 1.0
    skin: tuple[float, float, float] = (1.0, 1.0, 1.0)
    contrast: float = 1.0
    hair: tuple[float, float, float] = (1.0, 1.0, 1.0)
    suit: tuple[float, float, float] = (0.9, 0.35, 0.2)
    beard: float = 0.0
    brows: float = 0.35


@dataclass(frozen=True)
class Pose:
    """Where a head is in the frame: middle of the face in pixels, scale to the portrait, roll in degrees."""

    x: float
    y: float
    scale: float
    roll: float = 0.0


@dataclass(frozen=True)
class Look:
    """State of a face in one frame; `expression` weighs the expressions, what is left up to 1 is neutral."""

    expression: Mapping[str, float] = field(default_factory=dict)
    mouth_open: float = 0.0
    blink: float = 0.0


def _geometry(identity: Identity) -> NDArray[np.float64]:
    """Movement of all landmarks and anchors that turns the portrait's face into this speaker's."""
    feature = displacements(
        {
            "eye_*_outer": (identity.eyes_apart, 0),
            "eye_*_inner": (identity.eyes_apart, 0),
            "eye_*_upper": (identity.eyes_apart, -identity.eyes_open),
            "eye_*_lower": (identity.eyes_apart, identity.eyes_open / 2),
            "brow_*_outer": (identity.eyes_apart, -identity.brow_height),
            "brow_*_middle": (identity.eyes_apart, -identity.brow_height),
            "brow_*_inner": (identity.eyes_apart, -identity.brow_height),
            "nose": (identity.nose_width, identity.nose_length),
            "nose_tip": (0, identity.nose_length),
            "mouth": (identity.mouth_width, 0),
            "jaw_*_upper": (identity.jaw_width, 0),
            "jaw": (identity.jaw_width * 0.8, identity.chin_length * 0.7),
            "chin": (0, identity.chin_length),
        }
    )
    points = np.array([*LANDMARKS.values(), *ANCHORS])
    moved = np.vstack([feature, np.zeros((len(ANCHORS), 2))])
    stretch = np.array([identity.width, identity.height]) - 1
    head = (points[:, 1] > 10) & (points[:, 1] < 182) & (points[:, 0] > 130) & (points[:, 0] < 320)
    moved[head] += (points[head] - MIDDLE) * stretch
    return moved


def _texture(identity: Identity) -> NDArray[np.float32]:
    """The portrait in this speaker's colours: float32 RGB and alpha in 0..255, shape (height, width, 4)."""
    portrait = load_portrait()
    image = portrait.image
    hair, suit = portrait.hair[..., None], portrait.suit[..., None]
    lightness = image.mean(axis=2, keepdims=True)
    skin = (image - 128) * identity.contrast + 128
    skin = skin * np.array(identity.skin, np.float32)
    skin = skin * (1 - identity.beard * portrait.beard * (1 - portrait.mouth))[..., None]
    skin = skin * (1 - identity.brows * portrait.brows)[..., None]
    dyed = (0.35 * image + 0.65 * lightness) * np.array(identity.hair, np.float32)
    clothed = image[..., :1] * np.array(identity.suit, np.float32)
    coloured = skin * (1 - hair) + dyed * hair
    coloured = coloured * (1 - suit) + clothed * suit
    return np.dstack([np.clip(coloured, 0, 255), portrait.figure * 255]).astype(np.float32)


def _kernel(squared: NDArray[np.float64]) -> NDArray[np.float64]:
    return squared * np.log(np.maximum(squared, 1e-12))


class Head:
    """One speaker's head."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._texture = _texture(identity)
        self._dark_mouth = self._texture[..., :3] * 0.15 + np.array([46, 18, 16], np.float32)
        self._smooth = cv2.GaussianBlur(self._texture[..., :3], (0, 0), 6)
        self._points = np.array([*LANDMARKS.values(), *ANCHORS])
        self._own = self._points + _geometry(identity)

    def draw(self, frame: Image, look: Look, pose: Pose) -> None:
        """Draw the head into an RGB frame of shape (height, width, 3), in place."""
        height, width = frame.shape[:2]
        grid = self._canonical_grid(height, width, pose)
        source = self._warp(grid.reshape(-1, 2), look).reshape(grid.shape).astype(np.float32)
        fine = cv2.resize(source, None, fx=_GRID_STEP, fy=_GRID_STEP, interpolation=cv2.INTER_LINEAR)
        margin = _GRID_STEP
        fine = np.ascontiguousarray(fine[margin : margin + height, margin : margin + width])
        drawn = cv2.remap(
            self._painted(look), fine[..., 0], fine[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
        alpha = np.clip(drawn[..., 3:], 0, 255) / 255
        mixed = np.clip(drawn[..., :3], 0, 255) * alpha + frame * (1 - alpha)
        frame[...] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)

    def _canonical_grid(self, height: int, width: int, pose: Pose) -> NDArray[np.float64]:
        """Portrait coordinates, before any warp, of every second pixel of the frame and of a margin."""
        y, x = np.mgrid[-1 : height // _GRID_STEP + 2, -1 : width // _GRID_STEP + 2].astype(np.float64)
        offset = (_GRID_STEP - 1) / 2
        x, y = x * _GRID_STEP + offset - pose.x, y * _GRID_STEP + offset - pose.y
        cosine, sine = np.cos(np.radians(pose.roll)), np.sin(np.radians(pose.roll))
        turned = np.stack([cosine * x + sine * y, -sine * x + cosine * y], axis=-1) / pose.scale
        if self._identity.mirror:
            turned[..., 0] *= -1
        return np.asarray(turned + MIDDLE, np.float64)

    def _warp(self, points: NDArray[np.float64], look: Look) -> NDArray[np.float64]:
        """Thin-plate spline from where the landmarks are to where the portrait has them."""
        weights = {name: weight * self._identity.expressivity for name, weight in look.expression.items()}
        target = self._own.copy()
        target[: len(LANDMARKS)] += blend(weights) + look.mouth_open * OPEN + look.blink * BLINK
        count = len(target)
        matrix = np.zeros((count + 3, count + 3))
        matrix[:count, :count] = _kernel(((target[:, None] - target[None]) ** 2).sum(-1))
        matrix[:count, count] = matrix[count, :count] = 1
        matrix[:count, count + 1 :] = target
        matrix[count + 1 :, :count] = target.T
        values = np.zeros((count + 3, 2))
        values[:count] = self._points - target
        solved = np.linalg.solve(matrix, values)
        squared = (points**2).sum(1)[:, None] + (target**2).sum(1)[None] - 2 * points @ target.T
        moved = _kernel(squared) @ solved[:count] + solved[count] + points @ solved[count + 1 :]
        return np.asarray(points + moved, np.float64)

    def _painted(self, look: Look) -> NDArray[np.float32]:
        """The texture with this frame's teeth and furrow."""
        portrait = load_portrait()
        painted = self._texture.copy()
        lips = slice(134, 158)
        dark = (portrait.mouth[lips] * np.clip(1 - teeth(look.expression), 0, 1))[..., None]
        painted[lips, :, :3] = painted[lips, :, :3] * (1 - dark) + self._dark_mouth[lips] * dark
        smile = np.clip(look.expression.get("happiness", 0.0), 0, 1)
        cheeks = slice(118, 158)
        flat = (0.85 * (1 - smile) * portrait.folds[cheeks])[..., None]
        painted[cheeks, :, :3] = painted[cheeks, :, :3] * (1 - flat) + self._smooth[cheeks] * flat
        brow = slice(86, 104)
        frown = look.expression.get("anger", 0.0) + 0.5 * look.expression.get("disgust", 0.0)
        painted[brow, :, :3] *= (1 - 0.18 * np.clip(frown, 0, 1) * portrait.furrow[brow])[..., None]
        return painted


def backdrop(height: int, width: int, rng: np.random.Generator) -> Image:
    """A blurred room behind a speaker: a wall with a shade and a few flat shapes, RGB."""
    wall = rng.uniform(70, 190) + rng.uniform(-22, 22, 3)
    shade = np.linspace(1 + rng.uniform(-0.15, 0.15), 1 + rng.uniform(-0.25, 0.05), height)[:, None, None]
    room = np.ones((height, width, 3)) * wall * shade
    for _ in range(int(rng.integers(1, 4))):
        x, y = rng.uniform(0, width), rng.uniform(0, height * 0.6)
        right, bottom = x + rng.uniform(0.15, 0.5) * width, y + rng.uniform(0.2, 0.6) * height
        room[int(y) : int(bottom), int(x) : int(right)] *= rng.uniform(0.75, 1.2)
    blurred = cv2.GaussianBlur(np.clip(room, 0, 255).astype(np.float32), (0, 0), 3 + width / 120)
    return np.clip(np.rint(blurred), 0, 255).astype(np.uint8)
