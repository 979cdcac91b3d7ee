"""Every option is used or refused by name; a device that does not exist is refused before anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from mmpipe.core.errors import UsageError
from mmpipe.pipeline import hardware
from mmpipe.pipeline.balancing.pseudo_labels import balance
from mmpipe.pipeline.cli.app import app
from mmpipe.pipeline.training.baselines import score_baselines
from mmpipe.pipeline.training.config import TrainConfig, make_config
from mmpipe.pipeline.training.data.inputs import load_input
from mmpipe.pipeline.training.evaluation import evaluate
from mmpipe.pipeline.training.predict import predict
from mmpipe.pipeline.training.requests import balanced_path, find_sources, find_store
from mmpipe.pipeline.training.run import train

from .conftest import make_store


def tiny(**values: object) -> TrainConfig:
    return make_config(
        **({"objective": "paper", "size": "small", "batch_size": 16, "epochs": 1, "faces": 8, "words": 8} | values)
    )


def refused(*arguments: object) -> str:
    """The message of the usage error that a command ends with."""
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert isinstance(result.exception, UsageError), result.output
    return str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "valid"),
    [
        (("train", "--size", "huge"), ("paper", "small")),
        (("train", "--device", "tpu"), ("auto", "cpu", "cuda")),
        (("train", "--table", "8"), ("4", "5", "6", "7")),
        (("train", "--figure", "7"), ("6", "7a", "7b")),
    ],
)
def test_a_choice_that_does_not_exist_exits_2_and_lists_the_valid_ones(
    arguments: tuple[str, ...], valid: tuple[str, ...]
) -> None:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 2
    assert all(f"'{name}'" in result.output for name in valid), result.output


@pytest.fixture
def without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a GPU."""
    monkeypatch.setattr(hardware, "_has_cuda", lambda: False)


def test_cuda_where_there_is_none_is_refused_before_anything_is_read_or_written(
    without_cuda: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (
        ["train"],
        ["train", "--table", "4"],
        ["train", "--baselines"],
        ["balance-unlabeled"],
        ["evaluate", "run", "--store", "store"],
        ["predict", "run", "clip.wav"],
    ):
        assert refused(*command, "--device", "cuda").startswith(
            "--device 'cuda': valid values on this machine are auto"
        )
    assert not list(tmp_path.iterdir())


def test_library_calls_refuse_cuda_where_there_is_none(without_cuda: None, tmp_path: Path) -> None:
    calls: list[Any] = [
        lambda: train(tiny(), tmp_path / "x", tmp_path / "run", device="cuda"),
        lambda: balance(tmp_path / "x", tmp_path / "y", tmp_path / "list.parquet", tiny(), device="cuda"),
        lambda: evaluate(tmp_path / "run", tmp_path / "x", device="cuda"),
        lambda: predict(tmp_path / "run", tmp_path / "clip.wav", device="cuda"),
    ]
    for call in calls:
        with pytest.raises(UsageError, match="--device 'cuda'"):
            call()
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path, Path]:
    """A labelled store, an unlabelled one, another labelled one, and a run."""
    folder = tmp_path_factory.mktemp("devices")
    labeled, unlabeled = make_store(folder / "labeled"), make_store(folder / "unlabeled", labeled=False)
    train(tiny(), labeled, folder / "run")
    return labeled, unlabeled, make_store(folder / "other", rows=36), folder / "run"


class _MovedError(Exception):
    """The model was asked to go to the GPU."""


def test_models_are_moved_to_the_device_that_is_chosen(
    stores: tuple[Path, Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no GPU a real move would fail: the move itself is what is watched."""
    labeled, unlabeled, other, run = stores

    def moved(module: torch.nn.Module, device: Any = None, **options: Any) -> torch.nn.Module:
        if device == "cuda":
            raise _MovedError
        return module

    monkeypatch.setattr(hardware, "_has_cuda", lambda: True)
    monkeypatch.setattr(torch.nn.Module, "to", moved)
    config, data = tiny(), load_input(tiny(), labeled)
    for device in ("cuda", "auto"):
        calls: list[Any] = [
            lambda device=device: train(config, labeled, tmp_path / "run", device=device),
            lambda device=device: balance(labeled, unlabeled, tmp_path / "l.parquet", config, device=device),
            lambda device=device: evaluate(run, other, device=device),
            lambda device=device: predict(run, tmp_path / "clip.mp4", device=device),
            lambda device=device: score_baselines(config, data, names=("concat-mlp",), device=device),
            lambda device=device: score_baselines(config, data, names=("gru-attention",), device=device),
        ]
        for call in calls:
            with pytest.raises(_MovedError):
                call()
    assert set(score_baselines(config, data, names=("majority",), device="cuda")) == {"majority"}


def test_stores_and_lists_that_are_not_given_are_those_that_the_commands_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"features/iemocap does not exist: .*extract --dataset iemocap`"):
        find_sources()
    for name in ("iemocap", "ami", "iemocap-sample", "meld"):
        (tmp_path / "features" / name).mkdir(parents=True)
    with pytest.raises(UsageError, match=r"the balanced list balanced/ami\.parquet does not exist"):
        find_sources()
    balanced_path(Path("features/ami")).parent.mkdir()
    balanced_path(Path("features/ami")).touch()
    found = find_sources()
    assert (found.labeled, found.unlabeled, found.balanced) == (
        Path("features/iemocap"),
        Path("features/ami"),
        Path("balanced/ami.parquet"),
    )
    assert find_sources(semi=False, corpus="meld").labeled == Path("features/meld")
    assert find_store(None, "iemocap", sample=True) == Path("features/iemocap-sample")
    with pytest.raises(UsageError, match="extract --dataset ami --sample`"):
        find_store(None, "ami", sample=True)
    with pytest.raises(UsageError, match="labelled store alone"):
        find_sources(None, Path("x"), semi=False)
