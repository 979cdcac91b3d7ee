"""One vector an utterance and modality: the mean over the steps of a sequence, for models without steps.

Legend: N rows, B rows of a batch, T steps, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from mmpipe.pipeline.training.data.dataset import Pool

__all__ = ["Features", "pool_batch", "pooled_features"]

Features = Mapping[str, npt.NDArray[Any]]
"""[N, D] by modality; the same rows in all of them."""

_CHUNK = 256
"""Rows that are decoded together."""


def pool_batch(
    features: Mapping[str, Tensor], keep: Mapping[str, Tensor], limit: float | None = None
) -> dict[str, Tensor]:
    """The mean over the unpadded steps of sequences, within limits: [B, D] by modality.

    Args:
        features: by modality: vectors [B, D], sequences [B, T, D] that are zero on padding.
        keep: bool [B, T] of sequences.
        limit: of the means and vectors, plus and minus; None: no limit.

    Example:
        >>> import torch
        >>> steps, keep = torch.tensor([[[1.0], [3.0], [0.0]]]), torch.tensor([[True, True, False]])
        >>> pool_batch({"v": steps}, {"v": keep})["v"].tolist()
        [[2.0]]
    """
    pooled = {
        name: x.sum(dim=1) / keep[name].sum(dim=1, keepdim=True) if name in keep else x for name, x in features.items()
    }
    return pooled if limit is None else {name: x.clamp(-limit, limit) for name, x in pooled.items()}


def pooled_features(pool: Pool, limit: float | None = None) -> Features:
    """The rows of a pool, normalised and as `pool_batch` gives them: [N, D] by modality."""
    parts: dict[str, list[npt.NDArray[np.float32]]] = {}
    for rows in np.array_split(pool.rows, -(-len(pool.rows) // _CHUNK)):
        for name, x in pool_batch(*pool.batch(rows), limit).items():
            parts.setdefault(name, []).append(x.numpy())
    return {name: np.concatenate(found) for name, found in parts.items()}
