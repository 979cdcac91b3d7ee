"""Feature stores as arrays: rows joined by shard, padded or cut to the model's lengths, normalised.

Legend: N rows, B rows of a batch, T steps, D width.

An utterance that lacks a needed modality is left out and counted by reason. Text comes as one vector a word,
the mean of its word pieces (the paper's word view), and stays in float16, as the store has it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from mmpipe.core.errors import TrainingError
from mmpipe.pipeline.store.exclusions import Exclusions
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.training.config import TrainConfig
from mmpipe.pipeline.training.data.arrays import Selection, load_arrays

__all__ = ["Dataset", "Datasets", "Norm", "Pool", "Rows", "fit_norms", "load_dataset"]

_Array = npt.NDArray[Any]
Rows = npt.NDArray[np.int64]
"""Row numbers of a dataset."""


@dataclass(frozen=True)
class Norm:
    """z-normalisation of one modality, float32 [D]: (x - mean) * scale.

    `scale` is one over the deviation, and 0 where a dimension does not vary: its normalised value is always
    0, also in rows that vary there.
    """

    mean: Tensor
    scale: Tensor


@dataclass(frozen=True)
class Dataset:
    """Usable utterances of one store.

    Attributes:
        ids: utterance ids.
        labels: label names, None where unlabelled.
        features: by letter of the modality, [N, D] of vectors, [N, T, D] of sequences, mapped from files; zero on
            padding.
        keep: bool [N, T] of sequences, false on padding.
        excluded: utterances left out, by reason.
        provenance: by stage, what made the features: extractor, config, weights, versions.
        fingerprint: one hash over the features.
    """

    ids: tuple[str, ...]
    labels: tuple[str | None, ...]
    features: dict[str, _Array]
    keep: dict[str, npt.NDArray[np.bool_]]
    excluded: dict[str, int]
    provenance: dict[str, Any]
    fingerprint: str

    @property
    def widths(self) -> dict[str, int]:
        """D by modality."""
        return {name: array.shape[-1] for name, array in self.features.items()}

    def rows_of(self, ids: Sequence[str]) -> Rows:
        """Row numbers of those `ids` that are usable, in their order."""
        row = {utterance_id: number for number, utterance_id in enumerate(self.ids)}
        return np.array([row[i] for i in ids if i in row], np.int64)

    def batch(self, rows: Rows, norms: Mapping[str, Norm]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Normalised features float32 [B, (T,) D] and masks [B, T] of some rows, by modality."""
        keep = {name: torch.from_numpy(mask[rows]) for name, mask in self.keep.items()}
        features = {}
        for name, array in self.features.items():
            x = torch.from_numpy(array[rows]).float().sub_(norms[name].mean).mul_(norms[name].scale)
            features[name] = x.mul_(keep[name][..., None]) if name in keep else x
        return features, keep


