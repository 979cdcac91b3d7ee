"""Runs of `mmpipe` in a process of its own, as users start it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from .toys import ROOT

CODE = "\n".join(
    [
        "import signal",
        "signal.signal(signal.SIGINT, signal.default_int_handler)",
        "from mmpipe.pipeline.cli.app import main",
        "main()",
    ]
)
"""Python leaves SIGINT ignored where it was, as in jobs that a shell starts in the background: a terminal does not."""


def start(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Start `mmpipe ARGUMENTS` in a session of its own, with no corpus named in the environment."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MMPIPE_")}
    return subprocess.Popen(
        [sys.executable, "-c", CODE, *map(str, arguments)],
        env=clean | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )


def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `mmpipe ARGUMENTS` to its end."""
    process = start(*arguments, **options)
    output, errors = process.communicate(timeout=240)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def session_processes(session: int) -> list[int]:
    """Living processes of a session, by /proc/PID/stat (proc(5): the fields behind the name)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def contents(store: Path) -> dict[str, bytes]:
    """Every file of a store but its logs, temporary ones included."""
    files = (path for path in store.rglob("*") if path.is_file() and path.parent.name != "logs")
    return {path.relative_to(store).as_posix(): path.read_bytes() for path in files}
