"""Runs of `mmpipe`: in this process, in one of its own as users start it, or several in a row in one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

from mmpipe.pipeline.cli.app import main

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


_started: list[subprocess.Popen[str]] = []


def clean_environment() -> dict[str, str]:
    """The environment with no corpus named in it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MMPIPE_")}


def call(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `mmpipe ARGUMENTS` in this process, which spares its imports; for what needs no signal and no fresh start."""
    command, output, errors = ["mmpipe", *map(str, arguments)], StringIO(), StringIO()
    with (
        mock.patch.object(sys, "argv", command),
        mock.patch.dict(os.environ, clean_environment(), clear=True),
        chdir(cwd or Path.cwd()),
        redirect_stdout(output),
        redirect_stderr(errors),
    ):
        threads = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else 1
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        finally:
            if "torch" in sys.modules:
                sys.modules["torch"].set_num_threads(threads)
    return subprocess.CompletedProcess(command, code, output.getvalue(), errors.getvalue())


def start(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Start `mmpipe ARGUMENTS` in a session of its own, with no corpus named in the environment."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, *map(str, arguments)],
        env=clean_environment() | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )
    _started.append(process)
    return process


def end_all() -> None:
    """Kill what `start` started and a test that failed left running."""
    while _started:
        process = _started.pop()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `mmpipe ARGUMENTS` to its end."""
    process = start(*arguments, **options)
    output, errors = process.communicate(timeout=240)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


IN_A_ROW = """
import json, sys
from tests.pipeline.runs import call
steps = json.loads(sys.argv[1])
done = [exec(step) if isinstance(step, str) else call(*step) for step in steps]
print(json.dumps([[run.returncode, run.stdout, run.stderr] for run in done if run is not None]))
"""


def run_in_a_row(
    *steps: Sequence[object] | str, cwd: Path | None = None, **environment: str
) -> list[subprocess.CompletedProcess[str]]:
    """Run commands one after the other in one process of their own; a string is Python code between them."""
    texts = [step if isinstance(step, str) else [str(word) for word in step] for step in steps]
    path = os.pathsep.join([str(ROOT), environment.pop("PYTHONPATH", ""), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", IN_A_ROW, json.dumps(texts)],
        cwd=cwd,
        env=clean_environment() | environment | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    return [subprocess.CompletedProcess([], *answer) for answer in answers]


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
