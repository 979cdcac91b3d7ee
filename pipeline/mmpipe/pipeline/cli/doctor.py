"""`mmpipe doctor`: one line a check, with what to do."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import Annotated

import typer

from mmpipe.core.errors import UsageError
from mmpipe.pipeline.cli.console import console, styled
from mmpipe.pipeline.cli.options import Config

__all__ = ["doctor"]

_STYLES = {"ok": "green", "warning": "yellow", "missing": "bold red"}


def doctor(
    set_: Annotated[
        list[str], typer.Option("--set", help="An option of a stage, as extract takes it: STAGE.OPTION=VALUE.")
    ] = [],  # noqa: B006
    json_: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    config: Config = None,
) -> None:
    """Check what a run needs of this machine, and say what to do; exit with 1 if something is missing."""
    from mmpipe.pipeline.cli.settings import load_settings, named_roots, parse_assignments, stage_options
    from mmpipe.pipeline.doctor.examine import examine
    from mmpipe.pipeline.doctor.finding import State
    from mmpipe.pipeline.extraction.stages import resolve_stages

    settings, assigned = load_settings(config, check=False), parse_assignments(set_)
    options = stage_options(settings, assigned)
    (spec,) = resolve_stages(["text"], options)  # a stage that does not exist is refused
    spec.build()
    if ignored := [name for name in assigned if name != "text"]:
        raise UsageError(f"doctor checks the options of text only: leave out --set {ignored[0]}.OPTION")
    text = options.get("text", {})
    findings = examine(text, named_roots(settings, os.environ))
    missing = [finding.name for finding in findings if finding.state is State.MISSING]
    if json_:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            style = f"[{_STYLES[finding.state]}]{{}}[/]  {{}}  "
            console.print(styled(style, f"{finding.state:<7}", f"{finding.name:<13}"), end="")
            remedy = f"; to do: {finding.remedy}" if finding.remedy else ""
            console.print(f"{finding.text}{remedy}", markup=False)
        found = styled("[bold red]Missing: {}[/]", ", ".join(missing)) if missing else "Nothing is missing."
        console.print(found)
    if missing:
        raise typer.Exit(1)
