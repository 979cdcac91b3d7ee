"""The estimate costs what it must: no store is read twice, and finished folds make no training step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mmpipe.pipeline.balancing.draw import DrawOptions
from mmpipe.pipeline.balancing.pseudo_labels import balance
from mmpipe.pipeline.cli.app import app
from mmpipe.pipeline.training import estimate, fold
from mmpipe.pipeline.training.config import TrainConfig, make_config
from mmpipe.pipeline.training.data import dataset
from mmpipe.pipeline.training.estimate import estimate_seconds
from mmpipe.pipeline.training.experiments.grid import Grid, plan_grid
from mmpipe.pipeline.training.requests import Sources, TrainRequest
from mmpipe.pipeline.training.run import plan_run

from .conftest import make_store

SETTINGS = {"size": "small", "batch_size": 16, "epochs": 1, "faces": 8, "words": 8}


def tiny(**values: object) -> TrainConfig:
    return make_config(**({"objective": "paper"} | SETTINGS | values))


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A labelled store, an unlabelled one and its balanced list."""
    folder = tmp_path_factory.mktemp("estimate")
    labeled, unlabeled = make_store(folder / "labeled"), make_store(folder / "unlabeled", labeled=False)
    return (
        labeled,
        unlabeled,
        balance(labeled, unlabeled, folder / "list.parquet", tiny(), DrawOptions(per_class=16), once=True).path,
    )


class Counted:
    """Counts calls of a function."""

    def __init__(self, function: Any) -> None:
        self.function, self.calls = function, 0

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Call it."""
        self.calls += 1
        return self.function(*arguments, **options)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, Counted]:
    """Counters of what costs time: reading a dataset, trial steps of the estimate, training of a fold."""
    made = {}
    for module, name in ((dataset, "load_dataset"), (estimate, "fit"), (fold, "fit")):
        made[f"{module.__name__.rpartition('.')[2]}.{name}"] = counter = Counted(getattr(module, name))
        monkeypatch.setattr(module, name, counter)
    return made


def command(stores: tuple[Path, Path, Path], *more: object) -> str:
    """Run `mmpipe train` on the stores; what it printed."""
    where = ["--labeled", stores[0], "--unlabeled", stores[1], "--balanced", stores[2], "--device", "cpu"]
    settings = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
    result = CliRunner().invoke(app, ["train", *map(str, [*where, *settings, *more])], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.slow
def test_a_run_reads_each_store_once_and_a_finished_one_makes_no_training_step(
    stores: tuple[Path, Path, Path], counted: dict[str, Counted], tmp_path: Path
) -> None:
    assert "5 unfinished folds" in command(stores, "--out", tmp_path / "run")
    assert {name: c.calls for name, c in counted.items()} == {
        "dataset.load_dataset": 2,
        "estimate.fit": 3,
        "fold.fit": 5,
    }
    printed = command(stores, "--out", tmp_path / "run")
    assert "Every fold is finished" in printed and "minutes" not in printed
    assert {name: c.calls for name, c in counted.items()} == {
        "dataset.load_dataset": 4,
        "estimate.fit": 3,
        "fold.fit": 5,
    }


def test_a_grid_reads_each_store_once_and_tries_no_cell_that_is_finished(
    stores: tuple[Path, Path, Path], counted: dict[str, Counted], tmp_path: Path
) -> None:
    command(stores, "--figure", "7b", "--out", tmp_path)
    assert "Every fold is finished" in command(stores, "--figure", "7b", "--out", tmp_path)
    assert counted["estimate.fit"].calls == 3 and counted["fold.fit"].calls == 5
    before = counted["dataset.load_dataset"].calls
    planned = plan_grid(Grid("figure-7a", tiny(), Sources(*stores), tmp_path))  # its last cell is that of 7b
    assert counted["dataset.load_dataset"].calls == before + 2
    assert [len(run.unfinished) for run in planned.runs] == [5, 5, 5, 5, 0]
    assert estimate_seconds(planned.runs) >= 0
    assert counted["estimate.fit"].calls == 3 + 4 * 3 and counted["dataset.load_dataset"].calls == before + 2


def test_an_estimate_is_proportional_to_the_epochs_of_unfinished_folds(
    stores: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(estimate, "_step_seconds", lambda job: 2.0)

    def stop(name: str, row: dict[str, float]) -> None:
        if name == "groups-2":
            raise KeyboardInterrupt

    def planned(epochs: int, name: str) -> Any:
        return plan_run(TrainRequest(tiny(epochs=epochs), Sources(stores[0]), tmp_path / name))

    steps = sum(-(-len(fold.train) // 16) for fold in planned(1, "a").data.folds)
    assert estimate_seconds([planned(1, "a")]) == 2 * steps
    assert estimate_seconds([planned(1, "a"), planned(7, "b")]) == 2 * steps * 8
    with pytest.raises(KeyboardInterrupt):
        planned(1, "a").run(stop)
    left = planned(1, "a")
    assert [job.fold.name for job in left.unfinished] == ["groups-2", "groups-3", "groups-4"]
    assert estimate_seconds([left]) == 2 * sum(-(-len(job.fold.train) // 16) for job in left.unfinished)


def test_an_estimate_of_real_steps_is_above_zero_and_writes_nothing(
    stores: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    run = plan_run(TrainRequest(tiny(epochs=20), Sources(*stores), tmp_path / "run"))
    assert estimate_seconds([run]) > 0 and not (tmp_path / "run").exists()
