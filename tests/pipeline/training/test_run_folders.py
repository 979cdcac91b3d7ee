"""A run folder is named by what it holds, is not replaced by another run, and only what its run.json names is used."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from mmpipe.core.errors import BusyError, UsageError, WeightsError
from mmpipe.core.locks import writing_alone
from mmpipe.core.parquet import write_parquet
from mmpipe.pipeline.cli.app import app
from mmpipe.pipeline.extraction.recovery import repair_store
from mmpipe.pipeline.training.config import TrainConfig, make_config
from mmpipe.pipeline.training.ensemble import load_ensemble
from mmpipe.pipeline.training.requests import Sources, TrainRequest, default_run
from mmpipe.pipeline.training.run import plan_run, train
from mmpipe.pipeline.training.run_folder import read_run

from ...conftest import Once
from .conftest import make_store


def tiny(**values: object) -> TrainConfig:
    few = {
        "objective": "paper",
        "size": "small",
        "batch_size": 16,
        "epochs": 1,
        "faces": 8,
        "words": 8,
        "modalities": ("a",),
    }
    return make_config(**(few | values))


@pytest.fixture(scope="session")
def made(once: Once) -> Path:
    """A folder with a store of three folds and a run of it."""
    return once("run-folders", lambda f: train(tiny(), make_store(f / "labeled", speakers=3), f / "run"))


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy of the run."""
    return Path(shutil.copytree(made / "run", tmp_path / "run"))


def test_a_finished_run_of_another_config_is_replaced_only_where_that_is_asked_for(run: Path, made: Path) -> None:
    before = (run / "run.json").read_bytes()
    for config, seeds in ((tiny(learning_rate=0.01), 1), (tiny(), 2), (tiny(seed=1), 1)):
        with pytest.raises(
            UsageError, match=r"finished run, and this one differs \((learning_rate|seeds|seed) .*--overwrite"
        ):
            train(config, made / "labeled", run, seeds=seeds)
    assert (run / "run.json").read_bytes() == before
    notes: list[str] = []
    train(tiny(), made / "labeled", run, note=notes.append)
    assert sum("reused" in note for note in notes) == 3
    train(tiny(learning_rate=0.01), made / "labeled", run, overwrite=True)
    assert read_run(run).config.learning_rate == 0.01


def test_a_second_training_into_one_folder_is_refused_and_leaves_it_as_it_is(run: Path, made: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with (
        writing_alone(run, "mmpipe train", inside=True),
        pytest.raises(BusyError, match=rf"run is being written .*mmpipe train \(process {os.getpid()} on "),
    ):
        train(tiny(learning_rate=0.01), made / "labeled", run, overwrite=True)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_run_that_another_process_finished_since_this_one_was_planned_is_not_replaced(
    run: Path, made: Path, tmp_path: Path
) -> None:
    late = plan_run(TrainRequest(tiny(learning_rate=0.01), Sources(made / "labeled"), tmp_path / "late"))
    shutil.copytree(run, tmp_path / "late")
    with pytest.raises(UsageError, match=r"finished run, and this one differs \(learning_rate"):
        late.run()
    assert read_run(tmp_path / "late").config == tiny()


def test_a_run_that_is_being_replaced_is_not_finished_until_it_is(run: Path, made: Path) -> None:
    def stop(fold: str, row: dict[str, float]) -> None:
        if fold == "groups-1":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tiny(learning_rate=0.01), made / "labeled", run, overwrite=True, report=stop)
    with pytest.raises(WeightsError, match="not finished"):
        load_ensemble(run)
    train(tiny(learning_rate=0.01), made / "labeled", run)
    assert len(load_ensemble(run).models) == 3


def test_folds_that_the_run_does_not_name_are_not_used(run: Path, made: Path) -> None:
    train(tiny(seed=5), made / "labeled", run, seeds=2, overwrite=True)
    assert (run / "groups-0" / "model.json").is_file()  # of the first run
    assert [m.config.seed for m in load_ensemble(run).models] == [5, 5, 5, 6, 6, 6]
    train(tiny(), made / "labeled", run, overwrite=True)
    assert [m.config.seed for m in load_ensemble(run).models] == [0, 0, 0]


