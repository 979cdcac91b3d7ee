"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Config", "Dataset", "Root", "Sample", "Seed", "Workers", "located"]


def located(text: str) -> Path:
    """A local path, or a URL such as s3://bucket/folder."""
    from mmpipe.core.files import location

    return location(text)


Dataset = Annotated[str, typer.Option("--dataset", "-d", help="ami, iemocap, meld or folder.")]
Root = Annotated[
    Path | None,
    typer.Option(
        parser=located, metavar="PATH", help="Where the corpus lies. Else MMPIPE_<DATASET>_ROOT, else mmpipe.toml."
    ),
]
Sample = Annotated[bool, typer.Option("--sample", help="Run on the small sample corpus that comes with mmpipe.")]
Config = Annotated[Path | None, typer.Option(help="Configuration file. Default: ./mmpipe.toml where it exists.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes. Default: the cores this process may use.")]
Seed = Annotated[int, typer.Option(help="Decides every random choice.")]
