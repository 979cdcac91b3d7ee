"""How long the sequences of a store are, how many of them a model cuts, and lengths that cut few."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmpipe.core.errors import TrainingError
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.training.autoencoders import shortest_steps
from mmpipe.pipeline.training.config import TrainConfig
from mmpipe.pipeline.training.data.arrays import find_words, list_lengths
from mmpipe.pipeline.training.data.kept import kept_arrays
from mmpipe.pipeline.training.modalities import MODALITIES, Modality

__all__ = ["cut_shares", "resolve_lengths"]

_Lengths = npt.NDArray[np.int64]

_PERCENTILE = 95
"""Per cent of the labelled utterances that `auto` leaves whole."""


def cut_shares(store: FeatureStore, config: TrainConfig, ids: tuple[str, ...]) -> dict[str, float]:
    """The share of some utterances that have more steps than the model takes, by letter of the sequences."""
    chosen = np.isin(store.manifest().column("utterance_id").to_pylist(), ids)
    return {
        m.letter: round(float(np.mean(_count_steps(store, m)[chosen] > config.steps(m))), 6)
        for m in config.chosen_modalities
        if m.is_sequence
    }


def resolve_lengths(config: TrainConfig, store: FeatureStore, names: tuple[str, ...]) -> TrainConfig:
    """The config with lengths that leave 95 per cent of the labelled utterances of a store whole.

    Args:
        config: its size decides how short a sequence may be.
        store: the labelled store.
        names: which lengths: `faces`, `words`.

    Raises:
        TrainingError: the store lacks the stage, or does not hold a labelled utterance with steps.
    """
    found = {}
    labelled = np.array([label is not None for label in store.manifest().column("label").to_pylist()], np.bool_)
    for modality in (m for m in MODALITIES.values() if m.steps in names):
        if modality.stage not in store.stages:
            raise TrainingError(f"{modality.steps}=auto: {store.path} lacks the stage {modality.stage}: give a number")
        lengths = _count_steps(store, modality)[labelled]
        if not (lengths := lengths[lengths > 0]).size:
            raise TrainingError(
                f"{modality.steps}=auto: {store.path} does not hold a labelled utterance with {modality.steps}"
            )
        wanted = int(np.ceil(np.percentile(lengths, _PERCENTILE)))
        found[str(modality.steps)] = max(wanted, shortest_steps(modality, config))
    return config.model_copy(update=found)


def _count_steps(store: FeatureStore, modality: Modality) -> _Lengths:
    """Steps of each row of the manifest, 0 where there are no features. Counted once, kept beside the arrays."""

    def count(part: Path) -> None:
        shards = [_steps_of_shard(store, modality, shard) for shard in range(store.num_shards)]
        np.save(part / "steps.npy", np.concatenate(shards or [np.empty(0, np.int64)]))

    def fits(held: dict[str, npt.NDArray[Any]]) -> bool:
        steps = held.get("steps")
        return steps is not None and steps.dtype == np.int64 and steps.shape == (store.manifest().num_rows,)

    name = f"{modality.stage}-{store.content(modality.stage)[:16]}-steps"
    return kept_arrays(store.path, name, count, fits)["steps"]


def _steps_of_shard(store: FeatureStore, modality: Modality, shard: int) -> _Lengths:
    name = modality.index or "features"
    column: Any = store.read_shard(modality.stage, shard, [name]).column(name).combine_chunks()
    lengths = list_lengths(column)
    if modality.index is None:
        return lengths
    return find_words(column.flatten().to_numpy(zero_copy_only=False), lengths)[1].astype(np.int64)
