"""The report's section on one feature store or manifest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mmpipe.extractors.faces import decode_crops
from mmpipe.manifests.io import read_manifest
from mmpipe.pipeline.inspect import Summary, durations_seconds, inspect_store
from mmpipe.pipeline.report.figures import histogram, png_uri
from mmpipe.pipeline.store import FeatureStore, shard_path

__all__ = ["CorpusSection", "FaceStrip", "corpus_section"]

STRIPS = 4
"""Face strips shown of a store."""

STRIP_FACES = 16
"""Faces of a strip."""

STRIP_SHARDS = 8
"""Shards looked through for utterances to show."""


@dataclass(frozen=True)
class FaceStrip:
    """The crops of one utterance side by side.

    Attributes:
        utterance_id: the utterance.
        label: its label, or None.
        text: what is said.
        image: PNG data URI, at most 16 crops of 64x64 pixels.
        faces: number of crops of the utterance.
        detected: in how many of the sampled frames a face was found.
        missing: for each crop shown, whether its box is that of an earlier frame.
    """

    utterance_id: str
    label: str | None
    text: str
    image: str
    faces: int
    detected: int
    missing: list[bool]


@dataclass(frozen=True)
class CorpusSection:
    """A store or manifest on the page. `durations` and `words` are data URIs, None where nothing is known."""

    title: str
    summary: Summary
    durations: str | None
    words: str | None
    strips: list[FaceStrip]


def corpus_section(path: Path) -> CorpusSection:
    """Read a store, or a manifest alone: then there are no stages and no strips.

    Raises:
        StoreError: the folder is no feature store, or its manifest or a shard cannot be read.
        ManifestError: the file is no manifest.
    """
    summary = inspect_store(path)
    store = None if path.is_file() else FeatureStore(path)
    manifest = read_manifest(path) if store is None else store.manifest()
    seconds = durations_seconds(manifest).drop_null().to_numpy()
    words = _words(manifest)
    mark = summary.manifest.percentile_seconds
    is_varied = len(seconds) > 1 and np.ptp(seconds) > 0.01
    return CorpusSection(
        path.stem if summary.corpus == "folder" else summary.corpus.upper(),
        summary,
        histogram(seconds, "duration in seconds", mark) if is_varied else None,
        histogram(words, "words in an utterance") if len(words) > 1 and np.ptp(words) > 0 else None,
        [] if store is None else list(_strips(store, manifest)),
    )


def _words(manifest: pa.Table) -> npt.NDArray[np.float64]:
    """Words of the utterances that have any, by the word list, else by the text."""
    listed = pc.list_value_length(manifest.column("words"))
    spoken = pc.utf8_trim_whitespace(manifest.column("text"))
    split = pc.list_value_length(pc.utf8_split_whitespace(pc.if_else(pc.equal(spoken, ""), None, spoken)))
    return np.asarray(pc.coalesce(listed, split).drop_null().to_numpy(), np.float64)


def _strips(store: FeatureStore, manifest: pa.Table) -> Iterator[FaceStrip]:
    """Strips of utterances of different labels and speakers, as far as the first shards have them."""
    if "faces" not in store.stages:
        return
    seen: set[Any] = set()
    rows = {row["utterance_id"]: row for row in _first_rows(manifest)}
    for shard in range(min(store.num_shards, STRIP_SHARDS)):
        if not shard_path(store.path, "faces", shard).exists():
            continue
        for faces in store.read_shard("faces", shard, ["utterance_id", "status", "crops", "detected"]).to_pylist():
            row = rows.get(faces["utterance_id"])
            key = row and (row["label"] or row["speaker"])
            if row is None or faces["status"] != "ok" or key in seen:
                continue
            seen.add(key)
            yield _strip(row, faces["crops"], faces["detected"])
            if len(seen) == STRIPS:
                return


def _first_rows(manifest: pa.Table) -> list[dict[str, Any]]:
    first = manifest.filter(pc.less(manifest.column("shard"), STRIP_SHARDS))
    rows: list[dict[str, Any]] = first.select(["utterance_id", "label", "speaker", "text"]).to_pylist()
    return rows


def _strip(row: dict[str, Any], crops: list[bytes], detected: list[bool]) -> FaceStrip:
    shown = decode_crops(crops[:STRIP_FACES])
    return FaceStrip(
        row["utterance_id"],
        row["label"],
        row["text"] or "",
        png_uri(np.concatenate(list(shown), axis=1)),
        len(crops),
        sum(detected),
        [not found for found in detected[:STRIP_FACES]],
    )
