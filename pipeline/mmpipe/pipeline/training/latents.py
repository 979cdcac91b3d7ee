"""Where the latents of some utterances lie while a fold is trained, epoch by epoch.

The paper takes the modalities of an utterance into one emotion space (figure 1). These are pictures of that space: the
two principal components of the latents of all modalities, of the first epochs by powers of two and of the best one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmpipe.pipeline.training.modalities import MODALITIES

__all__ = ["MOST_WATCHED", "LatentEpoch", "Latents"]

MOST_WATCHED = 60
"""Utterances of a part that are looked at."""

_MOST_EPOCHS = 40
"""Of a record that is read: more than powers of two and a best epoch can be."""

_MOST = 1e30
"""Of a place that is read: NaN and infinity are not below it."""


@dataclass(frozen=True)
class LatentEpoch:
    """The latents after an epoch.

    Attributes:
        epoch: its number, from 1.
        shares: of the variance that the two components have, in [0, 1].
        points: by modality x, y of the first utterance, x, y of the second and so on.
    """

    epoch: int
    shares: tuple[float, float]
    points: dict[str, tuple[float, ...]]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        points = {name: list(values) for name, values in self.points.items()}
        return {"epoch": self.epoch, "shares": list(self.shares), "points": points}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> LatentEpoch:
        """What `to_json` gave."""
        first, second = value["shares"]
        return cls(value["epoch"], (first, second), {name: tuple(places) for name, places in value["points"].items()})


@dataclass(frozen=True)
class Latents:
    """The latents of some utterances of a fold by epoch.

    Attributes:
        ids: of the utterances.
        labels: theirs; None of unlabelled ones.
        epochs: in their order.
    """

    ids: tuple[str, ...]
    labels: tuple[str | None, ...]
    epochs: tuple[LatentEpoch, ...]

    def to_json(self) -> dict[str, Any]:
        """What fold.json holds of it."""
        return {
            "ids": list(self.ids),
            "labels": list(self.labels),
            "epochs": [epoch.to_json() for epoch in self.epochs],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Latents:
        """What `to_json` gave.

        Raises:
            ValueError: its parts are not of the same utterances, or a place is not finite.
        """
        ids, labels = tuple(value["ids"]), tuple(value["labels"])
        epochs = tuple(LatentEpoch.from_json(epoch) for epoch in value["epochs"])
        texts = all(isinstance(i, str) for i in ids) and all(isinstance(k, str | None) for k in labels)
        rows = [row for epoch in epochs for row in (epoch.shares, *epoch.points.values())]
        numbers = all(isinstance(x, float | int) and abs(x) < _MOST for row in rows for x in row)
        sizes = {len(places) for epoch in epochs for places in epoch.points.values()} | {2 * len(labels)}
        counted = all(isinstance(epoch.epoch, int) for epoch in epochs) and len(epochs) <= _MOST_EPOCHS
        counted &= all(epoch.points.keys() <= MODALITIES.keys() for epoch in epochs)
        if not (texts and numbers and counted) or sizes != {2 * len(ids)} or len(ids) > 2 * MOST_WATCHED:
            raise ValueError("its latents are not one place for each utterance and modality")
        return cls(ids, labels, epochs)
