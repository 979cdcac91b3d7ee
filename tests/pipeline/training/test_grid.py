"""A table of the paper is one command: equal runs are shared, a stopped grid ends with the same figures."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mmpipe.core.errors import UsageError
from mmpipe.pipeline.balancing.pseudo_labels import balance
from mmpipe.pipeline.training.baselines import BASELINES, score_baselines
from mmpipe.pipeline.training.config import TrainConfig, make_config
from mmpipe.pipeline.training.data.inputs import load_input
from mmpipe.pipeline.training.experiments.grid import Grid, find_experiment, run_grid
from mmpipe.pipeline.training.experiments.paper import EXPERIMENTS
from mmpipe.pipeline.training.requests import Sources

from ..runs import run, start
from .conftest import make_store


def tiny(**values: object) -> TrainConfig:
    return make_config(**({"size": "small", "batch_size": 16, "epochs": 2, "faces": 8, "words": 8} | values))


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A labelled store, an unlabelled one and its balanced list."""
    folder = tmp_path_factory.mktemp("grid")
    labeled, unlabeled = make_store(folder / "labeled"), make_store(folder / "unlabeled", labeled=False)
    return labeled, unlabeled, balance(labeled, unlabeled, folder / "list.parquet", tiny(), per_class=16).path


def grid(name: str, stores: tuple[Path, Path, Path], out: Path) -> Grid:
    return Grid(name, tiny(), Sources(*stores), out)


def tables(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}


def test_a_table_killed_at_random_moments_ends_with_the_numbers_of_one_that_was_not(
    stores: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    labeled, unlabeled, balanced = stores
    settings = [word for name in ("batch_size=16", "epochs=3", "faces=8", "words=8") for word in ("--set", name)]
    where = ["--labeled", labeled, "--unlabeled", unlabeled, "--balanced", balanced]
    command = ["train", "--table", 7, "--size", "small", "--device", "cpu", *where, *settings, "--out"]
    began = time.monotonic()
    done = run(*command, tmp_path / "whole")
    assert done.returncode == 0, done.stderr
    seconds = time.monotonic() - began
    seed = random.SystemRandom().randrange(10**6)
    moments, kills = random.Random(seed), 0
    for _ in range(3):
        process = start(*command, tmp_path / "killed")
        time.sleep(seconds * moments.uniform(0.25, 0.45))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.communicate()
    done = run(*command, tmp_path / "killed")
    assert done.returncode == 0, done.stderr
    assert kills, f"seed {seed}: the runs ended before they could be killed"
    assert tables(tmp_path / "killed") == tables(tmp_path / "whole"), f"seed {seed}"
    weights = [
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.safetensors")}
        for name in ("whole", "killed")
    ]
    assert len(weights[0]) == 30
    assert weights[0] == weights[1], f"seed {seed}"


def test_a_grid_that_was_stopped_goes_on_and_ends_with_the_same_table(
    stores: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    whole = run_grid(grid("table-7", stores, tmp_path / "whole"))
    assert len(whole) == 6
    seen = 0

    def stop(fold: str, row: dict[str, float]) -> None:
        nonlocal seen
        seen += 1
        if seen == 35:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_grid(grid("table-7", stores, tmp_path / "again"), stop, save_seconds=0)
    assert not tables(tmp_path / "again")
    notes: list[str] = []
    run_grid(grid("table-7", stores, tmp_path / "again"), note=notes.append)
    assert sum("taken over" in note for note in notes) == 17  # three cells of five folds, and two folds of the fourth
    assert tables(tmp_path / "again") == tables(tmp_path / "whole")
    page = tables(tmp_path / "whole")["table-7.md"].decode()
    assert "| semi-supervised | ✓ | ✓ |" in page and "| 75.6 |" in page and "| 74.5 |" in page
    assert tables(tmp_path / "whole")["table-7.png"].startswith(b"\x89PNG")


def test_experiments_share_equal_runs_and_draw_nested_parts_of_the_list(
    stores: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    results = run_grid(grid("figure-7a", stores, tmp_path))
    drawn = [0 if r.unlabeled is None else r.unlabeled.rows for r in results]
    assert drawn == [0, 8, 16, 24, 32]
    notes: list[str] = []
    run_grid(grid("figure-7b", stores, tmp_path), note=notes.append)
    run_grid(grid("figure-6", stores, tmp_path), note=notes.append)
    assert sum("taken over" in note for note in notes) == 15  # semi twice, supervised A+V+L once
    assert {p.suffix for p in tmp_path.glob("figure-*")} == {".md", ".csv", ".png"}


def test_every_experiment_names_figures_of_the_paper_in_range() -> None:
    assert set(EXPERIMENTS) == {f"table-{n}" for n in "4567"} | {"figure-6", "figure-7a", "figure-7b"}
    for experiment in EXPERIMENTS.values():
        assert all(len(cell.labels) == len(experiment.columns) for cell in experiment.cells)
        assert all(40 <= value <= 76 for cell in experiment.cells for value in cell.paper.values())
        assert all(len(cell.modalities) > 1 for cell in experiment.cells if cell.semi)
    with pytest.raises(UsageError, match="--table '8' does not exist; valid: 4, 5, 6, 7"):
        find_experiment("table-8")


def test_baselines_answer_on_the_same_folds(stores: tuple[Path, Path, Path]) -> None:
    data = load_input(tiny(), stores[0])
    scores = score_baselines(tiny(epochs=20), data)
    assert set(scores) == set(BASELINES)
    assert scores["majority"]["ua"].mean == pytest.approx(0.5, abs=0.01)
    assert all(scores[name]["ua"].mean > 0.9 for name in ("logistic", "concat-mlp", "gru-attention"))
    assert all(s["ua"].low <= s["ua"].mean <= s["ua"].high for s in scores.values())


def test_a_share_of_the_list_is_its_beginning(stores: tuple[Path, Path, Path]) -> None:
    labeled, unlabeled, listed = stores
    pools = [load_input(tiny(unlabeled_rows=n), labeled, unlabeled, listed).unlabeled for n in (8, 16)]
    ids = [[pool.dataset.ids[row] for row in pool.rows] for pool in pools if pool is not None]
    assert ids[0] == ids[1][:8] == pq.read_table(listed).column("utterance_id").to_pylist()[:8]
