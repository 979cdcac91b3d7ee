"""`mmpipe doctor`: one line a check, with what to do."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmpipe.core.errors import UsageError
from mmpipe.pipeline.cli.console import console, styled
from mmpipe.pipeline.cli.options import Config, Set, located

if TYPE_CHECKING:
    from mmpipe.pipeline.cli.settings import Settings
    from mmpipe.pipeline.doctor.finding import Finding
    from mmpipe.pipeline.extraction.stages import StageSpec

__all__ = ["doctor"]

_STYLES = {"ok": "green", "warning": "yellow", "missing": "bold red"}


def doctor(
    set_: Set = [],  # noqa: B006
    out: Annotated[
        Path, typer.Option(parser=located, metavar="PATH", help="Where the run will write. Default: this folder.")
    ] = Path(),
    json_: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    config: Config = None,
) -> None:
    """Check what a run needs of this machine, and say what to do; exit with 1 if something is missing."""
    from mmpipe.manifests.io import FOLLOW_LINKS
    from mmpipe.manifests.registry import CORPORA
    from mmpipe.pipeline.cli.failures import TRACEBACK
    from mmpipe.pipeline.cli.settings import named_roots, parse_assignments
    from mmpipe.pipeline.doctor.examine import examine
    from mmpipe.pipeline.doctor.finding import State
    from mmpipe.pipeline.doctor.setting import check_environment

    assigned = parse_assignments(set_)
    settings, specs, configuration = _read(config, assigned)
    findings = [
        configuration,
        check_environment(os.environ, CORPORA.names(), (TRACEBACK, FOLLOW_LINKS)),
        *examine(specs, named_roots(settings, os.environ), out),
    ]
    missing = [finding.name for finding in findings if finding.state is State.MISSING]
    if json_:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            style = f"[{_STYLES[finding.state]}]{{}}[/]  {{}}  "
            console.print(styled(style, f"{finding.state:<7}", f"{finding.name:<16}"), end="")
            remedy = f"; to do: {finding.remedy}" if finding.remedy else ""
            console.print(f"{finding.text}{remedy}", markup=False)
        found = styled("[bold red]Missing: {}[/]", ", ".join(missing)) if missing else "Nothing is missing."
        console.print(found)
    if missing:
        raise typer.Exit(1)


def _read(config: Path | None, assigned: Mapping[str, Mapping[str, Any]]) -> tuple[Settings, list[StageSpec], Finding]:
    """The configuration, the stages with its options and those of --set, and what is wrong with the file.

    Raises:
        UsageError: the file that is named does not exist, or an option of --set is wrong.
    """
    from mmpipe.pipeline.cli.settings import Settings, load_settings
    from mmpipe.pipeline.doctor.finding import Finding, State

    if config is not None and not config.exists():
        load_settings(config)
    name, file = "configuration", config or Path("mmpipe.toml")
    try:
        settings = load_settings(config, check=False)
        _stages(settings, {})
        load_settings(config)
    except UsageError as error:
        remedy = f"correct {file}: every command that reads it refuses it"
        finding = Finding(name, State.MISSING, str(error), remedy)
        return Settings(), _stages(Settings(), assigned), finding
    text = f"{file}: known keys and values" if file.exists() else f"there is no {file}: defaults are used"
    return settings, _stages(settings, assigned), Finding(name, State.OK, text)


def _stages(settings: Settings, assigned: Mapping[str, Mapping[str, Any]]) -> list[StageSpec]:
    """The default stages and those that are named, with their options.

    Raises:
        UsageError: a stage or an option of it does not exist.
    """
    from mmpipe.pipeline.cli.settings import stage_options
    from mmpipe.pipeline.extraction.stages import DEFAULT_STAGES, resolve_stages

    options = stage_options(settings, {name: dict(given) for name, given in assigned.items()})
    specs = resolve_stages([*DEFAULT_STAGES, *(name for name in options if name not in DEFAULT_STAGES)], options)
    for spec in specs:
        spec.build()
    return specs
