"""The unlabelled side of a run: a store, and the balanced list that says what each fold draws from it, how often."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from mmpipe.core.errors import StoreError, TrainingError
from mmpipe.core.parquet import fingerprint, read_sealed
from mmpipe.manifests.splits import Fold
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.training.checkpoint import check_features
from mmpipe.pipeline.training.config import TrainConfig
from mmpipe.pipeline.training.data.dataset import Dataset, Datasets, Norm, Pool, Rows, fit_norms

__all__ = ["BalancedList", "Unlabeled", "groups_of", "hash_parts", "load_unlabeled", "read_balanced"]

_AGAIN = "run `mmpipe balance-unlabeled` again"


@dataclass(frozen=True)
class BalancedList:
    """A list of `mmpipe balance-unlabeled`.

    Attributes:
        path: its file.
        ids: utterances in the order of the list, with repeats, by fold; under None of a list that is for all folds.
        stages: what the classifier looked at.
        fingerprint: of these stages of the store that it was made from.
        parts: by fold, the hash of its utterances (`hash_parts`); empty of a list that is for all folds.
        protocol: how its folds were made; empty if that is not recorded.
        seed: of its folds.
        trained: groups (`groups_of`) whose labels the classifier of all folds was trained on; None if that is not
            recorded, as in lists of earlier versions.
        chosen: groups whose labels chose its epoch.
    """

    path: Path
    ids: Mapping[str | None, list[str]]
    stages: tuple[str, ...]
    fingerprint: str
    parts: Mapping[str, str] = field(default_factory=dict)
    protocol: str = ""
    seed: int = 0
    trained: frozenset[str] | None = None
    chosen: frozenset[str] = frozenset()

    def of(self, fold: str) -> list[str]:
        """The utterances that a fold draws from."""
        return self.ids[fold if self.parts else None]

    @property
    def shortest(self) -> int:
        """Rows of the fold that has the fewest."""
        return min(map(len, self.ids.values()))


@dataclass(frozen=True)
class Unlabeled:
    """What the folds of a run draw unlabelled batches from.

    Attributes:
        dataset: usable rows of the unlabelled store.
        norms: the statistics of all of them.
        rows: by fold, with repeats where a balanced list repeats them.
        is_by_fold: whether the folds have rows of their own.
        seen: folds whose test speakers' labels the classifier of the list was trained on, or was chosen by.
        caution: what to keep in mind of figures of the run, in a sentence; None where there is nothing.
    """

    dataset: Dataset
    norms: Mapping[str, Norm]
    rows: Mapping[str, Rows]
    is_by_fold: bool = False
    seen: tuple[str, ...] = ()
    caution: str | None = None

    def pool(self, fold: str) -> Pool:
        """What a fold draws from."""
        return Pool(self.dataset, self.rows[fold], self.norms)

    def hash_of(self, fold: str) -> str:
        """A hash of the utterances that a fold draws from, in their order."""
        return fingerprint([self.dataset.ids[row] for row in self.rows[fold]])


def load_unlabeled(
    path: Path,
    balanced: Path | None,
    config: TrainConfig,
    labeled: Dataset,
    datasets: Datasets,
    folds: Sequence[Fold],
    manifest: pa.Table,
) -> Unlabeled:
    """Rows to draw unlabelled batches from, normalised by the statistics of all usable rows of their store.

    Args:
        path: the unlabelled store.
        balanced: a list of `mmpipe balance-unlabeled`: its rows are drawn, with its repeats; None draws from
            all usable rows.
        config: modalities and lengths.
        labeled: the labelled rows that they are trained with.
        datasets: what has been read already.
        folds: the folds of the run, before utterances that cannot be used are left out.
        manifest: of the labelled store.

    Raises:
        StoreError: the store or the list cannot be read.
        TrainingError: the features differ from the labelled store's, or the list was made from another store, from
            other features, or for other folds.
    """
    store = FeatureStore(path)
    dataset = datasets.load(store, config)
    if dataset.widths != labeled.widths:
        name = next(name for name, width in labeled.widths.items() if dataset.widths[name] != width)
        raise TrainingError(
            f"{path}: features of modality {name} are {dataset.widths[name]} wide, the labelled store's "
            f"{labeled.widths[name]}: extract both alike"
        )
    check_features(labeled.provenance, dataset.provenance, f"{path}: the labelled store has")
    everything = np.arange(len(dataset.ids))
    norms, names = fit_norms(dataset, everything), [fold.name for fold in folds]
    if balanced is None:
        first = _first(everything, config, path)
        return Unlabeled(dataset, norms, dict.fromkeys(names, first))
    listed = read_balanced(balanced)
    _check_store(listed, store)
    _check_folds(listed, folds, config)
    rows = {key: _first(_rows(listed, ids, store, dataset), config, balanced) for key, ids in listed.ids.items()}
    seen, caution = _seen(listed, folds, manifest)
    by_fold = {name: rows[name if listed.parts else None] for name in names}
    return Unlabeled(dataset, norms, by_fold, bool(listed.parts), seen, caution)


def read_balanced(balanced: Path) -> BalancedList:
    """A balanced list.

    Raises:
        StoreError: it cannot be read, or is not what was written.
    """
    try:
        table, footer = read_sealed(balanced)
        said = footer.metadata
        made, parts = said["stores"]["unlabeled"], {k: v["utterances"] for k, v in said.get("folds", {}).items()}
        ids: dict[str | None, list[str]] = {name: [] for name in parts} or {None: []}
        names = table.column("fold").to_pylist() if parts else [None] * len(table)
        for name, utterance in zip(names, table.column("utterance_id").to_pylist(), strict=True):
            ids[name].append(utterance)
        saw, how = said.get("saw"), said.get("protocol", {})
        return BalancedList(
            path=balanced,
            ids=ids,
            stages=tuple(made["stages"]),
            fingerprint=made["fingerprint"],
            parts=parts,
            protocol=how.get("name", ""),
            seed=how.get("seed", 0),
            trained=None if saw is None else frozenset(saw["trained"]),
            chosen=frozenset(() if saw is None else saw["chosen"]),
        )
    except (OSError, pa.ArrowInvalid, LookupError, TypeError, AttributeError) as error:
        raise StoreError(
            f"the balanced list {balanced} cannot be read ({type(error).__name__}: {error}): "
            "make it with `mmpipe balance-unlabeled`"
        ) from error


def hash_parts(fold: Fold) -> str:
    """A hash of the utterances of a fold's parts; their order has no effect.

    Example:
        >>> hash_parts(Fold("x", ("a", "b"), ("c",), ("d",))) == hash_parts(Fold("y", ("b", "a"), ("c",), ("d",)))
        True
    """
    return fingerprint([sorted(ids) for ids in (fold.train, fold.valid, fold.test)])


def groups_of(manifest: pa.Table, ids: Iterable[str]) -> set[str]:
    """The speakers of utterances; where they are unknown their sessions, where these are too the utterances."""
    columns = (manifest.column(name).to_pylist() for name in ("utterance_id", "speaker", "session"))
    group = {i: speaker or session or i for i, speaker, session in zip(*columns, strict=True)}
    return {group[i] for i in ids}


def _check_store(listed: BalancedList, store: FeatureStore) -> None:
    known = set(store.manifest().column("utterance_id").to_pylist())
    everything = [i for ids in listed.ids.values() for i in ids]
    if unknown := [i for i in everything if i not in known]:
        raise TrainingError(
            f"{len(unknown)} of the {len(everything)} utterances of {listed.path} are not in {store.path}, "
            f"first {unknown[0]}: name the store that the list was made from, or {_AGAIN}"
        )
    if listed.fingerprint != store.fingerprint(listed.stages):
        raise TrainingError(f"{listed.path} was made from other features than {store.path} holds now: {_AGAIN}")


def _check_folds(listed: BalancedList, folds: Sequence[Fold], config: TrainConfig) -> None:
    """Make sure that the list has the run's folds, with the same utterances in their parts."""
    if not listed.parts:
        return
    again = f"run `mmpipe balance-unlabeled --set protocol={config.protocol} --seed {config.seed}` again"
    if missing := [fold.name for fold in folds if fold.name not in listed.parts]:
        raise TrainingError(
            f"{listed.path} was balanced for the folds of protocol {listed.protocol} with seed {listed.seed} "
            f"({', '.join(listed.parts)}), and this run has the fold {missing[0]} (protocol {config.protocol}, seed "
            f"{config.seed}): {again}"
        )
    if other := [fold.name for fold in folds if listed.parts[fold.name] != hash_parts(fold)]:
        raise TrainingError(
            f"{listed.path} was balanced for the folds of protocol {listed.protocol} with seed {listed.seed}, and "
            f"{len(other)} of {len(folds)} folds of this run (protocol {config.protocol}, seed {config.seed}), first "
            f"{other[0]}, have other utterances in training, validation or test: {again}"
        )


