"""`mmpipe slurm-script`: an extraction or a training as a job array of Slurm."""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from mmpipe.core.errors import UsageError
from mmpipe.pipeline.cli.command import check
from mmpipe.pipeline.cli.corpus_options import CORPUS_OPTIONS
from mmpipe.pipeline.cli.slurm_script import MARK, Resources, extract_script, train_script

__all__ = ["slurm_script"]

_TIME = re.compile(r"\d+(:\d{1,2}){0,2}|\d+-\d{1,2}(:\d{1,2}){0,2}", re.ASCII)
_MEMORY = re.compile(r"[1-9]\d*[KMGT]?", re.ASCII)
_PLAIN = re.compile(r"[\w.:,=()+-]+", re.ASCII)

_OF_SLICES = (
    "retry_failed",
    "accept_missing",
    "max_failures",
    "strict",
    "workers",
    "engine",
    "address",
    "gpu_share",
    "media_cache",
    "media_cache_folder",
)
"""Options of an extraction that its plan does not take."""


def slurm_script(
    ctx: typer.Context,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[extract|train] OPTIONS...",
            help="What each job runs, with any of its own options; extract where neither is named.",
        ),
    ],
    slices: Annotated[int, typer.Option(min=1, help="Jobs of the array.")],
    script: Annotated[Path | None, typer.Option(help="Write this file. Default: standard output.")] = None,
    time: Annotated[str | None, typer.Option(help="Limit of each job: 04:00:00, or 1-12 for a day and a half.")] = None,
    cpus: Annotated[int, typer.Option(min=1, help="Cores of each job; as many workers.")] = 4,
    mem: Annotated[str | None, typer.Option(help="Memory of each job: 8G.")] = None,
    partition: Annotated[str | None, typer.Option(help="Of the cluster.")] = None,
    gres: Annotated[str | None, typer.Option(help="For the jobs of the array: gpu:1.")] = None,
    setup: Annotated[list[str], typer.Option(help="A line that each job runs first. Repeatable.")] = [],  # noqa: B006
    logs: Annotated[str, typer.Option(help="Folder of the jobs' output.")] = "slurm-logs",
) -> None:
    """Write a script that submits a job array: one job of Slurm for each slice of an extraction or a training.

    The options of the jobs are checked now, as the command itself would.
    """
    for option, value, form, example in (
        ("--time", time, _TIME, "04:00:00"),
        ("--mem", mem, _MEMORY, "8G"),
        ("--partition", partition, _PLAIN, "gpu"),
        ("--gres", gres, _PLAIN, "gpu:1"),
    ):
        if value is not None and not form.fullmatch(value):
            raise UsageError(f"{option} {value!r}: Slurm does not take it; expected a form such as {example}")
    if re.search(r"[\\\n\r]", logs):
        raise UsageError("--logs holds a backslash or a line break, which Slurm does not take in names of files")
    if any(re.match(r"--slice(=|$)", word) for word in words):
        raise UsageError("each job gets its own --slice: leave it out")
    command = words.pop(0) if words[0] in ("extract", "train") else "extract"
    resources = Resources(slices, time, cpus, mem, partition, gres, tuple(setup), logs)
    context, asked = check(ctx.parent.command.commands[command], command, [*words, "--slice", f"1/{slices}"])  # type: ignore[union-attr]
    text = _extraction(context, asked, resources) if command == "extract" else _training(context, asked, resources)
    if script is None:
        typer.echo(text, nl=False)
    else:
        _write(script, text)
        typer.echo(f"bash {script}", err=True)


def _extraction(context: Any, request: Any, resources: Resources) -> str:
    from mmpipe.pipeline.extraction.crop_statistics import needs_statistics

    if named := [option for option in ("dry_run", "plan_only") if context.params[option]]:
        flag = f"--{named[0].replace('_', '-')}"
        raise UsageError(f"{flag} is not for a job array: leave it out, or run `mmpipe extract` with it")
    if waiting := [spec.name for spec in request.specs() if needs_statistics(spec)]:
        raise UsageError(
            f"stage {waiting[0]} uses the statistics of all faces, which slices do not have while they run: write one "
            f"script with --stages that leave {waiting[0]} out, and when its jobs are done another one with all"
        )
    manifest = [] if request.manifest is not None else ["--manifest", str(request.out / "manifest.parquet")]
    part = _words(context, without=CORPUS_OPTIONS if manifest else ()) + manifest
    plan = _words(context, without=_OF_SLICES)
    return extract_script(f"mmpipe-{request.out.name}", str(request.out), plan, part, resources)


def _training(context: Any, request: Any, resources: Resources) -> str:
    return train_script(f"mmpipe-{request.out.name}", _words(context), resources)


def _words(context: Any, *, without: Collection[str] = ()) -> list[str]:
    """The options that were typed, as words; `--slice` is left out."""
    words: list[str] = []
    for parameter in context.command.params:
        name, value = parameter.name, context.params.get(parameter.name)
        if name in (*without, "slice_") or context.get_parameter_source(name).name != "COMMANDLINE":
            continue
        for one in value if isinstance(value, list | tuple) else [value]:
            text = str(one.value if isinstance(one, Enum) else one)
            words += [parameter.opts[0]] if one is True else [f"{parameter.opts[0]}={text}"]
    return words


def _write(path: Path, text: str) -> None:
    """Write a script; what is there and is not a script of this command is not replaced."""
    from mmpipe.core.files import write_bytes
    from mmpipe.core.reading import read_limited

    if path.exists() and (not path.is_file() or MARK.encode() not in read_limited(path)[:200]):
        raise UsageError(f"{path} exists and is not a script that mmpipe wrote: name another file")
    write_bytes(path, text.encode())
