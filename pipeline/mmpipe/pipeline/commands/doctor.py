"""`mmpipe doctor`: one line a check, with what to do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from mmpipe.pipeline.console import console
from mmpipe.pipeline.doctor.examine import examine
from mmpipe.pipeline.doctor.finding import State

__all__ = ["run_doctor"]

_STYLES = {State.OK: "green", State.WARNING: "yellow", State.MISSING: "bold red"}


def run_doctor(config: Path | None, assignments: Sequence[str], *, as_json: bool) -> bool:
    """Print what the checks found; the answer is whether nothing that the default run needs is missing."""
    findings = examine(config, assignments)
    missing = [finding.name for finding in findings if finding.state is State.MISSING]
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
        return not missing
    for finding in findings:
        console.print(f"[{_STYLES[finding.state]}]{finding.state:<7}[/]  {finding.name:<13}  ", end="")
        remedy = f"; to do: {finding.remedy}" if finding.remedy else ""
        console.print(f"{finding.text}{remedy}", markup=False)
    console.print(f"[bold red]Missing: {', '.join(missing)}[/]" if missing else "Nothing is missing.")
    return not missing
