"""The hyper-parameters of the face expression network's training."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from mmpipe.core.options import Options
from mmpipe.extractors.faces.ferplus import CROP_SIZE

__all__ = ["FaceTraining"]


class FaceTraining(Options):
    """Hyper-parameters of the recipe."""

    epochs: int = Field(default=8, ge=1)
    """Passes over the training part."""
    batch_size: int = Field(default=64, ge=2)
    """Faces in a step."""
    peak_rate: float = Field(default=0.2, gt=0)
    """Highest learning rate of the one-cycle schedule."""
    warmup: float = Field(default=0.25, gt=0, lt=1)
    """Share of the steps in which the rate rises."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Nesterov momentum."""
    weight_decay: float = Field(default=5e-4, ge=0)
    """On all weights."""
    ema_decay: float = Field(default=0.998, gt=0, lt=1)
    """Decay of the moving average of the weights, a step."""
    rotation_degrees: float = Field(default=15.0, ge=0, le=180)
    """Largest rotation."""
    scale: float = Field(default=0.13, ge=0, lt=1)
    """Largest relative change of size."""
    shift: float = Field(default=0.12, ge=0, le=1)
    """Largest shift, as a share of the image's side."""
    erasing: float = Field(default=0.25, ge=0, le=1)
    """Probability of erasing a rectangle."""
    rare_share: float = Field(default=0.05, ge=0, lt=1)
    """Faces of a class with a smaller share than this are drawn sqrt(this / share) times as often as others (repeat
    factor sampling, Gupta et al. 2019); 0 draws every face once an epoch."""
    small_side: int = Field(default=48, ge=32, le=CROP_SIZE, multiple_of=8)
    """Height and width of the images in the first part of the training (FER2013's own size)."""
    small_part: float = Field(default=0.75, ge=0, lt=1)
    """Share of the epochs in that part; the rest sees the network's 64 pixels."""
    as_published: bool = False
    """Train on the training part as published. Otherwise faces that have a twin in an evaluation part are left out."""
    start: Path | None = None
    """Weights to start from; None starts from random ones."""
    teacher: Path | None = None
    """Weights whose answers are mixed into the votes (Hinton et al. 2015); None learns from the votes alone."""
    teacher_weight: float = Field(default=0.5, ge=0, le=1)
    """Share of the teacher's answers in the targets."""
    evaluate_epochs: int = Field(default=1, ge=1)
    """The valid part is evaluated after every so many epochs, and at the end."""
    seed: int = Field(default=0, ge=0)
    """Decides order, augmentation and initial weights."""
    checkpoint_steps: int = Field(default=100, ge=1)
    """A checkpoint is written every so many steps."""
