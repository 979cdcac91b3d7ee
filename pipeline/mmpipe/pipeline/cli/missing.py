"""`mmpipe inspect --missing`: which shards of a store are due, why, and which slice of a job array makes them."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mmpipe.pipeline.cli.command import end_incomplete
from mmpipe.pipeline.cli.console import console, table

if TYPE_CHECKING:
    from mmpipe.pipeline.extraction.missing import MissingShard

__all__ = ["show_missing"]


def show_missing(path: Path, slices: int | None, *, as_json: bool, as_csv: bool) -> None:
    """Print what is due; exit with 3 if anything is.

    Args:
        path: the store.
        slices: of a job array; None takes those of the last run.
        as_json: print one JSON document: `store`, `slices` and `missing`, a list of shards.
        as_csv: print a line for each shard.
    """
    from mmpipe.pipeline.extraction.missing import MissingShard, find_missing, slices_of

    count = slices or slices_of(path)
    found = find_missing(path, count)
    if as_json:
        shards = [asdict(shard) for shard in found]
        typer.echo(json.dumps({"store": str(path), "slices": count, "missing": shards}, indent=2))
    elif as_csv:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([field.name for field in fields(MissingShard)])
        writer.writerows(asdict(shard).values() for shard in found)
        typer.echo(text.getvalue(), nl=False)
    elif found:
        _print(found, count)
    else:
        console.print("Nothing is due: every shard is as store.json and the manifest say.")
    if found:
        whose = "" if count is None else f" of slices {', '.join(map(str, sorted({s.slice or 0 for s in found})))}"
        end_incomplete(f"{len(found)} shards{whose} are due: run the same `mmpipe extract` again")


def _print(found: list[MissingShard], count: int | None) -> None:
    from mmpipe.pipeline.store.soundness import ranges

    groups: dict[tuple[str, int | None, str], list[MissingShard]] = {}
    for shard in found:
        groups.setdefault((shard.stage, shard.slice, shard.why), []).append(shard)
    table(
        "Due",
        ["stage", *([] if count is None else [f"slice of {count}"]), "shards", "utterances", "why"],
        (
            (
                stage,
                *([] if count is None else [part]),
                ranges([shard.shard for shard in shards]),
                sum(shard.rows for shard in shards),
                why,
            )
            for (stage, part, why), shards in groups.items()
        ),
    )
