"""A table of the paper is one command: equal runs are shared, a stopped grid ends with the same figures."""

from __future__ import annotations

import math
import os
import random
import signal
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mmpipe.core.errors import UsageError
from mmpipe.pipeline.balancing.draw import DrawOptions
from mmpipe.pipeline.balancing.pseudo_labels import balance
from mmpipe.pipeline.training.config import TrainConfig, make_config
from mmpipe.pipeline.training.data.dataset import Pool
from mmpipe.pipeline.training.data.inputs import load_input
from mmpipe.pipeline.training.estimate import estimate_seconds
from mmpipe.pipeline.training.experiments.grid import Grid, find_experiment, run_grid
from mmpipe.pipeline.training.experiments.paper import EXPERIMENTS
from mmpipe.pipeline.training.requests import Sources, TrainRequest
from mmpipe.pipeline.training.run import plan_run

from ...conftest import Once
from ..runs import call, start
from .conftest import make_store


def tiny(**values: object) -> TrainConfig:
    return make_config(
        **({"objective": "paper", "size": "small", "batch_size": 16, "epochs": 2, "faces": 8, "words": 8} | values)
    )


def make_stores(folder: Path) -> None:
    """Labelled stores of one fold and of three, an unlabelled one and its balanced list."""
    three, unlabeled = make_store(folder / "three", speakers=3), make_store(folder / "unlabeled", labeled=False)
    make_store(folder / "one", split=True)
    balance(three, unlabeled, folder / "list.parquet", tiny(), DrawOptions(per_class=16), once=True)


Stores = tuple[Path, Path, Path]


@pytest.fixture(scope="session")
def one_fold(once: Once) -> Stores:
    """A labelled store with splits of its own, an unlabelled one and its balanced list."""
    folder = once("grid", make_stores)
    return folder / "one", folder / "unlabeled", folder / "list.parquet"


@pytest.fixture(scope="session")
def three_folds(once: Once) -> Stores:
    """The same with a labelled store of three speakers, each of whom is held out once."""
    folder = once("grid", make_stores)
    return folder / "three", folder / "unlabeled", folder / "list.parquet"


def grid(name: str, stores: Stores, out: Path) -> Grid:
    return Grid(name, tiny(), Sources(*stores), out)


def tables(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}


@pytest.mark.slow
def test_a_table_killed_at_random_moments_ends_with_the_numbers_of_one_that_was_not(
    one_fold: Stores, tmp_path: Path
) -> None:
    labeled, unlabeled, balanced = one_fold
    settings = [word for name in ("batch_size=16", "epochs=3", "faces=8", "words=8") for word in ("--set", name)]
    where = ["--labeled", labeled, "--unlabeled", unlabeled, "--balanced", balanced]
    command = ["train", "--table", 7, "--size", "small", "--device", "cpu", *where, *settings, "--out"]
    began = time.monotonic()
    done = call(*command, tmp_path / "whole")
    assert done.returncode == 0, done.stderr
    seconds = time.monotonic() - began
    seed = random.SystemRandom().randrange(10**6)
    moments, kills = random.Random(seed), 0
    folder = tmp_path / "killed"
    for _ in range(2):
        process, finished = start(*command, folder), len(weights_below(folder))
        while process.poll() is None and len(weights_below(folder)) == finished:
            time.sleep(0.01)  # until it has trained a fold
        time.sleep(seconds / 6 * moments.uniform(0, 1.5))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.communicate()
    done = call(*command, folder)
    assert done.returncode == 0, done.stderr
    assert kills, f"seed {seed}: the runs ended before they could be killed"
    assert tables(folder) == tables(tmp_path / "whole"), f"seed {seed}"
    assert len(weights_below(folder)) == 6
    assert weights_below(folder) == weights_below(tmp_path / "whole"), f"seed {seed}"


def weights_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.safetensors")}


