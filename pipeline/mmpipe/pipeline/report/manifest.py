"""The report's section on manifests: counts, durations, labels, splits, speakers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from mmpipe.pipeline.report.blocks import (
    Block,
    Cell,
    Details,
    Figure,
    Grid,
    Heading,
    Section,
    Table,
    Text,
    number,
    percent,
    plural,
)
from mmpipe.pipeline.report.charts import Bars, Series, histogram
from mmpipe.pipeline.report.stores import ShownStore
from mmpipe.pipeline.store.manifest_summary import durations_seconds, word_counts

__all__ = ["manifest_section"]

_MOST_BARS = 12
"""Values of a column that are drawn as bars; more are a table."""

_MOST_ROWS = 500
"""Rows of a table of speakers or sessions."""


def manifest_section(stores: Sequence[ShownStore]) -> Section:
    """What the manifests of the stores hold."""
    return Section("manifest", "Manifest", [block for store in stores for block in _blocks(store)])


def _blocks(store: ShownStore) -> Iterator[Block]:
    held = store.summary.manifest
    shards = f" in {plural(store.summary.shards, 'shard')}" if store.summary.shards else ""
    text = (
        f"{plural(held.rows, 'utterance')}{shards}; audio for {held.with_audio:,}, video for {held.with_video:,}, "
        f"text for {held.with_text:,}; {held.unlabelled:,} without a label."
    )
    if held.median_seconds is not None:
        text += (
            f" Median duration {held.median_seconds:.2f} s; 80 % are no longer than {held.percentile_seconds:.2f} s."
        )
        if store.summary.corpus in ("ami", "iemocap"):
            text += " (On the full IEMOCAP the paper finds 7.2 s, and crops AMI to it.)"
    yield Heading(store.title)
    yield Text(text)
    figures = [*_counts(store), *_histograms(store)]
    if figures:
        yield Grid(figures)
    by_label = _labels_of(store.manifest)
    for column in ("speaker", "session"):
        counts = held.counts[column]
        if len(counts) > 1:
            yield Details(f"Every {column} ({len(counts):,})", [_table(store, column, by_label[column])])


def _counts(store: ShownStore) -> Iterator[Figure]:
    for column in ("label", "split", "session", "speaker"):
        counts = store.summary.manifest.counts[column]
        shown = list(counts.items())[:_MOST_BARS]
        if not shown or (column in ("session", "speaker") and len(counts) == 1):
            continue
        more = f", the {_MOST_BARS} most frequent of {len(counts)}" if len(counts) > len(shown) else ""
        names, values = zip(*shown, strict=True)
        tips = [f"{name}: {n:,} ({100 * n / store.summary.manifest.rows:.1f} %)" for name, n in shown]
        bars = Bars(
            f"Utterances of {store.title} by {column}", names, [Series("utterances", values, tips=tips)], "utterances"
        )
        yield Figure(bars, f"By {column}{more}")


def _histograms(store: ShownStore) -> Iterator[Figure]:
    seconds = durations_seconds(store.manifest).drop_null().to_numpy()
    percentile = store.summary.manifest.percentile_seconds
    if len(seconds) > 1 and np.ptp(seconds) > 0.01 and percentile is not None:
        mark = (percentile, f"80 %: {percentile:.1f} s")
        label = f"Histogram of the durations of {store.title}, with the 80 % mark"
        yield Figure(histogram(seconds, label, "duration in seconds", mark), "Durations")
    words = word_counts(store.manifest).drop_null().to_numpy()
    if len(words) > 1 and np.ptp(words) > 0:
        label = f"Histogram of words in an utterance of {store.title}"
        yield Figure(histogram(words, label, "words in an utterance"), "Words in an utterance")


def _labels_of(manifest: pa.Table) -> dict[str, dict[str, dict[str, int]]]:
    """Utterances by column, value and label."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    for column in ("speaker", "session"):
        groups = manifest.select([column, "label"]).group_by([column, "label"]).aggregate([([], "count_all")])
        counts = found.setdefault(column, {})
        for row in groups.to_pylist():
            if row[column] is not None and row["label"] is not None:
                counts.setdefault(row[column], {})[row["label"]] = row["count_all"]
    return found


def _table(store: ShownStore, column: str, by_label: dict[str, dict[str, int]]) -> Table:
    held = store.summary.manifest
    counts, labels = held.counts[column], list(held.counts["label"])[:_MOST_BARS]
    rows = [
        [Cell(value), number(n), percent(n / held.rows), *(number(by_label.get(value, {}).get(x, 0)) for x in labels)]
        for value, n in list(counts.items())[:_MOST_ROWS]
    ]
    more = f", the {_MOST_ROWS} largest of {len(counts):,}" if len(counts) > _MOST_ROWS else ""
    return Table((column, "utterances", "%", *labels), rows, f"{store.title} by {column}{more}")
