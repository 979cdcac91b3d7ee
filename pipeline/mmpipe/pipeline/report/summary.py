"""The report's first section: the figures that count, and what made the features."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from mmpipe.pipeline.report.blocks import Block, Cards, Cell, Details, Section, Table, Text, plural
from mmpipe.pipeline.report.lists import ShownList
from mmpipe.pipeline.report.stores import ShownStore
from mmpipe.pipeline.report.training import ShownRun
from mmpipe.pipeline.store.summary import StageSummary

__all__ = ["summary_section"]

_SHORT = 60
"""Characters of a config in the table; all of it is below."""


def summary_section(stores: Sequence[ShownStore], runs: Sequence[ShownRun], lists: Sequence[ShownList]) -> Section:
    """The summary of what the report shows."""
    cards = []
    if stores:
        rows, hours = (sum(getattr(store.summary.manifest, name) for store in stores) for name in ("rows", "hours"))
        cards.append((f"{rows:,}", f"utterances of {', '.join(store.title for store in stores)}"))
        if hours:
            shown = f"{60 * hours:.1f}" if hours < 2 else f"{hours:,.1f}"
            cards.append((shown, f"{'minutes' if hours < 2 else 'hours'} of speech"))
    if lists:
        labelled = sum(sum(shown.result.folds[0].before.values()) for shown in lists)
        cards.append((f"{labelled:,}", "unlabelled utterances given pseudo-labels"))
    if runs:
        best = max((run.result for run in runs), key=lambda run: run.summary["ua"].mean)
        cards.append(
            (
                f"{100 * best.summary['ua'].mean:.1f} %",
                f"UA of the best run ({best.name}), pooled over {best.pooled.n // best.seeds:,} held-out utterances",
            )
        )
    return Section("summary", "Summary", [Cards(cards), *_provenance(stores), _sources(stores, runs, lists)])


def _sources(stores: Sequence[ShownStore], runs: Sequence[ShownRun], lists: Sequence[ShownList]) -> Block:
    """What was read, and what each of it was made of."""
    rows = []
    for store in stores:
        held = f"{store.title}, {plural(store.summary.manifest.rows, 'utterance')}"
        rows.append(("feature store" if store.store is not None else "manifest", store.path, held))
    for shown in lists:
        by = ", ".join(shown.footer.get("stores", {}).get("unlabeled", {}).get("stages", ()))
        rows.append(("balanced list", shown.path, f"{plural(shown.rows.num_rows, 'draw')}{f' by {by}' if by else ''}"))
    for run in runs:
        result = run.result
        made = {stage: part["extractor"] for stage, part in result.features.items() if "extractor" in part}
        of = ", ".join(f"{stage} of {extractor}" for stage, extractor in sorted(made.items()))
        held = f"{result.objective}, {plural(len(result.folds), 'fold')} of {plural(result.seeds, 'seed')}"
        rows.append(("run", run.path, f"{held}{f'; {of}' if of else ''}"))
    table = Table(("what", "place", "holds"), [[Cell(a), Cell(str(b)), Cell(c)] for a, b, c in rows], "Sources")
    return Details(f"What the report is made from ({len(rows):,})", [table])


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
            given = {name: value for name, value in made.get("config", {}).items() if value is not None}
            config = ", ".join(f"{name} {_plain(value)}" for name, value in given.items())
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