@pytest.mark.slow
def test_a_grid_that_was_stopped_goes_on_and_ends_with_the_same_table(three_folds: Stores, tmp_path: Path) -> None:
    whole = run_grid(grid("table-7", three_folds, tmp_path / "whole"))
    assert len(whole) == 6
    seen = 0

    def stop(fold: str, row: dict[str, float]) -> None:
        nonlocal seen
        seen += 1
        if seen == 22:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_grid(grid("table-7", three_folds, tmp_path / "again"), stop, save_seconds=0)
    assert not tables(tmp_path / "again")
    notes: list[str] = []
    run_grid(grid("table-7", three_folds, tmp_path / "again"), note=notes.append)
    assert sum("reused" in note for note in notes) == 10  # three cells of three folds, and the first fold of the fourth
    assert tables(tmp_path / "again") == tables(tmp_path / "whole")
    page = tables(tmp_path / "whole")["table-7.md"].decode()
    assert "| semi-supervised | ✓ | ✓ |" in page and "| 75.6 |" in page and "| 74.5 |" in page
    assert tables(tmp_path / "whole")["table-7.png"].startswith(b"\x89PNG")


def test_experiments_share_equal_runs_and_draw_nested_parts_of_the_list(one_fold: Stores, tmp_path: Path) -> None:
    results = run_grid(grid("figure-7a", one_fold, tmp_path))
    drawn = [0 if r.unlabeled is None else r.unlabeled.rows for r in results]
    assert drawn == [0, 8, 16, 24, 32]
    notes: list[str] = []
    run_grid(grid("figure-7b", one_fold, tmp_path), note=notes.append)
    run_grid(grid("figure-6", one_fold, tmp_path), note=notes.append)
    assert sum("reused" in note for note in notes) == 3  # semi twice, supervised A+V+L once
    assert {p.suffix for p in tmp_path.glob("figure-*")} == {".md", ".csv", ".png"}


def test_every_experiment_names_figures_of_the_paper_in_range() -> None:
    assert set(EXPERIMENTS) == {f"table-{n}" for n in "4567"} | {"figure-6", "figure-7a", "figure-7b"}
    for experiment in EXPERIMENTS.values():
        assert all(len(cell.labels) == len(experiment.columns) for cell in experiment.cells)
        assert all(40 <= value <= 76 for cell in experiment.cells for value in cell.paper.values())
        assert all(len(cell.modalities) > 1 for cell in experiment.cells if cell.semi)
    with pytest.raises(UsageError, match="--table '8' does not exist; valid: 4, 5, 6, 7"):
        find_experiment("table-8")


def test_an_estimate_is_the_time_of_a_step_times_all_steps(
    three_folds: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training is replaced by a clock on which a fit takes ten seconds and each of its steps a quarter more."""
    clock = 0.0

    def fit(config: TrainConfig, labels: object, train: Pool, *_: object, **__: object) -> None:
        nonlocal clock
        clock += 10 + 0.25 * config.epochs * math.ceil(len(train.rows) / config.batch_size)

    monkeypatch.setattr("mmpipe.pipeline.training.estimate.fit", fit)
    monkeypatch.setattr("mmpipe.pipeline.training.estimate.time.perf_counter", lambda: clock)
    data = load_input(tiny(), three_folds[0])
    steps = sum(math.ceil(len(fold.train) / 16) for fold in data.folds)
    assert steps == 3
    for epochs, seeds in ((2, 1), (200, 1), (2, 5)):
        request = TrainRequest(tiny(epochs=epochs), Sources(three_folds[0]), tmp_path / "run", seeds)
        assert estimate_seconds([plan_run(request)]) == pytest.approx(0.25 * steps * epochs * seeds)


def test_a_share_of_the_list_is_its_beginning(one_fold: Stores) -> None:
    labeled, unlabeled, listed = one_fold
    data = [load_input(tiny(unlabeled_rows=n), labeled, unlabeled, listed) for n in (8, 16)]
    pools = [one.unlabeled_of(one.folds[0]) for one in data]
    ids = [[pool.dataset.ids[row] for row in pool.rows] for pool in pools if pool is not None]
    assert ids[0] == ids[1][:8] == pq.read_table(listed).column("utterance_id").to_pylist()[:8]
