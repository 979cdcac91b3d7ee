"""The report's first section: the figures that count, and what made the features."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from mmpipe.pipeline.report.blocks import Block, Cards, Cell, Details, Section, Table, Text, plural
from mmpipe.pipeline.report.stores import ShownStore
from mmpipe.pipeline.store.summary import StageSummary
from mmpipe.pipeline.training.results import RunResult

__all__ = ["summary_section"]

_SHORT = 60
"""Characters of a config in the table; all of it is below."""


def summary_section(stores: Sequence[ShownStore], runs: Sequence[RunResult], labelled: int | None) -> Section:
    """The summary.

    Args:
        stores: of the report.
        runs: of the report.
        labelled: utterances that were given pseudo-labels; None without a balanced list.
    """
    cards = []
    if stores:
        rows, hours = (sum(getattr(store.summary.manifest, name) for store in stores) for name in ("rows", "hours"))
        cards.append((f"{rows:,}", f"utterances of {', '.join(store.title for store in stores)}"))
        if hours:
            shown = f"{60 * hours:.1f}" if hours < 2 else f"{hours:,.1f}"
            cards.append((shown, f"{'minutes' if hours < 2 else 'hours'} of speech"))
    if labelled is not None:
        cards.append((f"{labelled:,}", "unlabelled utterances given pseudo-labels"))
    if runs:
        best = max(runs, key=lambda run: run.summary["ua"].mean)
        cards.append(
            (
                f"{100 * best.summary['ua'].mean:.1f} %",
                f"UA of the best run ({best.name}), pooled over {best.pooled.n // best.seeds:,} held-out utterances",
            )
        )
    return Section("summary", "Summary", [Cards(cards), *_provenance(stores)])


def _provenance(stores: Sequence[ShownStore]) -> Iterator[Block]:
    alike: dict[str, list[tuple[str, StageSummary]]] = {}
    for store in stores:
        for stage in store.summary.stages:
            alike.setdefault(f"{stage.name} {_plain(stage.provenance)}", []).append((store.title, stage))
    rows, details, libraries = [], [], set[str]()
    for found in alike.values():
        stage, titles = found[0][1], ", ".join(title for title, _ in found)
        made = stage.provenance
        if made:
            where = ", ".join(str(made[name]) for name in ("device", "precision") if made.get(name))
            config = ", ".join(f"{name} {_plain(value)}" for name, value in made.get("config", {}).items())
            libraries |= {f"{name} {version}" for name, version in made.get("versions", {}).items()}
            rows.append(
                [
                    Cell(titles),
                    Cell(stage.name),
                    Cell(stage.extractor),
                    Cell(config if len(config) <= _SHORT else f"{config[:_SHORT]}…", tip=config),
                    Cell(", ".join(made.get("weights", {}))),
                    Cell(where),
                ]
            )
            details.append(_full(f"{titles}: {stage.name} by {stage.extractor}", made))
    if not rows:
        return
    versions = sorted({store.summary.version for store in stores if store.summary.version})
    yield Table(
        ("stores", "stage", "extractor", "configuration", "weights", "device"),
        rows,
        f"What made the features, by the footers of the shards (mmpipe {', '.join(versions)})",
    )
    if libraries:
        yield Text(f"Versions: {', '.join(sorted(libraries))}.", quiet=True)
    yield Details(f"Everything that decides the values, of {plural(len(rows), 'stage')}", details)


def _full(title: str, made: dict[str, Any]) -> Block:
    entries: list[list[Cell]] = []
    for key, value in made.items():
        parts = value.items() if isinstance(value, dict) else [("", value)]
        entries += [[Cell(f"{key} {name}".strip()), Cell(_plain(part))] for name, part in parts]
    return Details(title, [Table(("what", "value"), entries) if entries else Text("Nothing is recorded.")])


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
