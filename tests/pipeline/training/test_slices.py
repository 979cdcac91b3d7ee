"""Jobs that share the folds of a run or table write what one process writes, whatever order they end or die in."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from mmpipe.core.errors import BusyError, UsageError
from mmpipe.core.locks import hold
from mmpipe.pipeline.training.config import TrainConfig, make_config
from mmpipe.pipeline.training.experiments.grid import Grid, plan_grid, run_grid
from mmpipe.pipeline.training.requests import Sources, TrainRequest
from mmpipe.pipeline.training.run import TrainRun, plan_run, train
from mmpipe.pipeline.training.slices import jobs_of_slice, train_slice

from ...conftest import Once
from ..runs import call, start
from .conftest import make_store

FOLDS = ["groups-0", "groups-1", "groups-2"]


def tiny(**values: object) -> TrainConfig:
    few = {"size": "small", "batch_size": 16, "epochs": 2, "faces": 8, "words": 8, "modalities": ("a",)}
    return make_config(**(few | values))


def make_whole(folder: Path) -> None:
    """Runs in one process: of a store of three speakers, each of whom is held out once, and table 4 of one fold."""
    train(tiny(), make_store(folder / "labeled", speakers=3), folder / "whole" / "run", seeds=2)
    one = Sources(make_store(folder / "one", split=True))
    run_grid(Grid("table-4", tiny(objective="paper"), one, folder / "whole" / "table"))


@pytest.fixture(scope="session")
def made(once: Once) -> Path:
    return once("train-slices", make_whole)


def planned(made: Path, out: Path, **values: object) -> TrainRun:
    return plan_run(TrainRequest(tiny(**values), Sources(made / "labeled"), out, seeds=2))


def held(folder: Path) -> dict[str, Any]:
    """The bytes of every file below a folder; of run.json what it says besides seconds and the seal over them."""
    files: dict[str, Any] = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    for name in files:
        if name.endswith("run.json"):
            said = json.loads(files[name])
            assert said.pop("seconds") >= 0 and re.fullmatch("[0-9a-f]{64}", said.pop("seal"))
            files[name] = said
    return files


@pytest.mark.parametrize("count", [2, 4, 6])
def test_slices_in_any_order_write_the_run_of_one_process_at_the_last(made: Path, tmp_path: Path, count: int) -> None:
    out = tmp_path / "run"
    order = [*range(1, count + 1)][::-1]
    seen: list[str] = []
    for number in order:
        assert not (out / "run.json").exists() and not (out / "history.csv").exists()
        done = train_slice([planned(made, out)], (number, count))
        seen += done.trained
        assert done.reused == () and set(done.missing) == {f"run/seed-{s}/{f}" for s in (0, 1) for f in FOLDS} - {*seen}
        assert (done.results is None) == (number != order[-1])
        assert all(own in order[order.index(number) + 1 :] for own in done.missing.values())
    assert len(seen) == len(set(seen)) == 6
    assert held(out) == held(made / "whole" / "run")


def test_the_slice_that_a_missing_fold_is_said_to_belong_to_trains_it(made: Path, tmp_path: Path) -> None:
    done = train_slice([planned(made, tmp_path / "run")], (2, 4))
    name, number = next(iter(done.missing.items()))
    assert name in train_slice([planned(made, tmp_path / "run")], (number, 4)).trained


def test_a_slice_without_a_fold_does_nothing_and_finishes_what_the_others_left(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    empty = train_slice([planned(made, out)], (7, 8))
    assert empty.trained == empty.reused == () and len(empty.missing) == 6 and not out.exists()
    train_slice([planned(made, out)], (1, 1))
    for name in ("run.json", "history.csv", "predictions.parquet"):
        (out / name).unlink()  # as if the last slice had been killed before it wrote them
    assert train_slice([planned(made, out)], (7, 8)).results is not None
    assert held(out) == held(made / "whole" / "run")


def test_a_damaged_fold_is_missing_and_trained_again_by_its_own_slice(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train_slice([planned(made, out)], (1, 2))
    (out / "seed-0" / "groups-0" / "model.safetensors").write_bytes(b"x")
    other = train_slice([planned(made, out)], (2, 2))
    assert other.missing == {"run/seed-0/groups-0": 1} and other.results is None
    again = train_slice([planned(made, out)], (1, 2))
    assert again.trained == ("run/seed-0/groups-0",) and len(again.reused) == 2
    assert held(out) == held(made / "whole" / "run")


def test_another_run_is_replaced_only_where_that_is_asked_for(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train_slice([planned(made, out)], (1, 1))
    with pytest.raises(UsageError, match=r"learning_rate 0.001 -> 0.01\).*--overwrite"):
        planned(made, out, learning_rate=0.01)
    sources = Sources(made / "labeled")
    request = TrainRequest(tiny(learning_rate=0.01), sources, out, seeds=2, overwrite=True)
    late = plan_run(request)
    assert len(train_slice([plan_run(request)], (1, 2)).missing) == 3 and not (out / "run.json").exists()
    results = train_slice([plan_run(request)], (2, 2)).results
    assert results is not None and results[0].config.learning_rate == 0.01
    assert train_slice([late], (2, 2)).trained == ()  # planned while the other run was there: it is not removed twice
    assert (out / "run.json").exists()


def test_a_run_without_slices_and_slices_of_another_run_are_refused(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    messages: list[str] = []

    def meet(fold: str, row: dict[str, float]) -> None:
        if not messages:
            for work in (
                lambda: planned(made, out).run(),
                lambda: train_slice([planned(made, out, seed=5)], (2, 2)),
            ):
                with pytest.raises(BusyError, match="is being written by") as caught:
                    work()
                messages.append(str(caught.value))

    train_slice([planned(made, out)], (1, 2), meet)
    assert len(messages) == 2 and all("mmpipe train --slice 1/2 (process" in message for message in messages)
    assert "not a slice of the same run" in messages[1]
    with (
        hold(out, ".mmpipe", "mmpipe train", lambda others: None),
        pytest.raises(BusyError, match=r"written by mmpipe train \(process .*not a slice"),
    ):
        train_slice([planned(made, out)], (2, 2))


def test_a_fold_that_another_job_trains_is_waited_for_and_taken_over(made: Path, tmp_path: Path) -> None:
    run, notes = planned(made, tmp_path / "run"), list[str]()
    with ExitStack() as other:
        other.enter_context(hold(run.jobs[1].folder, ".mmpipe", "mmpipe train --slice 2/3", lambda others: None))

        def finish(note: str) -> None:
            notes.append(note)
            if "waiting" in note:
                run.jobs[1].run(lambda fold, row: None, notes.append)
                other.close()

        done = train_slice([planned(made, tmp_path / "run")], (2, 6), note=finish)
    assert done.trained == () and done.reused == ("run/seed-0/groups-1",) and len(done.missing) == 5
    assert f"fold groups-1: waiting for mmpipe train --slice 2/3 (process {os.getpid()} on " in notes[0]
    assert not list((tmp_path / "run").rglob(".mmpipe*"))


@pytest.mark.slow
def test_a_table_of_two_jobs_at_once_one_of_them_killed_is_the_table_of_one_process(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "table"
    settings = [w for name in ("batch_size=16", "epochs=2", "faces=8", "words=8") for w in ("--set", name)]
    command = ["train", "--table", 4, "--labeled", made / "one", "--out", out, "--size", "small", "--device", "cpu"]
    killed, other = (start(*command, *settings, "--slice", part) for part in ("1/2", "2/2"))
    while not list(out.glob("*/*/fold.json")):
        assert killed.poll() is None
        time.sleep(0.005)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    said, errors = other.communicate(timeout=60)
    assert other.returncode == 0, errors
    assert re.search(r"Slice 2 of 2: trained 3 folds \(v-supervised/corpus, .*\); reused 0 folds", said), said
    assert re.search(r"[1-3] of 6 folds are still missing: .*\(slice 1\)", said) and not list(out.glob("table*"))
    again = call(*command, *settings, "--slice", "1/2")
    assert again.returncode == 0, again.stderr
    assert "All 6 folds are finished" in again.stdout and "Fully supervised, speaker-independent" in again.stdout
    assert held(out) == held(made / "whole" / "table")
    empty = call(*command, *settings, "--slice", "20/20")
    assert empty.returncode == 0 and "Slice 20 of 20 has no fold: there are 6, so 6 slices are enough" in empty.stdout
    assert held(out) == held(made / "whole" / "table")


def test_the_slices_of_a_grid_are_dealt_through_all_cells(made: Path, tmp_path: Path) -> None:
    runs = plan_grid(Grid("table-4", tiny(), Sources(made / "labeled"), tmp_path)).runs
    dealt = [[(run.request.out.name, job.fold.name) for run, job in jobs_of_slice(runs, (n, 4))] for n in range(1, 5)]
    cells = ["a", "v", "l", "av", "al", "avl"]
    every = [(f"{cell}-supervised", fold) for cell in cells for fold in FOLDS]
    assert [len(part) for part in dealt] == [5, 5, 4, 4]
    assert sorted(job for part in dealt for job in part) == sorted(every) and dealt[0][:2] == [every[0], every[4]]
