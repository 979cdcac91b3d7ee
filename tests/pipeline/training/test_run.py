"""Runs learn, resume to the same bytes, keep test speakers out, and refuse what does not go together."""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mmpipe.core.errors import TrainingError, WeightsError
from mmpipe.manifests.splits import folds
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.training.checkpoint import load_model
from mmpipe.pipeline.training.config import TrainConfig, make_config
from mmpipe.pipeline.training.data.dataset import fit_norms, load_dataset
from mmpipe.pipeline.training.metrics import score
from mmpipe.pipeline.training.run import train
from mmpipe.pipeline.training.run_folder import read_run

from ...conftest import Once
from .conftest import WIDTHS, make_store

TINY = {"objective": "paper", "size": "small", "batch_size": 8, "epochs": 6, "faces": 8, "words": 8}


def tiny(**values: object) -> TrainConfig:
    return make_config(**(TINY | values))


@pytest.fixture(scope="session")
def labeled(once: Once) -> Path:
    """Three speakers: three folds."""
    return once("labeled", lambda folder: make_store(folder / "labeled", speakers=3)) / "labeled"


@pytest.fixture(scope="session")
def unlabeled(once: Once) -> Path:
    make = partial(make_store, labeled=False, missing=(3, 4))
    return once("unlabeled", lambda folder: make(folder / "unlabeled")) / "unlabeled"


@pytest.fixture(scope="session")
def semi(labeled: Path, unlabeled: Path, once: Once) -> Path:
    """A finished semi-supervised run."""
    return once("semi", lambda folder: train(tiny(), labeled, folder / "semi", unlabeled)) / "semi"


