"""A selection of what `make test-faults` tries: a fault at some of the file calls of the commands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .harness import KINDS, build_shim
from .scenarios import SCENARIOS

ROOT = Path(__file__).parents[2]


def tried(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=3000,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module", autouse=True)
def _compiler(tmp_path_factory: pytest.TempPathFactory) -> None:
    if sys.platform != "linux" or build_shim(tmp_path_factory.mktemp("shim")) is None:
        pytest.skip("needs Linux and a C compiler")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_some_faults_of_every_command_leave_no_damage_and_no_leftovers() -> None:
    code, output = tried("--kinds", "kill,ENOSPC", "--step", "47")
    assert code == 0, output
    assert int(output.splitlines()[-1].split(",")[0].removeprefix("tries ")) >= 36


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_writer_without_temporary_names_is_found_out() -> None:
    code, output = tried("--commands", "careless", "--kinds", "tear", "--step", "1")
    assert code == 1 and "damaged" in output


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("command", [name for name in SCENARIOS if name != "careless"])
def test_every_fault_of_every_command_leaves_no_damage_and_no_leftovers(command: str) -> None:
    code, output = tried("--commands", command, "--kinds", ",".join(KINDS))
    assert code == 0, output
