"""Run folders and kept arrays are sealed: what is missing, cut or altered is named, and made again."""

from __future__ import annotations

import random
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from mmpipe.core.errors import UsageError, WeightsError
from mmpipe.pipeline.report.training import show_run
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.training.config import TrainConfig, make_config
from mmpipe.pipeline.training.data.dataset import load_dataset
from mmpipe.pipeline.training.data.lengths import cut_shares
from mmpipe.pipeline.training.ensemble import load_ensemble
from mmpipe.pipeline.training.requests import Sources, TrainRequest
from mmpipe.pipeline.training.run import plan_run, train

from ...conftest import Once
from .conftest import make_store

CONFIG = make_config(objective="paper", size="small", modalities=("a",), epochs=1, dropout=0.0, batch_size=16)
READ = ("fold.json", "model.json", "model.safetensors")


@pytest.fixture
def made(once: Once, tmp_path: Path) -> Path:
    """A folder with a store and a run of two folds or more on it."""

    def make(folder: Path) -> None:
        make_store(folder / "store", speakers=3)
        train(CONFIG, folder / "store", folder / "run")

    return Path(shutil.copytree(once("sealed-runs", make), tmp_path / "made"))


def unfinished(made: Path) -> list[str]:
    planned = plan_run(TrainRequest(CONFIG, Sources(made / "store"), made / "run"))
    return [job.folder.name for job in planned.unfinished]


def files(run: Path) -> list[Path]:
    found = [*run.glob("*.json"), run / "history.csv", run / "predictions.parquet"]
    return sorted([*found, *(path for name in READ for path in run.glob(f"*/{name}"))])


def test_a_flipped_bit_of_any_file_of_a_run_is_named_by_its_readers_and_trained_again(made: Path) -> None:
    run, chance = made / "run", random.Random(0)
    assert unfinished(made) == [] and len(files(run)) == 3 + 3 * len(load_ensemble(run).models)
    for path in files(run):
        data = path.read_bytes()
        for place in chance.sample(range(len(data)), 6):
            path.write_bytes(data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :])
            named = "run" if path.name == "run.json" else path.name
            with pytest.raises(WeightsError, match=named):
                load_ensemble(run)
            with pytest.raises(UsageError, match=named):
                show_run(run)
            if path.name in READ:
                assert unfinished(made) == [path.parent.name], (path, place)
            if path.name in READ[1:]:
                with pytest.raises(WeightsError, match=path.name):
                    load_ensemble(path.parent)
        path.write_bytes(data)


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("damage", ["deleted", "cut to nothing", "of another fold"])
def test_the_next_train_makes_a_damaged_fold_again_says_why_and_reuses_the_others(
    made: Path, name: str, damage: str
) -> None:
    run = made / "run"
    before = {path: path.read_bytes() for path in files(run)}
    path, other = sorted(run.glob(f"*/{name}"))[:2]
    path.unlink()
    if damage == "cut to nothing":
        path.write_bytes(b"")
    elif damage == "of another fold":
        shutil.copy(other, path)
    with pytest.raises(WeightsError, match=f"{path.parent.name}/{name} is (missing|not what the run wrote)"):
        load_ensemble(run)
    notes: list[str] = []
    train(CONFIG, made / "store", run, note=notes.append)
    again = [note for note in notes if "again" in note]
    if damage == "deleted" and name == "fold.json":
        assert again == []  # a fold that was not finished
    else:
        assert len(again) == 1 and again[0].startswith(f"fold {path.parent.name}: trained again")
    assert sum("reused" in note for note in notes) == len(load_ensemble(run).models) - 1
    assert {p: p.read_bytes() for p in before if p.name != "run.json"} == {
        p: data for p, data in before.items() if p.name != "run.json"
    }


def test_a_damaged_record_of_a_run_is_said_before_it_is_replaced(made: Path) -> None:
    (made / "run" / "run.json").write_bytes(b"")
    with pytest.raises(UsageError, match=r"run\.json cannot be read.*--overwrite"):
        train(CONFIG, made / "store", made / "run")
    notes: list[str] = []
    train(CONFIG, made / "store", made / "run", note=notes.append, overwrite=True)
    assert all("reused" in note for note in notes if note.startswith("fold"))


CUT = TrainConfig(**CONFIG.model_dump() | {"modalities": ("a", "v", "l"), "faces": 7, "words": 7})


@pytest.mark.parametrize("damage", ["zero length", "cut", "altered", "another shape", "zeros", "lost", "no marker"])
def test_kept_arrays_that_are_not_what_was_written_are_decoded_again(tmp_path: Path, damage: str) -> None:
    store = make_store(tmp_path / "store", speakers=3)
    first = load_dataset(FeatureStore(store), CUT)
    shares = cut_shares(FeatureStore(store), CUT, first.ids)
    whole = {name: np.array(array) for name, array in {**first.features, **first.keep}.items()}
    kept = sorted((store / "logs" / "arrays").glob("*/*.npy"))
    assert len(kept) == 3 * 2 + 2 and all((path.parent / "arrays.json").is_file() for path in kept)
    for path in kept:
        data = path.read_bytes()
        if damage == "zero length":
            path.write_bytes(b"")
        elif damage == "cut":
            path.write_bytes(data[:-8])
        elif damage == "altered":
            path.write_bytes(data[:-8] + bytes([data[-8] ^ 1]) + data[-7:])
        elif damage == "another shape":
            np.save(path, np.load(path)[:-1])
        elif damage == "zeros":
            path.write_bytes(data[:128] + bytes(len(data) - 128))
        elif damage == "lost":
            path.unlink()
        else:
            (path.parent / "arrays.json").unlink(missing_ok=True)
    again = load_dataset(FeatureStore(store), CUT)
    assert all(np.array_equal(array, whole[name]) for name, array in {**again.features, **again.keep}.items())
    assert cut_shares(FeatureStore(store), CUT, first.ids) == shares
    assert [path for path in (store / "logs" / "arrays").rglob("*") if path.name.startswith(".part-")] == []
    assert sorted((store / "logs" / "arrays").glob("*/*.npy")) == kept


def test_arrays_reach_the_disk_before_their_folder_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    events: list[str] = []
    sync, replace = os.fsync, Path.replace

    def fsync(opened: int) -> None:
        events.append(str(Path(f"/proc/self/fd/{opened}").readlink()))
        sync(opened)

    def renamed(path: Path, target: Path) -> Path:
        events.append(f"rename {path.name}")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", renamed)
    load_dataset(FeatureStore(make_store(tmp_path / "store", speakers=3)), CONFIG)
    folder = r"\.(audio|expression|text)-\w+-\w+\.\w+\.\w+\.part"
    named = next(place for place, event in enumerate(events) if re.fullmatch(f"rename {folder}", event))
    synced = [event.rsplit("/", 1)[-1] for event in events[:named]]
    assert {"features.npy", "keep.npy"} <= set(synced) and any("arrays.json" in event for event in synced)
    assert any(re.fullmatch(folder, event) for event in synced)
    assert events[named + 1].endswith("logs/arrays")
