"""Tries a fault at every file call of a command, runs the command again, and compares what is there.

A try is a fork of one process that has everything imported, so a thousand of them take minutes. The process must have
been started with the shim (`build_shim`) in LD_PRELOAD.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmpipe.core.errors import MmpipeError

from .scenarios import SCENARIOS, Scenario, copy_tree

__all__ = ["KINDS", "Outcome", "build_shim", "try_command"]

KINDS = {"kill": 1, "tear": 2, "ENOSPC": 3, "EIO": 4, "EMFILE": 5, "EINTR": 6}
"""Faults by name, with their numbers in shim.c."""

_UNEQUAL = ("seconds", "seal", "sha256", "files", "model", "mmpipe")
"""Keys of JSON files that differ between two equal runs: times, and hashes of files that hold times."""

_SECONDS = 60


@dataclass
class Outcome:
    """What the tries of one fault on one command gave.

    Attributes:
        tries: faults that were tried.
        survived: those after which a second run gave what a run without faults gives.
        damaged: the number of the call, and what was wrong.
        leftovers: files that were still there after the second run, by the number of the call.
        tracebacks: errors that are not of mmpipe's own, by the number of the call.
    """

    tries: int = 0
    survived: int = 0
    damaged: dict[int, str] = field(default_factory=dict)
    leftovers: dict[int, list[str]] = field(default_factory=dict)
    tracebacks: dict[int, str] = field(default_factory=dict)


def build_shim(folder: Path) -> Path | None:
    """Compile the shim; None where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    target = folder / "shim.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(target), str(source), "-ldl"], check=True)
    return target


def _load_libraries() -> None:
    """Load what the commands load when they need it: a fork would load it again each time."""
    for library in ("torch._dynamo", "sklearn.metrics", "sklearn.linear_model"):
        importlib.import_module(library)


def try_command(name: str, kinds: Iterable[str], step: int = 1) -> dict[str, Outcome]:
    """Try faults at every `step`-th file call of a command; by kind what they gave."""
    _load_libraries()
    scenario, outcomes = SCENARIOS[name], {}
    with tempfile.TemporaryDirectory(prefix="faults-") as scratch:
        inputs, start, whole = (Path(scratch) / part for part in ("inputs", "start", "whole"))
        for folder in (inputs, start):
            folder.mkdir()
        _forked(scenario.prepare, inputs, start)
        copy_tree(start, whole)
        calls = _forked(scenario.run, inputs, whole, counted=whole).calls
        expected = contents(whole)
        for kind in kinds:
            outcomes[kind] = Outcome()
            for at in range(1, calls + 1, step):
                work = Path(scratch) / "work"
                copy_tree(start, work)
                _try(scenario, inputs, work, at, kind, expected, outcomes[kind])
                shutil.rmtree(work)
    return outcomes


def _try(
    scenario: Scenario, inputs: Path, work: Path, at: int, kind: str, expected: dict[str, Any], outcome: Outcome
) -> None:
    outcome.tries += 1
    first = _forked(scenario.run, inputs, work, counted=work, at=at, kind=kind)
    if first.error and not first.is_own:
        outcome.tracebacks[at] = first.error
    for lock in work.rglob("*.lock"):
        os.utime(lock, (0, 0))  # one that is empty names no process: it counts for a while
    second = _forked(scenario.run, inputs, work)
    found = contents(work)
    if second.error or second.signal:
        outcome.damaged[at] = second.error or f"signal {second.signal}"
    elif changed := sorted(path for path in expected if found.get(path) != expected[path]):
        outcome.damaged[at] = f"{', '.join(changed[:3])} differ"
    else:
        outcome.survived += 1
    if extra := sorted(found.keys() - expected.keys()):
        outcome.leftovers[at] = extra


def contents(folder: Path) -> dict[str, Any]:
    """Every file below a folder; of JSON files what does not differ between two equal runs, of logs the name alone."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or _is_log(name):
            continue
        found[name] = _plain(json.loads(path.read_text())) if path.suffix == ".json" else path.read_bytes()
    return found


def _is_log(name: str) -> bool:
    parts = name.split("/")
    return "logs" in parts and not any(part.startswith(".") for part in parts)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items() if key not in _UNEQUAL}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class _Ended:
    """How a fork ended."""

    calls: int = 0
    error: str = ""
    is_own: bool = False
    signal: int = 0


def _forked(
    run: Any, inputs: Path, work: Path, *, counted: Path | None = None, at: int = 0, kind: str = "kill"
) -> _Ended:
    """Run something in a fork of this process, with a fault if one is asked for."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.close(reading)
        _child(run, inputs, work, writing, counted, at, KINDS[kind])
    os.close(writing)
    with os.fdopen(reading) as answer:
        text = answer.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return _Ended(signal=os.WTERMSIG(status))
    return _Ended(**json.loads(text))


def _child(run: Any, inputs: Path, work: Path, answer: int, counted: Path | None, at: int, kind: int) -> None:
    shim = ctypes.CDLL(None)
    shim.fault_count.restype = ctypes.c_long
    ended: dict[str, Any] = {}
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    signal.alarm(_SECONDS)
    try:
        if counted is not None:
            shim.fault_arm(str(counted).encode(), ctypes.c_long(at), kind)
        run(inputs, work)
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        ended = {"error": f"{type(error).__name__}: {error} ({last.name})", "is_own": isinstance(error, MmpipeError)}
    ended["calls"] = shim.fault_count() if counted is not None else 0
    if counted is not None:
        shim.fault_arm(b"", ctypes.c_long(0), 0)
    os.write(answer, json.dumps(ended).encode())
    os._exit(0)


def started_with(shim: Path, arguments: Sequence[str]) -> list[str]:
    """The command line of a process that can try faults."""
    return ["env", f"LD_PRELOAD={shim}", sys.executable, "-m", "tests.faults", *arguments]


def summary(outcomes: dict[str, dict[str, Outcome]]) -> tuple[str, bool]:
    """A table of what was tried, and whether everything survived."""
    lines = [
        f"{'command':<10}{'fault':<8}{'tries':>6}{'survived':>10}{'damaged':>9}{'leftovers':>11}{'tracebacks':>12}"
    ]
    total = Counter[str]()
    for command, by_kind in outcomes.items():
        for kind, found in by_kind.items():
            numbers = (found.tries, found.survived, len(found.damaged), len(found.leftovers), len(found.tracebacks))
            lines.append("{:<10}{:<8}{:>6}{:>10}{:>9}{:>11}{:>12}".format(command, kind, *numbers))
            for name, number in zip(("tries", "survived", "damaged", "leftovers", "tracebacks"), numbers, strict=True):
                total[name] += number
            for what in ("damaged", "leftovers", "tracebacks"):
                for at, text in list(getattr(found, what).items())[:3]:
                    lines.append(f"    call {at}, {what}: {text}")
    lines.append(", ".join(f"{name} {number}" for name, number in total.items()))
    return "\n".join(lines), not (total["damaged"] or total["leftovers"] or total["tracebacks"])
