"""Every command answers, explains itself and fails with the right code."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import click
import pytest
import typer

from mmpipe.pipeline.cli.app import app

from .runs import call, run

COMMANDS: dict[str, click.Command] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_an_example_and_described_options(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    assert (command.epilog or "").startswith(f"Example: mmpipe {name}")
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{name} {parameter.name}"


def test_help_answers_in_half_a_second_without_torch() -> None:
    """Seconds of the processor, the best of three starts: other work on the machine does not count."""
    heavy = ["torch", "transformers", "cv2", "sklearn", "matplotlib", "pandas", "pyarrow", "pydantic", "numpy"]
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = run("--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0 and "extract" in done.stdout
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.5
    code = f"import sys, mmpipe.pipeline.cli.app; print([m for m in {heavy} if m in sys.modules])"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert imported.strip() == "[]"


def test_extract_without_a_root_names_the_ways_and_exits_2(tmp_path: Path) -> None:
    done = call("extract", "--dataset", "ami", cwd=tmp_path)
    assert done.returncode == 2
    assert all(way in done.stderr for way in ("--root", "MMPIPE_AMI_ROOT", "mmpipe.toml", "--sample"))


def test_an_unknown_dataset_lists_the_valid_ones_and_exits_2(tmp_path: Path) -> None:
    done = call("extract", "--dataset", "iemocab", "--sample", cwd=tmp_path)
    assert done.returncode == 2
    assert "iemocap" in done.stderr


def test_a_wrong_root_says_what_was_expected_and_exits_1(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"")
    done = call("extract", "--dataset", "iemocap", "--root", tmp_path, cwd=tmp_path)
    assert done.returncode == 1
    assert "Session" in done.stderr
    assert "Traceback" not in done.stderr


def test_inspect_of_nothing_exits_2_with_the_remedy(tmp_path: Path) -> None:
    done = call("inspect", tmp_path / "nothing", cwd=tmp_path)
    assert done.returncode == 2
    assert "nothing" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_misspelt_option_exits_2(tmp_path: Path) -> None:
    assert call("train", "--lables", "x", cwd=tmp_path).returncode == 2