def files_of(folder: Path) -> dict[str, bytes]:
    """All files but run.json, which names the seconds."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and p.name != "run.json"
    }


def test_it_learns_what_can_be_learnt(semi: Path) -> None:
    assert read_run(semi).pooled.ua > 0.9


def test_every_utterance_is_tested_once_by_a_model_that_never_heard_its_speaker(semi: Path, labeled: Path) -> None:
    manifest = FeatureStore(labeled).manifest()
    tested = [(row["utterance_id"], row["fold"]) for row in pq.read_table(semi / "predictions.parquet").to_pylist()]
    assert sorted(name for name, _ in tested) == sorted(manifest.column("utterance_id").to_pylist())
    assert sorted(tested) == sorted((name, fold.name) for fold in folds(manifest) for name in fold.test)
    speaker = dict(zip(*(manifest.column(c).to_pylist() for c in ("utterance_id", "speaker")), strict=True))
    for fold in folds(manifest):
        parts = [{speaker[i] for i in part} for part in (fold.train, fold.valid, fold.test)]
        assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]


def test_a_run_that_was_stopped_ends_with_the_same_bytes(
    semi: Path, labeled: Path, unlabeled: Path, tmp_path: Path
) -> None:
    def stop(fold: str, row: dict[str, float]) -> None:
        if fold == "groups-2" and row["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tiny(), labeled, tmp_path / "run", unlabeled, report=stop)
    notes: list[str] = []
    train(tiny(), labeled, tmp_path / "run", unlabeled, note=notes.append)
    assert notes == [f"fold groups-{n}: reused from an earlier run" for n in (0, 1)]
    assert files_of(tmp_path / "run") == files_of(semi)


def test_a_changed_hyper_parameter_trains_again_and_is_named(labeled: Path, tmp_path: Path) -> None:
    train(tiny(epochs=1), labeled, tmp_path)
    notes: list[str] = []
    train(tiny(epochs=1, learning_rate=0.01), labeled, tmp_path, note=notes.append, overwrite=True)
    assert all("learning_rate 0.001 -> 0.01" in note for note in notes) and len(notes) == 3


def test_history_has_a_line_for_every_epoch_and_fold(semi: Path) -> None:
    with (semi / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 3 * 6
    assert {"train_loss", "cls", "rec", "pair", "unpaired", "unlabeled_rec", "valid_ua"} <= rows[0].keys()


def test_normalisation_follows_from_the_rows_it_is_fitted_on(labeled: Path) -> None:
    dataset = load_dataset(FeatureStore(labeled), tiny())
    rows = np.arange(10)
    norm = fit_norms(dataset, rows)["a"]
    assert np.allclose(norm.mean.numpy(), dataset.features["a"][:10].mean(axis=0), atol=1e-5)
    assert np.allclose(norm.scale.numpy(), 1 / dataset.features["a"][:10].std(axis=0), rtol=1e-4)
    spoken = dataset.features["v"][:10][dataset.keep["v"][:10]]
    assert np.allclose(fit_norms(dataset, rows)["v"].mean.numpy(), spoken.mean(axis=0), atol=1e-5)


def test_utterances_that_lack_a_modality_are_left_out_and_counted(unlabeled: Path) -> None:
    dataset = load_dataset(FeatureStore(unlabeled), tiny())
    assert len(dataset.ids) == 46 and dataset.excluded == {"expression: no_face": 2}
    assert len(load_dataset(FeatureStore(unlabeled), tiny(modalities=("a", "l"))).ids) == 48


def test_a_model_is_read_back_and_refuses_other_features(semi: Path, labeled: Path, tmp_path: Path) -> None:
    saved = load_model(semi / "groups-0")
    dataset = load_dataset(FeatureStore(labeled), tiny())
    fold = folds(FeatureStore(labeled).manifest())[0]
    rows = dataset.rows_of(fold.test)
    guess = [saved.labels[k] for k in saved.predict(dataset, rows).argmax(axis=1)]
    stored = pq.read_table(semi / "predictions.parquet").to_pylist()
    assert guess == [row["predicted"] for row in stored if row["fold"] == "groups-0"]
    other = make_store(tmp_path / "other", config="y")
    with pytest.raises(TrainingError, match=r"config\.c = x, this store's have y"):
        saved.predict(load_dataset(FeatureStore(other), tiny()), rows)
    with pytest.raises(WeightsError, match="does not hold a trained model"):
        load_model(tmp_path)


def test_unlabelled_data_of_other_features_are_refused(labeled: Path, tmp_path: Path) -> None:
    other = make_store(tmp_path / "other", labeled=False, config="y")
    with pytest.raises(TrainingError, match="extract both alike"):
        train(tiny(), labeled, tmp_path / "run", other)


def test_metrics_equal_hand_counts() -> None:
    # anger: 2 of 3 right, precision 2/3; sadness: 0 of 1 right, precision 0
    scores = score(["anger"] * 3 + ["sadness"], ["anger", "anger", "sadness", "anger"], ["anger", "sadness"])
    assert scores.ua == pytest.approx((2 / 3 + 0) / 2)
    assert scores.wap == pytest.approx(3 / 4 * 2 / 3)
    assert scores.weighted_f1 == pytest.approx(3 / 4 * 2 / 3)
    assert scores.confusion == ((2, 1), (1, 0))


def test_features_are_decoded_once_and_mapped_from_files(labeled: Path) -> None:
    first = load_dataset(FeatureStore(labeled), tiny())
    made = sorted((labeled / "logs" / "arrays").glob("*/features.npy"))
    times = [path.stat().st_mtime_ns for path in made]
    again = load_dataset(FeatureStore(labeled), tiny())
    assert isinstance(again.features["v"], np.memmap) and len(made) >= 3
    assert [path.stat().st_mtime_ns for path in made] == times
    assert all(np.array_equal(first.features[name], again.features[name]) for name in "avl")
    shorter = load_dataset(FeatureStore(labeled), tiny(faces=6))
    assert np.array_equal(shorter.features["v"], first.features["v"][:, :6])


def test_a_speaker_is_normalised_by_the_speakers_own_rows(labeled: Path) -> None:
    store = FeatureStore(labeled)
    dataset = load_dataset(store, tiny(normalise="speaker"))
    speaker = np.array(store.manifest().column("speaker").to_pylist())
    for name in set(speaker):
        rows = speaker == name
        spoken = dataset.features["v"][rows][dataset.keep["v"][rows]]
        assert np.abs(spoken.mean(axis=0)).max() < 1e-5 and np.allclose(spoken.std(axis=0), 1, atol=1e-4)
        assert not dataset.features["v"][rows][~dataset.keep["v"][rows]].any()


def test_features_that_are_nan_are_named_with_the_utterance(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", spoilt=7)
    with pytest.raises(TrainingError, match=r"stage 'audio': utterance made/007 has value nan in dimension 3"):
        train(tiny(), store, tmp_path / "run")


def test_a_fold_that_is_left_empty_is_named_with_what_was_left_out(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", missing=tuple(row for row in range(48) if row % 6 < 2))
    with pytest.raises(
        TrainingError, match=r"has no usable utterance in its part .*expression: no_face 16.*fewer modal"
    ):
        train(tiny(), store, tmp_path / "run")


def test_fewer_utterances_than_a_batch_are_said_and_trained_in_one_step(labeled: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    train(tiny(epochs=1, batch_size=128), labeled, tmp_path, note=notes.append)
    assert "smaller than a batch of 128" in notes[0] and "--set batch_size=" in notes[0]


def test_tensorboard_gets_the_figures_of_every_epoch(labeled: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tiny(epochs=2), labeled, tmp_path, tensorboard=True)
    events = EventAccumulator(str(tmp_path / "tensorboard" / "seed-0" / "groups-1"))
    events.Reload()
    with (tmp_path / "history.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["fold"] == "groups-1"]
    assert [e.value for e in events.Scalars("valid_ua")] == pytest.approx(
        [float(r["valid_ua"]) for r in rows], rel=1e-5
    )


def test_an_unlabelled_store_of_another_width_is_refused_with_both_widths(
    labeled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(WIDTHS, "text", 30)
    other = make_store(tmp_path / "other", labeled=False)
    with pytest.raises(TrainingError, match=r"modality l are 30 wide, the labelled store's 24: extract both alike"):
        train(tiny(), labeled, tmp_path / "run", other)
