"""What a manifest holds: counts and durations."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["ManifestSummary", "durations_seconds", "summarise_manifest", "word_counts"]

_PERCENTILE = 80
"""The paper cuts AMI to the length that 80 per cent of the labelled utterances do not exceed (section 4.2)."""


@dataclass(frozen=True)
class ManifestSummary:
    """Counts of a manifest.

    Attributes:
        rows: utterances.
        counts: by column (`label`, `split`, `session`, `speaker`) and value, the most frequent first; without nulls.
        unlabelled: utterances without a label.
        with_audio: utterances with a span of audio.
        with_video: utterances with a span of video.
        with_text: utterances with a transcript.
        hours: sum of the durations that are known.
        median_seconds: median duration; None where no duration is known.
        percentile_seconds: the duration that 80 per cent of the utterances do not exceed; None where none is known.
        words: of all utterances.
        median_words: median of the utterances that have words; None where none has.
    """

    rows: int
    counts: dict[str, dict[str, int]]
    unlabelled: int
    with_audio: int
    with_video: int
    with_text: int
    hours: float
    median_seconds: float | None
    percentile_seconds: float | None
    words: int
    median_words: float | None


def durations_seconds(manifest: pa.Table) -> pa.ChunkedArray:
    """Length of each utterance's audio span, else of its video span, in seconds; null where no end is known.

    A clip that is a file of its own has no end in the manifest: there the length that the corpus gives counts
    (annotation `duration_seconds`, as MELD has it).
    """
    lengths = []
    for column in ("audio", "video"):
        spans = manifest.column(column)
        lengths.append(pc.subtract(pc.struct_field(spans, "end_seconds"), pc.struct_field(spans, "start_seconds")))
    noted = pc.extract_regex(manifest.column("annotations"), r'"duration_seconds": (?P<seconds>\d+(?:\.\d+)?)[,}]')
    return pc.coalesce(*lengths, pc.struct_field(noted, "seconds").cast(pa.float64()))


def word_counts(manifest: pa.Table) -> pa.ChunkedArray:
    """Words of each utterance, by its word list, else by its text; null where it has neither."""
    listed = pc.list_value_length(manifest.column("words"))
    spoken = pc.utf8_trim_whitespace(pc.if_else(pc.is_null(listed), manifest.column("text"), None))
    split = pc.list_value_length(pc.utf8_split_whitespace(pc.if_else(pc.equal(spoken, ""), None, spoken)))
    return pc.coalesce(listed, split)


def summarise_manifest(manifest: pa.Table) -> ManifestSummary:
    """Count a manifest's rows by their attributes."""
    counts = {}
    for name in ("label", "split", "session", "speaker"):
        values = manifest.column(name).drop_null().value_counts().to_pylist()
        counts[name] = {v["values"]: v["counts"] for v in sorted(values, key=lambda v: (-v["counts"], v["values"]))}
    durations = durations_seconds(manifest).drop_null()
    median = percentile = None
    if len(durations):
        median, percentile = pc.quantile(durations, [0.5, _PERCENTILE / 100]).to_pylist()
    words = word_counts(manifest)
    return ManifestSummary(
        rows=manifest.num_rows,
        counts=counts,
        unlabelled=manifest.column("label").null_count,
        with_audio=manifest.num_rows - manifest.column("audio").null_count,
        with_video=manifest.num_rows - manifest.column("video").null_count,
        with_text=pc.sum(pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(manifest.column("text"))), 0)).as_py() or 0,
        hours=(pc.sum(durations).as_py() or 0.0) / 3600,
        median_seconds=median,
        percentile_seconds=percentile,
        words=pc.sum(words).as_py() or 0,
        median_words=pc.quantile(words, 0.5)[0].as_py(),
    )
