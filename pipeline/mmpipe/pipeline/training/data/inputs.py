"""What a run trains on: a labelled store cut into folds, and the unlabelled rows beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmpipe.core.errors import TrainingError
from mmpipe.core.parquet import fingerprint
from mmpipe.manifests.splits import Fold, folds
from mmpipe.pipeline.store.exclusions import Exclusions
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.training.config import TrainConfig
from mmpipe.pipeline.training.data.dataset import Dataset, Datasets, Pool
from mmpipe.pipeline.training.data.lengths import cut_shares
from mmpipe.pipeline.training.data.unlabeled import Unlabeled, hash_parts, load_unlabeled
from mmpipe.pipeline.training.modalities import MODALITIES

__all__ = ["TrainInput", "load_input", "shared_modalities"]


@dataclass(frozen=True)
class TrainInput:
    """What a run trains on.

    Attributes:
        labeled: usable rows of the labelled store that have a label.
        folds: its folds, cut to these rows.
        labels: the label set, sorted.
        unlabeled: what the folds draw unlabelled rows from; None trains supervised.
        identity: hashes of what the result of every fold follows from, by part.
        parts: by fold, the hash of the utterances of its parts, usable or not.
        cut: by letter, the share of the labelled rows that have more faces or words than the model takes.
        exclusions: what a list of marks changed of these stores; None where none was given.
        unknown: a sentence about utterances of the list that no store has; None where there are none.
    """

    labeled: Dataset
    folds: tuple[Fold, ...]
    labels: tuple[str, ...]
    unlabeled: Unlabeled | None
    identity: dict[str, str]
    parts: dict[str, str]
    cut: dict[str, float] = field(default_factory=dict)
    exclusions: Exclusions | None = None
    unknown: str | None = None

    def unlabeled_of(self, fold: Fold) -> Pool | None:
        """The unlabelled rows that a fold draws from; None trains supervised."""
        return None if self.unlabeled is None else self.unlabeled.pool(fold.name)

    def identity_of(self, fold: Fold) -> dict[str, str]:
        """Hashes of what the result of a fold follows from, by part."""
        own = {} if self.unlabeled is None else {"unlabelled rows": self.unlabeled.hash_of(fold.name)}
        return self.identity | own | {"utterances": fingerprint([fold.train, fold.valid, fold.test])}

    @property
    def caution(self) -> str | None:
        """What to keep in mind of figures on these folds, in a sentence; None where there is nothing."""
        if not self.folds[0].name.startswith("clips-"):
            return None
        return (
            "The folds are over single clips: a speaker may be in training and test, so the figures may be too high "
            "for new speakers; name speakers to hold them out (a column `speaker`, --pattern, or --speaker folder)"
        )


def load_input(
    config: TrainConfig,
    labeled: Path,
    unlabeled: Path | None = None,
    balanced: Path | None = None,
    datasets: Datasets | None = None,
) -> TrainInput:
    """Read stores, folds and the balanced list, and check that they go together.

    Args:
        config: modalities, lengths, protocol, seed of the folds.
        labeled: the labelled store.
        unlabeled: the unlabelled store, if any.
        balanced: its balanced list; None draws from all its usable rows.
        datasets: what other runs have read already, and what is left out; None reads all of the stores.

    Raises:
        StoreError: a store or the list cannot be read.
        TrainingError: no usable rows, fewer than two labels, a fold without train, validation or test rows,
            stores of different features, or a list for other folds.
    """
    store, datasets = FeatureStore(labeled), datasets or Datasets()
    manifest, exclusions = store.manifest(), datasets.exclusions
    if exclusions is not None:
        manifest = exclusions.relabelled(manifest)
    made = folds(manifest, config.protocol, config.seed)
    _check_labels(set(manifest.column("label").to_pylist()), f"the labelled utterances of {labeled}")
    dataset = datasets.load(store, config)
    labels = tuple(sorted({label for label in dataset.labels if label is not None}))
    _check_labels(set(labels), f"the usable utterances of {labeled}")
    cut = tuple(_cut(fold, dataset) for fold in made)
    pool = None if unlabeled is None else load_unlabeled(unlabeled, balanced, config, dataset, datasets, made, manifest)
    identity = {"labelled features": dataset.fingerprint, "labels": fingerprint(dataset.labels)}
    if config.normalise == "speaker":
        read = [path for path in (labeled, unlabeled) if path is not None]
        named = [FeatureStore(path).manifest().select(["utterance_id", "speaker"]).to_pydict() for path in read]
        identity["speakers"] = fingerprint(named)
    if pool is not None:
        identity["unlabelled features"] = pool.dataset.fingerprint
    unknown = None
    if exclusions is not None:
        read = [path for path in (labeled, unlabeled) if path is not None]
        ids = {i for path in read for i in FeatureStore(path).manifest().column("utterance_id").to_pylist()}
        unknown, exclusions = exclusions.unknown(ids, " or ".join(map(str, read))), exclusions.among(ids)
        if exclusions.bad or exclusions.labels:
            identity["exclusions"] = exclusions.sha256
    known = tuple(i for i, label in zip(dataset.ids, dataset.labels, strict=True) if label is not None)
    parts = {fold.name: hash_parts(fold) for fold in made}
    shares = cut_shares(store, config, known)
    return TrainInput(dataset, cut, labels, pool, identity, parts, shares, exclusions, unknown)


def shared_modalities(stores: Sequence[Path], wanted: Sequence[str] = tuple(MODALITIES)) -> tuple[str, ...]:
    """The letters of those modalities whose stages all of the stores have.

    Raises:
        TrainingError: there is none.
    """
    stages = [FeatureStore(path).stages for path in stores]
    found = tuple(letter for letter in wanted if all(MODALITIES[letter].stage in held for held in stages))
    if not found:
        held = ", ".join(f"{path} has {', '.join(s) or 'none'}" for path, s in zip(stores, stages, strict=True))
        names = ", ".join(MODALITIES[letter].stage for letter in wanted)
        raise TrainingError(f"training needs one of the stages {names}, in every store: {held}")
    return found


def _check_labels(labels: set[str | None], whose: str) -> None:
    if len(labels - {None}) < 2:
        names = ", ".join(sorted(str(label) for label in labels - {None}))
        raise TrainingError(f"training needs two labels or more; {whose} have {names or 'none'}")


def _cut(fold: Fold, dataset: Dataset) -> Fold:
    known = set(dataset.ids)
    sides = {name: tuple(i for i in getattr(fold, name) if i in known) for name in ("train", "valid", "test")}
    if empty := [name for name, ids in sides.items() if not ids]:
        excluded = ", ".join(f"{reason} {n}" for reason, n in dataset.excluded.items()) or "none"
        raise TrainingError(
            f"fold {fold.name} has no usable utterance in its part {' and '.join(empty)} "
            f"(left out: {excluded}): use fewer modalities, or another protocol"
        )
    return Fold(fold.name, **sides)
