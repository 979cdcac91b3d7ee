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

from mmpipe.core.errors import StoreError
from mmpipe.extractors.faces.crops import decode_crops
from mmpipe.manifests.io import read_manifest
from mmpipe.manifests.schema import to_utterances
from mmpipe.pipeline.extraction.stages import FACES
from mmpipe.pipeline.report.contact_sheet import FaceCounts, boxed_frame, count_faces, frame_interval
from mmpipe.pipeline.report.figures import histogram, png_uri
from mmpipe.pipeline.store.feature_store import FeatureStore, shard_path
from mmpipe.pipeline.store.manifest_summary import durations_seconds
from mmpipe.pipeline.store.shards import MAKE_AGAIN
from mmpipe.pipeline.store.summary import Summary, inspect_store

__all__ = ["CorpusSection", "FaceStrip", "corpus_section"]

_STRIPS = 4
"""Face strips shown of a store."""

_STRIP_FACES = 16
"""Faces of a strip."""

_FRAME = (128, 228)
"""Height and width that the frame beside a strip fits in."""

_STRIP_SHARDS = 8
"""Shards looked through for utterances to show."""

_STRIP_COLUMNS = ["utterance_id", "status", "crops", "detected", "box", "frame_index"]


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
        frame: the first frame with a face, its box drawn in it, as a PNG data URI; None without the corpus.
    """

    utterance_id: str
    label: str | None
    text: str
    image: str
    faces: int
    detected: int
    missing: list[bool]
    frame: str | None


@dataclass(frozen=True)
class CorpusSection:
    """A store or manifest on the page.

    `durations` and `words` are data URIs, None where nothing is known; `faces` is None until all faces are extracted.
    """

    title: str
    summary: Summary
    durations: str | None
    words: str | None
    faces: FaceCounts | None
    strips: list[FaceStrip]


def corpus_section(path: Path, root: Path | None = None) -> CorpusSection:
    """Read a store, or a manifest alone: then there are no stages and no strips.

    Args:
        path: the store or manifest.
        root: the corpus root; with it, frames are shown beside the faces.

    Raises:
        StoreError: the folder is not a feature store, a file of it is damaged, or a stage was not all made alike.
        ManifestError: the file is not a manifest.
    """
    summary = inspect_store(path)
    store = None if path.is_file() else FeatureStore(path)
    if store is not None:
        _refuse_damage(store, summary)
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
        None if store is None or not _is_complete(store) else count_faces(store),
        [] if store is None else list(_strips(store, manifest, root)),
    )


def _refuse_damage(store: FeatureStore, summary: Summary) -> None:
    for stage in summary.stages:
        store.check(stage.name)
        for file, problem in stage.damaged.items():
            raise StoreError(f"{store.path / file} is damaged ({problem}): {MAKE_AGAIN}")


def _words(manifest: pa.Table) -> npt.NDArray[np.float64]:
    """Words of the utterances that have any, by the word list, else by the text."""
    listed = pc.list_value_length(manifest.column("words"))
    spoken = pc.utf8_trim_whitespace(manifest.column("text"))
    split = pc.list_value_length(pc.utf8_split_whitespace(pc.if_else(pc.equal(spoken, ""), None, spoken)))
    return np.asarray(pc.coalesce(listed, split).drop_null().to_numpy(), np.float64)


def _is_complete(store: FeatureStore) -> bool:
    """Whether every shard of the faces is there."""
    return FACES in store.stages and all(
        shard_path(store.path, FACES, shard).exists() for shard in range(store.num_shards)
    )


def _strips(store: FeatureStore, manifest: pa.Table, root: Path | None) -> Iterator[FaceStrip]:
    """Strips of utterances of different labels and speakers, as far as the first shards have them."""
    if FACES not in store.stages:
        return
    seen: set[Any] = set()
    rows = {row["utterance_id"]: row for row in _first_rows(manifest)}
    for shard in range(min(store.num_shards, _STRIP_SHARDS)):
        if not shard_path(store.path, FACES, shard).exists():
            continue
        for faces in store.read_shard(FACES, shard, _STRIP_COLUMNS).to_pylist():
            row = rows.get(faces["utterance_id"])
            key = row and (row["label"] or row["speaker"])
            if row is None or faces["status"] != "ok" or key in seen:
                continue
            seen.add(key)
            frame = None
            if root is not None:
                one = manifest.filter(pc.equal(manifest.column("utterance_id"), row["utterance_id"]))
                span = to_utterances(one)[0].video
                frame = None if span is None else boxed_frame(root, span, faces, frame_interval(store), _FRAME)
            yield _strip(row, faces["crops"], faces["detected"], None if frame is None else png_uri(frame))
            if len(seen) == _STRIPS:
                return


def _first_rows(manifest: pa.Table) -> list[dict[str, Any]]:
    first = manifest.filter(pc.less(manifest.column("shard"), _STRIP_SHARDS))
    rows: list[dict[str, Any]] = first.select(["utterance_id", "label", "speaker", "text"]).to_pylist()
    return rows


def _strip(row: dict[str, Any], crops: list[bytes], detected: list[bool], frame: str | None) -> FaceStrip:
    shown = decode_crops(crops[:_STRIP_FACES])
    return FaceStrip(
        row["utterance_id"],
        row["label"],
        row["text"] or "",
        png_uri(np.concatenate(list(shown), axis=1)),
        len(crops),
        sum(detected),
        [not found for found in detected[:_STRIP_FACES]],
        frame,
    )
