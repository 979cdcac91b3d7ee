"""The trainer of the shipped face weights is the recipe with other steps, in one process or several."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tools.face_weights.__main__ import main
from tools.face_weights.processes import average_over_processes, joined, processes, rank
from tools.face_weights.trainer import FastFaceTraining, train_face_fast

from mmpipe.pipeline.face_training.config import FaceTraining
from mmpipe.pipeline.face_training.loop import FaceProgress
from mmpipe.pipeline.face_training.recipe import train_face

from ..pipeline.ferplus import write_official

TINY = FastFaceTraining(epochs=2, batch_size=4, checkpoint_steps=1)


@pytest.fixture
def official(tmp_path: Path) -> Path:
    """The official pair of CSV files."""
    return write_official(tmp_path)


@pytest.mark.slow
def test_processes_share_a_step_and_a_stopped_run_of_them_goes_on(official: Path, tmp_path: Path) -> None:
    config = TINY.model_copy(update={"processes": 2})
    train_face_fast(official, tmp_path / "whole.safetensors", config)

    def stop(progress: FaceProgress) -> None:
        if progress.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_face_fast(official, tmp_path / "parts.safetensors", config, stop)
    train_face_fast(official, tmp_path / "parts.safetensors", config)
    assert (tmp_path / "whole.safetensors").read_bytes() == (tmp_path / "parts.safetensors").read_bytes()
    train_face_fast(official, tmp_path / "alone.safetensors", TINY)
    assert (tmp_path / "alone.safetensors").read_bytes() != (tmp_path / "parts.safetensors").read_bytes()


def _averaged(folder: Path) -> None:
    values = [torch.tensor([1.0, 2.0]) * (1 + rank()), torch.tensor(float(rank()))]
    average_over_processes(values)
    (folder / f"{rank()}.txt").write_text(f"{values[0].tolist()} {values[1].item()}")


def test_every_process_gets_the_mean(tmp_path: Path) -> None:
    with joined(2, _averaged, tmp_path):
        _averaged(tmp_path)
        assert processes() == 2
    assert processes() == 1
    assert (tmp_path / "0.txt").read_text() == "[1.5, 3.0] 0.5"


def test_it_makes_nearly_the_weights_of_the_recipe(official: Path, tmp_path: Path) -> None:
    """One short run: both ways compute in bfloat16, so they differ by its rounding only."""
    few = {"epochs": 1, "batch_size": 8, "peak_rate": 1e-3, "small_part": 0.0}
    train_face(official, tmp_path / "plain.safetensors", FaceTraining.model_validate(few))
    train_face_fast(official, tmp_path / "fast.safetensors", FastFaceTraining.model_validate(few))
    plain, fast = load_file(tmp_path / "plain.safetensors"), load_file(tmp_path / "fast.safetensors")
    assert plain.keys() == fast.keys()
    for name, tensor in plain.items():
        assert float((tensor.float() - fast[name].float()).norm()) <= 0.02 * float(tensor.float().norm()) + 1e-4, name


def test_the_program_trains_with_the_options_of_its_command_line(
    official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "w.safetensors"
    command = ["face_weights", "--data", str(official), "--out", str(out), "--epochs", "1", "--threads", "1"]
    monkeypatch.setattr(sys, "argv", [*command, "--set", "processes=1", "--set", "batch_size=4"])
    main()
    assert f"{out.name} on the valid part" in "".join(capsys.readouterr().out.split("\n"))
    config = json.loads(out.with_suffix(".json").read_text())["config"]
    assert (config["processes"], config["native"], config["epochs"], config["batch_size"]) == (1, False, 1, 4)
    monkeypatch.setattr(sys, "argv", [*command, "--set", "proceses=2"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    problem = capsys.readouterr().err
    assert "proceses" in problem and "processes, native" in problem
