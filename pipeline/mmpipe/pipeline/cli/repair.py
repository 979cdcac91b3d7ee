"""`mmpipe repair`: store.json written again from the manifest and the shards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmpipe.pipeline.cli.console import next_command, result
from mmpipe.pipeline.cli.options import located

__all__ = ["repair"]


def repair(
    path: Annotated[Path, typer.Argument(parser=located, metavar="STORE", help="A feature store.")],
) -> None:
    """Write a damaged or lost store.json again, from manifest.parquet and the footers of the shards."""
    from mmpipe.pipeline.extraction.recovery import repair_store

    stages = repair_store(path)
    result(f"{path / 'store.json'} is written: stages {', '.join(stages) or 'none'}")
    next_command(f"mmpipe inspect {path} --verify")
