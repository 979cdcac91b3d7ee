"""One thread a process, the number of Hypothesis's examples, and folders that all processes of a test run share."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

for _library in ("OMP", "MKL", "OPENBLAS", "NUMEXPR"):
    os.environ[f"{_library}_NUM_THREADS"] = "1"  # read when torch and NumPy are loaded, here and in started processes

_CHECKS = (HealthCheck.function_scoped_fixture, HealthCheck.too_slow)
settings.register_profile(
    "quick", max_examples=25, deadline=None, suppress_health_check=_CHECKS, derandomize="CI" in os.environ
)
settings.register_profile("thorough", max_examples=400, deadline=None, suppress_health_check=_CHECKS)
settings.load_profile("quick")  # `--hypothesis-profile thorough` takes its place, as in `make test-all`

Once = Callable[[str, Callable[[Path], object]], Path]
"""Gives the folder of a name; the first process that asks for it lets a function fill it."""


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Folders made once in a test run, however many processes share it. Tests that write to them copy them first."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"

    def folder_of(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = shared / name, shared / f"{name}.done"
        shared.mkdir(exist_ok=True)
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # what a maker that failed left
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return folder_of


@pytest.fixture(autouse=True)
def links_are_refused() -> Iterator[None]:
    """A command that a test ran with --follow-links allows links to no other test."""
    from mmpipe.manifests.io import FOLLOW_LINKS

    before = os.environ.get(FOLLOW_LINKS)
    yield
    if before is None:
        os.environ.pop(FOLLOW_LINKS, None)
    else:
        os.environ[FOLLOW_LINKS] = before


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Torch computes on one thread, whatever other tests or their commands have set: tests share the cores."""
    _use_one_thread()
    yield
    _use_one_thread()


def _use_one_thread() -> None:
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)
