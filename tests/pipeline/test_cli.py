"""Every command answers, explains itself and fails with the right code."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
import typer

from mmpipe.pipeline.cli.app import app

COMMANDS: dict[str, click.Command] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def mmpipe(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does, with no corpus named in the environment."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MMPIPE_")}
    return subprocess.run(
        [sys.executable, "-c", "from mmpipe.pipeline.cli.app import main; main()", *arguments],
        cwd=cwd,
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_an_example_and_described_options(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    assert (command.epilog or "").startswith(f"Example: mmpipe {name}")
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{name} {parameter.name}"


def test_help_answers_in_half_a_second_without_torch(tmp_path: Path) -> None:
    heavy = ["torch", "transformers", "cv2", "sklearn", "matplotlib", "pandas", "pyarrow"]
    code = f"import sys, mmpipe.pipeline.cli.app; print([m for m in {heavy} if m in sys.modules])"
    began = time.perf_counter()
    assert mmpipe("--help", cwd=tmp_path).returncode == 0
    seconds = time.perf_counter() - began
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert imported.strip() == "[]"
    assert seconds < 2.0  # half a second on an idle machine; room for a busy one


def test_extract_without_a_root_names_the_ways_and_exits_2(tmp_path: Path) -> None:
    run = mmpipe("extract", "--dataset", "ami", cwd=tmp_path)
    assert run.returncode == 2
    assert all(way in run.stderr for way in ("--root", "MMPIPE_AMI_ROOT", "mmpipe.toml", "--sample"))


def test_an_unknown_dataset_lists_the_valid_ones_and_exits_2(tmp_path: Path) -> None:
    run = mmpipe("extract", "--dataset", "iemocab", "--sample", cwd=tmp_path)
    assert run.returncode == 2
    assert "iemocap" in run.stderr


def test_a_wrong_root_says_what_was_expected_and_exits_1(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"")
    run = mmpipe("extract", "--dataset", "iemocap", "--root", str(tmp_path), cwd=tmp_path)
    assert run.returncode == 1
    assert "Session" in run.stderr
    assert "Traceback" not in run.stderr


def test_inspect_of_no_store_exits_1_with_the_remedy(tmp_path: Path) -> None:
    run = mmpipe("inspect", str(tmp_path / "nothing"), cwd=tmp_path)
    assert run.returncode == 1
    assert "nothing" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_misspelt_option_exits_2(tmp_path: Path) -> None:
    assert mmpipe("train", "--lables", "x", cwd=tmp_path).returncode == 2
