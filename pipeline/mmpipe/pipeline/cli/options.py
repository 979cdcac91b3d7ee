"""Options that several commands share."""

from __future__ import annotations

import os
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mmpipe.core.errors import UsageError

__all__ = [
    "Config",
    "Device",
    "FollowLinks",
    "Normalise",
    "Objective",
    "Overwrite",
    "Precision",
    "Preset",
    "Root",
    "Sample",
    "SampleStores",
    "Set",
    "Size",
    "Stages",
    "Workers",
    "allow_links",
    "located",
    "names",
    "parse_slice",
]


def located(text: str) -> Path:
    """A local path, or a URL such as s3://bucket/folder."""
    from mmpipe.core.files import location

    return location(text)


Root = Annotated[
    Path | None,
    typer.Option(
        parser=located, metavar="PATH", help="Where the corpus is. Else MMPIPE_<DATASET>_ROOT, else mmpipe.toml."
    ),
]
Sample = Annotated[bool, typer.Option("--sample", help="Run on the small sample corpus that comes with mmpipe.")]
SampleStores = Annotated[
    bool, typer.Option("--sample", help="Use the stores that `extract --sample` wrote, with hyper-parameters for them.")
]
Config = Annotated[Path | None, typer.Option(help="Configuration file. Default: ./mmpipe.toml where it exists.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes. Default: the cores this process may use.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace whatever is at the place of the output.")]
Stages = Annotated[str, typer.Option(help="Stages, comma-separated. Default: those of the corpus.")]
Set = Annotated[list[str], typer.Option("--set", help="An option of a stage: STAGE.OPTION=VALUE. Repeatable.")]


FollowLinks = Annotated[
    bool, typer.Option("--follow-links", help="Read what links to folders, and links out of the root, point to.")
]


def allow_links(is_allowed: bool) -> None:
    """Allow media that are links out of the corpus root, in this process and its workers."""
    if is_allowed:
        from mmpipe.manifests.io import FOLLOW_LINKS

        os.environ[FOLLOW_LINKS] = "1"


class Device(StrEnum):
    """Where models run."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Normalise(StrEnum):
    """Whose mean and deviation normalise features."""

    TRAIN = "train"
    STORE = "store"
    SPEAKER = "speaker"


class Precision(StrEnum):
    """Precision of a model's matrix products."""

    FLOAT32 = "float32"
    BF16 = "bf16"


class Objective(StrEnum):
    """Objectives of `mmpipe train`."""

    PAPER = "paper"
    SELF_TRAIN = "self-train"
    CONSISTENCY = "consistency"
    BOTH = "self-train+consistency"


class Preset(StrEnum):
    """Named sets of options."""

    PAPER = "paper"


class Size(StrEnum):
    """Size of the trained model."""

    PAPER = "paper"
    SMALL = "small"


def names(text: str) -> list[str]:
    """The names of a comma-separated list.

    Example:
        >>> names("audio, text")
        ['audio', 'text']
    """
    return [name.strip() for name in text.split(",") if name.strip()]


def parse_slice(text: str) -> tuple[int, int]:
    """`3/8` as (3, 8).

    Raises:
        UsageError: it is not of that form, or out of range.

    Example:
        >>> parse_slice("3/8")
        (3, 8)
    """
    number, _, count = text.partition("/")
    if not (re.fullmatch("[0-9]{1,9}", number) and re.fullmatch("[0-9]{1,9}", count)):
        raise UsageError(f"--slice {text!r}: expected I/N with I from 1 to N, for example --slice 3/8")
    if not 1 <= int(number) <= int(count):
        raise UsageError(
            f"--slice {text!r}: expected I/N with I from 1 to N; slices are counted from 1, so {int(count)} jobs of "
            f"Slurm are --array=1-{int(count)}"
        )
    return int(number), int(count)