@dataclass(frozen=True)
class Pool:
    """Rows of a dataset, repeats allowed, with the normalisation that goes with them."""

    dataset: Dataset
    rows: Rows
    norms: Mapping[str, Norm]

    def batch(self, rows: Rows, device: torch.device | str = "cpu") -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Normalised features and masks of some of the rows."""
        features, keep = self.dataset.batch(rows, self.norms)
        return (
            {name: x.to(device) for name, x in features.items()},
            {name: mask.to(device) for name, mask in keep.items()},
        )


def fit_norms(dataset: Dataset, rows: Rows) -> dict[str, Norm]:
    """Statistics of each dimension over the unpadded entries of some rows: training rows, never test rows."""
    norms = {}
    for name, array in dataset.features.items():
        total, squares, count = np.zeros(array.shape[-1]), np.zeros(array.shape[-1]), 0
        for part in np.array_split(np.sort(rows), -(-len(rows) // 256)):
            values = array[part][dataset.keep[name][part]] if name in dataset.keep else array[part]
            values = values.astype(np.float64)
            total += values.sum(axis=0)
            squares += np.einsum("nd,nd->d", values, values)
            count += len(values)
        mean = total / count
        std = np.sqrt(np.maximum(squares / count - mean**2, 0))
        scale = np.divide(1, std, out=np.zeros_like(std), where=std > 1e-6 * np.abs(mean) + 1e-12)
        norms[name] = Norm(*(torch.from_numpy(x.astype(np.float32)) for x in (mean, scale)))
    return norms


def load_dataset(store: FeatureStore, config: TrainConfig, exclusions: Exclusions | None = None) -> Dataset:
    """The usable utterances of a store, in manifest order; bad ones are left out, and corrected labels are taken.

    Raises:
        StoreError: a stage is incomplete, or its rows are not those of the manifest.
        TrainingError: a stage is missing, no utterance is usable, or features are NaN or infinite.
    """
    if missing := [stage for stage in config.stages if stage not in store.stages]:
        raise TrainingError(
            f"{store.path} lacks the stages {', '.join(missing)} that the modalities "
            f"{','.join(config.modalities)} need; it has {', '.join(store.stages) or 'none'}: "
            "extract them, or choose other modalities"
        )
    manifest = store.manifest().select(["utterance_id", "label", "speaker"])
    if exclusions is not None:
        manifest = exclusions.relabelled(manifest)
    usable, excluded = _usable(store, config, manifest.column("utterance_id"), exclusions)
    if not usable.any():
        reasons = ", ".join(f"{reason} {n}" for reason, n in excluded.items()) or "the store is empty"
        raise TrainingError(f"{store.path}: no utterance has all of {', '.join(config.stages)} ({reasons})")
    rows = manifest.filter(pa.array(usable))
    ids = tuple(rows.column("utterance_id").to_pylist())
    speakers = tuple(s or "" for s in rows.column("speaker").to_pylist()) if config.normalise == "speaker" else None
    selection = Selection(usable, ids, speakers)
    features: dict[str, _Array] = {}
    keep: dict[str, npt.NDArray[np.bool_]] = {}
    for modality in config.chosen_modalities:
        x_NTD, mask_NT = load_arrays(store, modality, selection, config.steps(modality))
        features[modality.letter] = x_NTD if modality.is_sequence else x_NTD[:, 0]
        if modality.is_sequence:
            keep[modality.letter] = mask_NT
    return Dataset(
        ids,
        tuple(rows.column("label").to_pylist()),
        features,
        keep,
        excluded,
        _provenance(store, config),
        store.fingerprint(config.stages),
    )


class Datasets:
    """Datasets that several runs share: each store is read once for the same modalities, lengths and normalisation.

    Args:
        exclusions: what is left out of all of them, and their corrected labels.
    """

    def __init__(self, exclusions: Exclusions | None = None) -> None:
        self.exclusions = exclusions
        self._held: dict[tuple[Any, ...], Dataset] = {}

    def load(self, store: FeatureStore, config: TrainConfig) -> Dataset:
        """As `load_dataset`."""
        shape = tuple((modality.letter, config.steps(modality)) for modality in config.chosen_modalities)
        key = (store.path, shape, config.normalise)
        if key not in self._held:
            self._held[key] = load_dataset(store, config, self.exclusions)
        return self._held[key]


def _provenance(store: FeatureStore, config: TrainConfig) -> dict[str, Any]:
    """What made the features, the stages that they follow from included."""
    described = store.info["stages"]
    followed = [stage for modality in config.chosen_modalities for stage in modality.follows if stage in described]
    for stage in followed:
        store.check(stage)
    return {stage: described[stage] for stage in [*followed, *config.stages]}


def _usable(
    store: FeatureStore, config: TrainConfig, ids: pa.ChunkedArray, exclusions: Exclusions | None
) -> tuple[npt.NDArray[np.bool_], dict[str, int]]:
    """Which rows of the manifest have all needed modalities, and how many have not, by the first reason."""
    reasons: list[str | None] = [None] * len(ids)
    if exclusions is not None:
        reasons = [exclusions.reason if is_bad else None for is_bad in exclusions.is_bad(ids).to_pylist()]
    for stage in config.stages:
        table = store.read(stage, ["status"])
        for row, status in enumerate(table.column("status").to_pylist()):
            if status != "ok" and reasons[row] is None:
                reasons[row] = f"{stage}: {status}"
    counts = Counter(reason for reason in reasons if reason is not None)
    return np.array([reason is None for reason in reasons], np.bool_), dict(counts.most_common())
