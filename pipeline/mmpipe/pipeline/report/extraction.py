"""The report's section on extraction: statuses, failures by reason, rates, faces, waveforms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mmpipe.core.statuses import FAILURES
from mmpipe.pipeline.report.blocks import Block, Cell, Details, Heading, Section, Table, number, percent, plural
from mmpipe.pipeline.report.faces import face_blocks
from mmpipe.pipeline.report.speech import speech_blocks
from mmpipe.pipeline.report.stores import ShownStore
from mmpipe.pipeline.store.summary import Failure

__all__ = ["extraction_section"]

_MOST_REASONS = 200
"""Rows of the table of reasons."""


def extraction_section(stores: Sequence[ShownStore]) -> Section:
    """What the stages of the stores hold."""
    blocks: list[Block] = []
    for store in stores:
        if store.summary.stages:
            blocks += [Heading(store.title), _stages(store), *_reasons(store)]
            blocks += [*face_blocks(store), *speech_blocks(store)]
    return Section("extraction", "Extraction", blocks)


def _stages(store: ShownStore) -> Table:
    rows = []
    for stage in store.summary.stages:
        total = sum(stage.statuses.values())
        failed = sum(stage.statuses.get(status, 0) for status in FAILURES)
        rate = stage.utterances_per_second
        rows.append(
            [
                Cell(stage.name),
                Cell(stage.extractor),
                Cell(f"{stage.shards} of {store.summary.shards}", stage.shards),
                Cell(", ".join(f"{status} {count:,}" for status, count in stage.statuses.items())),
                percent(stage.statuses.get("ok", 0) / total) if total else Cell(""),
                number(failed),
                number(stage.bytes / 1e6, 1),
                Cell("") if rate is None else number(rate, 1),
            ]
        )
    columns = ("stage", "extractor", "shards", "statuses", "ok %", "failed", "MB", "utterances a second of one worker")
    return Table(columns, rows, f"Stages of {store.title}")


def _reasons(store: ShownStore) -> Iterator[Block]:
    for title, name in (("Why rows have no features", "failures"), ("Warnings of rows with features", "warnings")):
        found: list[tuple[str, Failure]] = [
            (stage.name, case) for stage in store.summary.stages for case in getattr(stage, name)
        ]
        if not found:
            continue
        rows = [
            [
                Cell(stage),
                Cell(case.status),
                number(case.count),
                Cell(case.reason),
                Cell(case.utterance_id),
                Cell(case.example),
            ]
            for stage, case in found[:_MOST_REASONS]
        ]
        more = f", the first {_MOST_REASONS}" if len(found) > _MOST_REASONS else ""
        columns = ("stage", "status", "utterances", "reason", "for example", "its message")
        table = Table(columns, rows, f"{title}{more}")
        yield Details(f"{title} ({plural(len(found), 'reason')})", [table])
