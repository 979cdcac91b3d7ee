"""The utterances of some feature stores as columns: what the page lists, filters and shows in full.

Columns stay in Arrow and NumPy; Python objects are made of the rows that a page shows alone.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mmpipe.core.errors import StoreError, UsageError
from mmpipe.manifests.schema import MANIFEST_SCHEMA, Utterance, to_utterances
from mmpipe.pipeline.browse.pseudo import PseudoLabels
from mmpipe.pipeline.extraction.stages import FACES
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.store.shards import shard_path

__all__ = ["NONE", "Catalog", "Detail", "Mask", "OpenStore", "StageRow", "open_catalog"]

Mask = npt.NDArray[np.bool_]

NONE = "(none)"
"""How a filter asks for rows that have no value."""

_NOT_EXTRACTED, _UNREADABLE = "not extracted", "unreadable"
"""Statuses of rows whose shard is not there, or cannot be read."""

_FACE_COLUMNS = ("crops", "time_seconds", "detected", "score")

_KEPT_ROWS = 8
"""Utterances whose face crops stay in memory: the browser asks for each crop alone."""


@dataclass(frozen=True)
class OpenStore:
    """A store that is looked through.

    Attributes:
        name: what links call it.
        store: the store.
        root: the corpus root; None where it is not known.
        without_root: why it is not known.
    """

    name: str
    store: FeatureStore
    root: Path | None
    without_root: str = ""


@dataclass(frozen=True)
class _Facet:
    """A column of few different values.

    Attributes:
        values: the different values, the most frequent first.
        counts: how many rows have each.
        codes: for each row the number of its value; -1 where it has none.
    """

    values: tuple[str, ...]
    counts: tuple[int, ...]
    codes: npt.NDArray[np.int32]

    @property
    def missing(self) -> int:
        """Rows without a value."""
        return int(np.count_nonzero(self.codes < 0))

    def mask(self, value: str) -> Mask:
        """The rows that have a value; `NONE` also asks for those without one."""
        code = self.values.index(value) if value in self.values else None
        found = np.zeros(len(self.codes), np.bool_) if code is None else self.codes == code
        return found | (self.codes < 0) if value == NONE else found


@dataclass(frozen=True)
class StageRow:
    """What a stage says of an utterance."""

    stage: str
    status: str
    message: str | None


@dataclass(frozen=True)
class Detail:
    """One utterance in full.

    Attributes:
        utterance: its row of the manifest.
        opened: its store.
        stages: what the stages say of it.
        faces: time, whether the face was found, and score of each crop; a value that the store lacks is None.
        pseudo: fold (None of a list for all folds), pseudo-label and probability.
    """

    utterance: Utterance
    opened: OpenStore
    stages: tuple[StageRow, ...]
    faces: tuple[tuple[float | None, bool, float | None], ...]
    pseudo: tuple[tuple[str | None, str, float], ...]


class Catalog:
    """The utterances of some stores, in the order of the stores and of their manifests.

    Attributes:
        stores: by name.
        ids: utterance ids.
        facets: by name: store, dataset, split, session, speaker, label, pseudo, and status.STAGE.
        probability: float32 [N] of the pseudo-label; NaN where there is none.
    """

    def __init__(self, stores: Sequence[OpenStore], pseudo: PseudoLabels | None, tick: Callable[[], None]) -> None:
        self.stores = {opened.name: opened for opened in stores}
        manifests = [opened.store.manifest() for opened in stores]
        self._manifests = dict(zip(self.stores, manifests, strict=True))  # as they are now: a store may grow meanwhile
        self._first = dict(zip(self.stores, np.cumsum([0, *(m.num_rows for m in manifests)]).tolist(), strict=False))
        self._columns = pa.concat_tables(_shown(manifest) for manifest in manifests).combine_chunks()
        self.ids: pa.ChunkedArray = self._columns.column("utterance_id")
        texts = pc.fill_null(self._columns.column("text"), "")
        self._searched = pc.utf8_lower(pc.binary_join_element_wise(self.ids, texts, "\n"))
        names = pa.chunked_array([pa.array([o.name] * m.num_rows) for o, m in zip(stores, manifests, strict=True)])
        self.facets = {"store": _facet(names), "dataset": _facet(self._columns.column("corpus"))}
        self.facets |= {name: _facet(self._columns.column(name)) for name in ("split", "session", "speaker", "label")}
        self._pseudo = pseudo
        self.probability = np.full(len(self.ids), np.nan, np.float32)
        if pseudo is not None:
            labels, self.probability = pseudo.best(self.ids)
            self.facets["pseudo"] = _facet(labels)
        for stage in dict.fromkeys(stage for opened in stores for stage in opened.store.info["stages"]):
            columns = [piece for opened in stores for piece in _statuses(opened.store, stage, tick)]
            self.facets[f"status.{stage}"] = _facet(pa.chunked_array(columns, pa.string()))
        self._lock = threading.Lock()
        self._crops: OrderedDict[tuple[str, str], dict[str, Any]] = OrderedDict()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def stages(self) -> list[str]:
        """The stages of the stores."""
        return [name.removeprefix("status.") for name in self.facets if name.startswith("status.")]

    def row_of(self, store: str, utterance_id: str) -> int | None:
        """The row of an utterance; None where there is none."""
        if store not in self.stores:
            return None
        first = self._first[store]
        place = pc.index(self.ids.slice(first, self._manifests[store].num_rows), utterance_id).as_py()
        return None if place < 0 else first + place

    def name_of(self, row: int) -> tuple[str, str]:
        """Store and id of a row."""
        return self.facets["store"].values[self.facets["store"].codes[row]], self.ids[row].as_py()

    def holding(self, words: Sequence[str]) -> Mask:
        """The rows whose id or transcript holds all of some words, upper and lower case alike."""
        masks = (pc.match_substring(self._searched, word.lower()).to_numpy() for word in words)
        return reduce(np.logical_and, masks, np.ones(len(self), np.bool_))

    def among(self, ids: Sequence[str]) -> Mask:
        """The rows of some utterances."""
        found: Mask = pc.is_in(self.ids, value_set=pa.array(list(ids), pa.string())).to_numpy()
        return found

    def shown(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """What the list shows of some rows: columns of the manifest, store, pseudo-label, statuses by stage."""
        table: list[dict[str, Any]] = self._columns.take(pa.array(rows, pa.int64())).to_pylist()
        for row, values in zip(rows, table, strict=True):
            values["store"] = self.name_of(row)[0]
            values["pseudo"] = self._value("pseudo", row)
            values["probability"] = None if np.isnan(self.probability[row]) else float(self.probability[row])
            values["statuses"] = {stage: self._value(f"status.{stage}", row) for stage in self.stages}
        return table

    def _value(self, facet: str, row: int) -> str | None:
        held = self.facets.get(facet)
        return None if held is None or held.codes[row] < 0 else held.values[held.codes[row]]

    def utterance(self, row: int) -> tuple[Utterance, OpenStore]:
        """An utterance, and its store."""
        name, _ = self.name_of(row)
        manifest = self._manifests[name].slice(row - self._first[name], 1)
        return to_utterances(manifest.select(MANIFEST_SCHEMA.names))[0], self.stores[name]

    def detail(self, row: int) -> Detail:
        """One utterance in full."""
        utterance, opened = self.utterance(row)
        with self._lock:
            stages = tuple(_stage_row(opened.store, stage, utterance) for stage in opened.store.info["stages"])
        held = self._faces(opened, utterance)
        faces = tuple(
            zip(*(_filled(held.get(column), len(held.get("crops") or ())) for column in _FACE_COLUMNS[1:]), strict=True)
        )
        pseudo = () if self._pseudo is None else self._pseudo.of(utterance.utterance_id)
        return Detail(utterance, opened, stages, faces, pseudo)

    def crop(self, row: int, number: int) -> bytes | None:
        """A face crop of an utterance, a PNG; None where it has none of that number."""
        utterance, opened = self.utterance(row)
        crops = self._faces(opened, utterance).get("crops") or ()
        return crops[number] if 0 <= number < len(crops) else None

    def _faces(self, opened: OpenStore, utterance: Utterance) -> Mapping[str, Any]:
        """The row of the stage `faces`; empty where there is none that can be read."""
        store, key = opened.store, (opened.name, utterance.utterance_id)
        if FACES not in store.info["stages"]:
            return {}
        with self._lock:
            if key not in self._crops:
                try:
                    wanted = [column for column in _FACE_COLUMNS if column in store.columns(FACES)]
                    self._crops[key] = _row_of(store, FACES, utterance, wanted) or {}
                except StoreError:  # the status says so
                    self._crops[key] = {}
            self._crops.move_to_end(key)
            while len(self._crops) > _KEPT_ROWS:
                self._crops.popitem(last=False)
            return self._crops[key]


def open_catalog(
    stores: Sequence[OpenStore], pseudo: PseudoLabels | None = None, tick: Callable[[], None] = lambda: None
) -> Catalog:
    """Read what is listed of some stores.

    Args:
        stores: with different names.
        pseudo: from a balanced list.
        tick: called after every shard.

    Raises:
        StoreError: the manifest of a store cannot be read.
        UsageError: the stores hold no utterance, or the balanced list is of another store.
    """
    if not sum(opened.store.manifest().num_rows for opened in stores):
        raise UsageError("the stores hold no utterance: there is nothing to look through")
    catalog = Catalog(stores, pseudo, tick)
    if pseudo is not None and not np.isfinite(catalog.probability).any():
        raise UsageError(f"none of the utterances of {pseudo.path} is in the stores: name the unlabelled store too")
    return catalog


def _shown(manifest: pa.Table) -> pa.Table:
    """The columns that the list shows, with the length of the utterances."""
    seconds = [
        pc.subtract(*(pc.struct_field(manifest.column(name), part) for part in ("end_seconds", "start_seconds")))
        for name in ("audio", "video")
    ]
    names = ["utterance_id", "corpus", "split", "session", "speaker", "label", "text"]
    return manifest.select(names).replace_schema_metadata(None).append_column("seconds", pc.coalesce(*seconds))


def _facet(column: pa.ChunkedArray) -> _Facet:
    """The values of a column of texts, by number."""
    encoded = pa.chunked_array(column.chunks or [pa.array([], pa.string())]).combine_chunks().dictionary_encode()
    values = encoded.dictionary.to_pylist()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
    counts = np.bincount(codes[codes >= 0], minlength=len(values))
    order = sorted(range(len(values)), key=lambda code: (-counts[code], values[code]))
    place = np.empty(len(values) + 1, np.int32)
    place[order], place[-1] = np.arange(len(values)), -1
    return _Facet(tuple(values[c] for c in order), tuple(int(counts[c]) for c in order), place[codes])


def _statuses(store: FeatureStore, stage: str, tick: Callable[[], None]) -> Iterator[pa.Array]:
    """The statuses of a store's rows, by shard; null where the store does not have the stage at all."""
    for shard in range(store.num_shards):
        rows = len(store.ids_of(shard))
        if stage not in store.info["stages"]:
            yield pa.nulls(rows, pa.string())
            continue
        if not shard_path(store.path, stage, shard).exists():
            yield pa.array([_NOT_EXTRACTED] * rows)
        else:
            try:
                yield from store.read_shard(stage, shard, ["status"]).column("status").cast(pa.string()).chunks
            except StoreError:
                yield pa.array([_UNREADABLE] * rows)
        tick()


def _row_of(store: FeatureStore, stage: str, utterance: Utterance, columns: Sequence[str]) -> dict[str, Any] | None:
    """Some columns of an utterance's row of a stage; None where its shard is not there."""
    shard = utterance.shard or 0
    if not shard_path(store.path, stage, shard).exists():
        return None
    if (place := pc.index(store.ids_of(shard), utterance.utterance_id).as_py()) < 0:  # dropped since the page started
        return None
    row: dict[str, Any] = store.read_shard(stage, shard, columns).slice(place, 1).to_pylist()[0]
    return row


def _stage_row(store: FeatureStore, stage: str, utterance: Utterance) -> StageRow:
    try:
        row = _row_of(store, stage, utterance, ["status", "error"])
    except StoreError as error:
        return StageRow(stage, _UNREADABLE, str(error))
    return StageRow(stage, _NOT_EXTRACTED, None) if row is None else StageRow(stage, row["status"], row["error"])


def _filled(values: Sequence[Any] | None, length: int) -> Sequence[Any]:
    return values if values is not None and len(values) == length else [None] * length
