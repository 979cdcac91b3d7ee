"""The manifest: one row for each utterance, as an explicit Arrow schema and as Python objects.

An utterance is one spoken piece of one speaker. Media are named relative to the corpus root, spans are
seconds of the media's own clock, words are seconds of the utterance's own clock (0 = its start).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import pyarrow as pa

from mmpipe.core.reading import parse_object

__all__ = ["MANIFEST_SCHEMA", "MediaSpan", "Region", "Utterance", "Word", "to_table", "to_utterances"]

_REGION = pa.struct([(name, pa.float64()) for name in ("x", "y", "width", "height")])
_SPAN = [("uri", pa.string()), ("start_seconds", pa.float64()), ("end_seconds", pa.float64())]

MANIFEST_SCHEMA = pa.schema(
    [
        pa.field("utterance_id", pa.string(), nullable=False),
        pa.field("corpus", pa.string(), nullable=False),
        ("split", pa.string()),
        ("session", pa.string()),
        ("dialogue", pa.string()),
        ("speaker", pa.string()),
        ("gender", pa.string()),
        ("audio", pa.struct(_SPAN)),
        ("video", pa.struct([*_SPAN, ("region", _REGION)])),
        ("text", pa.string()),
        (
            "words",
            pa.list_(
                pa.struct([("text", pa.string()), ("start_seconds", pa.float64()), ("end_seconds", pa.float64())])
            ),
        ),
        ("label", pa.string()),
        ("label_source", pa.string()),
        ("annotations", pa.string()),
        ("shard", pa.int32()),
    ]
)
"""Columns of a manifest. `shard` is null until a feature store plans the row."""


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a video frame, as fractions of its width and height in [0, 1]."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class MediaSpan:
    """A span of a media file.

    Attributes:
        uri: path relative to the corpus root, with forward slashes.
        start_seconds: start on the file's clock; 0 with `end_seconds` None is the whole file.
        end_seconds: end on the file's clock, or None for the end of the file.
        region: the part of the frame that shows the speaker, or None for the whole frame (video only).
    """

    uri: str
    start_seconds: float = 0.0
    end_seconds: float | None = None
    region: Region | None = None


@dataclass(frozen=True, slots=True)
class Word:
    """A word with its times in seconds from the start of the utterance (None where unknown)."""

    text: str
    start_seconds: float | None = None
    end_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Utterance:
    """One row of a manifest. `label` is None for unlabelled data; `label_source` is the corpus's own label."""

    utterance_id: str
    corpus: str
    split: str | None = None
    session: str | None = None
    dialogue: str | None = None
    speaker: str | None = None
    gender: str | None = None
    audio: MediaSpan | None = None
    video: MediaSpan | None = None
    text: str | None = None
    words: tuple[Word, ...] | None = None
    label: str | None = None
    label_source: str | None = None
    annotations: Mapping[str, Any] = field(default_factory=dict)
    shard: int | None = None

    @property
    def duration_seconds(self) -> float | None:
        """Length of the audio span, else of the video span, in seconds; None where no end is known."""
        for span in (self.audio, self.video):
            if span is not None and span.end_seconds is not None:
                return span.end_seconds - span.start_seconds
        return None


def _struct(columns: Sequence[pa.Array], kind: pa.DataType, missing: Sequence[bool]) -> pa.Array:
    return pa.StructArray.from_arrays(columns, fields=list(kind), mask=pa.array(missing, pa.bool_()))


def _regions(regions: Sequence[Region | None], kind: pa.DataType) -> pa.Array:
    values = [pa.array([r and getattr(r, part.name) for r in regions], part.type) for part in kind]
    return _struct(values, kind, [r is None for r in regions])


def _spans(spans: Sequence[MediaSpan | None], kind: pa.DataType) -> pa.Array:
    columns = [
        _regions([None if span is None else span.region for span in spans], part.type)
        if part.name == "region"
        else pa.array([span and getattr(span, part.name) for span in spans], part.type)
        for part in kind
    ]
    return _struct(columns, kind, [span is None for span in spans])


def _words(lists: Sequence[Sequence[Word] | None], kind: pa.DataType) -> pa.Array:
    words = [word for item in lists for word in item or ()]
    values = [pa.array([getattr(word, part.name) for word in words], part.type) for part in kind.value_type]
    offsets = [0, *accumulate(len(item or ()) for item in lists)]
    flat = pa.StructArray.from_arrays(values, fields=list(kind.value_type))
    missing = pa.array([not item for item in lists], pa.bool_())
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), flat, type=kind, mask=missing)


def _annotations(utterance: Utterance) -> str | None:
    annotations = utterance.annotations
    return json.dumps(annotations, sort_keys=True, ensure_ascii=False) if annotations else None


def to_table(utterances: Iterable[Utterance]) -> pa.Table:
    """Utterances as a table of `MANIFEST_SCHEMA`.

    Example:
        >>> to_table([Utterance("demo/a", "demo", text="hello")]).num_rows
        1
    """
    rows = list(utterances)
    columns = {}
    makers = {"audio": _spans, "video": _spans, "words": _words}
    for column in MANIFEST_SCHEMA:
        if column.name == "annotations":
            columns[column.name] = pa.array([_annotations(u) for u in rows], column.type)
        else:
            make = makers.get(column.name, pa.array)
            columns[column.name] = make([getattr(u, column.name) for u in rows], column.type)
    return pa.table(columns, schema=MANIFEST_SCHEMA)


def _span(row: Mapping[str, Any] | None) -> MediaSpan | None:
    if row is None:
        return None
    region = row.get("region")
    return MediaSpan(row["uri"], row["start_seconds"], row["end_seconds"], region and Region(**region))


def to_utterances(table: pa.Table) -> list[Utterance]:
    """The rows of a manifest table as objects, in order.

    A word without a text is left out; annotations that are not a JSON object become one entry, `unreadable`, that says
    why.

    Example:
        >>> utterance = Utterance("demo/a", "demo", words=(Word("hello", 0.0, 0.4),))
        >>> to_utterances(to_table([utterance])) == [utterance]
        True
    """
    utterances = []
    for row in table.to_pylist():
        row["audio"], row["video"] = _span(row["audio"]), _span(row["video"])
        row["words"] = row["words"] and tuple(Word(**word) for word in row["words"] if word and word["text"])
        row["annotations"] = _read_annotations(row["annotations"])
        utterances.append(Utterance(**row))
    return utterances


def _read_annotations(text: str | None) -> dict[str, Any]:
    if not text:
        return {}
    try:
        return parse_object(text)
    except ValueError as error:
        return {"unreadable": str(error)}
