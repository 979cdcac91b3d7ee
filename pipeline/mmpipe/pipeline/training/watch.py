"""What looks at the latents of some utterances while a fold is trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from mmpipe.pipeline.training.data.dataset import Pool
from mmpipe.pipeline.training.latents import MOST_WATCHED, LatentEpoch, Latents
from mmpipe.pipeline.training.model import Network

__all__ = ["Watch", "is_shown"]


def is_shown(epoch: int) -> bool:
    """Whether an epoch is shown that is not the best one: powers of two, since most happens at the beginning.

    Example:
        >>> [epoch for epoch in range(1, 40) if is_shown(epoch)]
        [1, 2, 4, 8, 16, 32]
    """
    return epoch & (epoch - 1) == 0


class Watch:
    """Looks at the latents of some utterances of the parts of a fold, evenly spread.

    Args:
        labelled: the part that has labels; those of the validation part show what chose the epoch.
        unlabelled: of the pool that the fold draws from; None where there is none.
    """

    def __init__(self, labelled: Pool, unlabelled: Pool | None) -> None:
        parts = [(labelled, labelled.dataset.labels)]
        if unlabelled is not None:
            parts.append((unlabelled, (None,) * len(unlabelled.dataset.ids)))
        self._pools, ids, labels = [], list[str](), list[str | None]()
        for pool, known in parts:
            rows = np.unique(pool.rows)
            rows = rows[:: max(1, -(-len(rows) // MOST_WATCHED))]
            self._pools.append(Pool(pool.dataset, rows, pool.norms))
            ids += [pool.dataset.ids[row] for row in rows]
            labels += [known[row] for row in rows]
        self._ids, self._labels = tuple(ids), tuple(labels)

    @torch.no_grad()
    def look(self, model: Network, epoch: int) -> LatentEpoch:
        """The latents of a model, which is left in evaluation mode."""
        model.eval()
        device = next(model.parameters()).device
        outputs = [model(*pool.batch(pool.rows, device)).latents for pool in self._pools]
        latents = {name: torch.cat([each[name] for each in outputs]).cpu().double().numpy() for name in outputs[0]}
        places, shares = _components(np.concatenate(list(latents.values())))
        points = {
            name: tuple(float(f"{x:.4g}") for x in part.reshape(-1))
            for name, part in zip(latents, np.split(places, len(latents)), strict=True)
        }
        return LatentEpoch(epoch, shares, points)

    def record(self, epochs: Sequence[LatentEpoch]) -> Latents:
        """What is kept of the fold."""
        return Latents(self._ids, self._labels, tuple(sorted(epochs, key=lambda view: view.epoch)))


def _components(z_NZ: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], tuple[float, float]]:
    """The first two principal components [N, 2], each with its largest value positive, and their shares."""
    centred = z_NZ - z_NZ.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    places = centred @ vectors[:, :-3:-1]
    places *= np.sign(places[np.abs(places).argmax(axis=0), [0, 1]])
    total = float(values.sum())
    first, second = (round(float(value) / total, 4) if total > 0 else 0.0 for value in values[:-3:-1])
    return places, (first, second)