def _rows(listed: BalancedList, ids: Sequence[str], store: FeatureStore, dataset: Dataset) -> Rows:
    rows = dataset.rows_of(ids)
    if len(rows) == 0:
        raise TrainingError(
            f"none of the {len(ids)} utterances of {listed.path} is usable in {store.path}: {dataset.excluded}"
        )
    return rows


def _first(rows: Rows, config: TrainConfig, source: Path) -> Rows:
    number = config.unlabeled_rows
    if number is not None and number > len(rows):
        raise TrainingError(
            f"unlabeled_rows = {number} asks for more rows than {source} has: expected {len(rows)} or fewer"
        )
    return rows if number is None else rows[:number]


def _seen(listed: BalancedList, folds: Sequence[Fold], manifest: pa.Table) -> tuple[tuple[str, ...], str | None]:
    """Folds whose test speakers' labels made the list, and a sentence that says so."""
    if listed.parts:
        return (), None
    remedy = "`mmpipe balance-unlabeled` without --once makes a list for each fold without them"
    if listed.trained is None:
        return tuple(fold.name for fold in folds), (
            f"{listed.path} does not record whose labels its classifier saw, since an earlier version wrote it: they "
            f"may be those of test speakers, and figures too high; {remedy}"
        )
    tested = {fold.name: groups_of(manifest, fold.test) for fold in folds}
    trained = [name for name, groups in tested.items() if groups & listed.trained]
    chosen = [name for name, groups in tested.items() if groups & listed.chosen and name not in trained]
    parts = [
        f"{how} labels of the test speakers of {len(names)} of the {len(folds)} folds ({', '.join(names)})"
        for how, names in (("was trained on", trained), ("chose its epoch by", chosen))
        if names
    ]
    if not parts:
        return (), None
    caution = f"the classifier of {listed.path} {' and '.join(parts)}, so figures may be too high; {remedy}"
    return tuple(name for name in tested if name in {*trained, *chosen}), caution
