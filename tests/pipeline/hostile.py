"""What the tests of hostile folders share: a command with an alarm, and who wrote where."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .runs import call

SECONDS = 5.0
MEGABYTES = 1500


@contextmanager
def alarm(what: str) -> Iterator[None]:
    """Fail after `SECONDS`, also where a call of the system waits."""

    def ring(*_: object) -> None:
        raise AssertionError(f"{what} hangs")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def tree(folder: Path) -> set[str]:
    """Every path below a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def calm(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command that must end by itself: soon, with little memory, with a sentence where it fails."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with alarm(" ".join(map(str, arguments))):
        done = call(*arguments, cwd=cwd)
    said = done.stdout + done.stderr
    assert done.returncode in (0, 1, 2), said
    assert "Traceback" not in said and "unexpected" not in said, said
    assert all(c.isprintable() or c == "\n" for c in said), repr(said)
    if done.returncode:
        last = done.stderr.strip()
        assert last.startswith("Error: ") or "Usage" in last or not last, last
        assert last or done.stdout, "it failed without a word"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < MEGABYTES, f"{arguments} took {grown:.0f} MB"
    return done


def stays_inside(root: Path, allowed: tuple[str, ...], act: Callable[[], Any]) -> None:
    """Run something that may write below these parts of a folder alone."""
    before = tree(root)
    act()
    new = {name for name in tree(root) - before if not name.startswith(allowed)}
    assert not new, f"written outside of the target: {sorted(new)}"


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON file in place."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def fifo(path: Path) -> None:
    """Put a pipe without a writer in the place of a file."""
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def linked(path: Path, target: str) -> None:
    """Put a link in the place of a file."""
    path.unlink(missing_ok=True)
    path.symlink_to(target)