def test_models_of_another_config_than_the_run_names_are_refused(run: Path, made: Path, tmp_path: Path) -> None:
    train(tiny(learning_rate=0.01), made / "labeled", tmp_path / "other")
    shutil.rmtree(run / "groups-1")
    shutil.copytree(tmp_path / "other" / "groups-1", run / "groups-1")
    with pytest.raises(WeightsError, match=r"groups-1/fold\.json is not what the run wrote: run the `mmpipe train`"):
        load_ensemble(run)
    assert len(load_ensemble(run / "groups-0").models) == 1


def test_without_a_run_json_only_one_fold_is_accepted(run: Path) -> None:
    (run / "run.json").unlink()
    with pytest.raises(WeightsError, match=r"holds models but no run\.json.* or name one fold's folder"):
        load_ensemble(run)
    assert len(load_ensemble(run / "groups-2").models) == 1
    (run / "run.json").write_text("{")
    with pytest.raises(WeightsError, match="does not hold a finished run"):
        load_ensemble(run)


def relabelled(store: Path) -> None:
    """Give the first labelled row of a store the label of another row."""
    path = store / "manifest.parquet"
    table = pq.read_table(path)
    labels = table.column("label").to_pylist()
    labels[0] = next(label for label in labels if label != labels[0])
    place = table.column_names.index("label")
    changed = table.set_column(place, table.schema.field(place), pa.array(labels)).replace_schema_metadata(None)
    write_parquet(path, changed, {"corpus": "made"})
    repair_store(store)


def test_default_folders_differ_where_runs_do(made: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(made / "labeled", tmp_path / "x"))
    (balanced := tmp_path / "list.parquet").write_bytes(b"a list")
    sources = Sources(store), Sources(store, made / "labeled", balanced)
    names = [
        default_run(tiny(), sources[0]),
        default_run(tiny(learning_rate=0.01), sources[0]),
        default_run(tiny(), sources[0], seeds=2),
        default_run(tiny(), sources[1]),
        default_run(tiny(modalities=("a", "v")), sources[1]),
    ]
    assert len(set(names)) == 5 and default_run(tiny(), sources[0]) == names[0]
    assert names[0].name.startswith("x-supervised-a-small-") and len(names[0].name.rsplit("-")[-1]) == 8
    assert names[4].name.startswith("x-semi-av-small-")
    relabelled(store)
    assert default_run(tiny(), sources[0]) not in names
    balanced.write_bytes(b"another list")
    assert default_run(tiny(), Sources(made / "labeled", made / "labeled", balanced)).name != names[3].name


def test_a_corrected_label_makes_another_run(run: Path, made: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(made / "labeled", tmp_path / "labeled"))
    train(tiny(), store, run)
    relabelled(store)
    with pytest.raises(UsageError, match=r"finished run, and this one differs \(labels.*--overwrite"):
        train(tiny(), store, run)
    notes: list[str] = []
    train(tiny(), store, run, note=notes.append, overwrite=True)
    assert len(notes) == 3 and all("trained again, changed: labels" in note for note in notes)


def test_the_command_writes_there_and_takes_overwrite(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--supervised", "--labeled", str(made / "labeled"), "--size", "small", "--modalities", "a"]

    def call(*more: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["train", *options, "--set", "epochs=1", *more])
        return done.exit_code, done.output + str(done.exception)

    assert call()[0] == 0 and call("--seed", "1")[0] == 0
    first, second = sorted((tmp_path / "runs").iterdir())
    assert first.name.startswith("labeled-supervised-a-small-") and json.loads((first / "run.json").read_text())
    code, message = call("--out", str(first), "--set", "learning_rate=0.02")
    assert code == 1 and "--overwrite" in message
    assert call("--out", str(first), "--set", "learning_rate=0.02", "--overwrite")[0] == 0
    assert read_run(first).config.learning_rate == 0.02 and second.is_dir()
