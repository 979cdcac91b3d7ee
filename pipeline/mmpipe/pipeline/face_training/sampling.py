"""Which faces an epoch sees, and in which order: those of rare classes more often.

Legend: N faces.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mmpipe.extractors.faces.ferplus import FERPLUS_CLASSES

__all__ = ["draw_weights", "epoch_order"]


def draw_weights(labels: npt.NDArray[np.int64], rare_share: float) -> Tensor:
    """How often each face is drawn in relation to the others [N]."""
    shares = np.bincount(labels, minlength=len(FERPLUS_CLASSES)) / len(labels)
    return torch.from_numpy(np.sqrt(np.maximum(1.0, rare_share / np.maximum(shares, 1e-9))))[labels]


def epoch_order(weights_N: Tensor, generator: torch.Generator) -> Tensor:
    """An epoch's faces in random order: N draws, each face as often as its weight says, rounded up or down."""
    ends = weights_N.cumsum(0) / weights_N.sum()
    places = (torch.arange(len(weights_N)) + torch.rand(1, generator=generator)) / len(weights_N)
    drawn = torch.searchsorted(ends, places.double()).clamp_max(len(weights_N) - 1)
    return drawn[torch.randperm(len(drawn), generator=generator)]
