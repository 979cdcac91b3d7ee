"""Trained models score other stores and clips, and refuse what was not made as their own features."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score
from typer.testing import CliRunner

from mmpipe.core.errors import TrainingError, UsageError, WeightsError
from mmpipe.extractors.weights.checkpoints import PACKAGED_MODEL
from mmpipe.pipeline.cli.app import app
from mmpipe.pipeline.extraction.corpus import extract_corpus
from mmpipe.pipeline.extraction.engines.serial import SerialEngine
from mmpipe.pipeline.extraction.request import ExtractRequest
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.training.config import make_config
from mmpipe.pipeline.training.data.dataset import load_dataset
from mmpipe.pipeline.training.ensemble import load_ensemble
from mmpipe.pipeline.training.evaluation import evaluate
from mmpipe.pipeline.training.predict import predict
from mmpipe.pipeline.training.run import train
from mmpipe.pipeline.training.run_folder import read_run

from ...conftest import Once
from .conftest import make_store

TINY = make_config(objective="paper", size="small", batch_size=8, epochs=6, faces=8, words=8)


@pytest.fixture(scope="session")
def run(once: Once) -> Path:
    """A run of two seeds and three folds; its labelled store lies beside it."""

    def make(folder: Path) -> None:
        train(TINY, make_store(folder / "labeled", speakers=3), folder / "run", seeds=2)

    return once("evaluate", make) / "run"


def test_a_run_of_two_seeds_gives_mean_deviation_and_interval(run: Path) -> None:
    result = read_run(run)
    assert len(result.folds) == 6 and {fold.seed for fold in result.folds} == {0, 1}
    assert result.pooled.n == 96
    summary = result.summary["ua"]
    assert summary.low <= summary.mean <= summary.high and summary.std >= 0
    assert len(load_ensemble(run).models) == 6 and len(load_ensemble(run / "seed-1" / "groups-0").models) == 1


def test_another_store_of_the_same_features_is_scored(run: Path, tmp_path: Path) -> None:
    store = make_store(tmp_path / "other", rows=36)
    done = evaluate(run, store)
    assert done.scores.n == 36 and done.scores.ua > 0.9 and done.labels == ("anger", "sadness")
    shown = CliRunner().invoke(app, ["evaluate", str(run), "--store", str(store), "--out", str(tmp_path / "f.json")])
    assert shown.exit_code == 0 and f"{100 * done.scores.ua:.1f}" in shown.output
    assert json.loads((tmp_path / "f.json").read_text()) == done.to_json()
    assert list(done.to_json())[-3:] == ["model", "store", "excluded"]


def test_the_scores_of_an_evaluation_are_those_of_scikit_learn(run: Path, tmp_path: Path) -> None:
    store = make_store(tmp_path / "other", rows=36)
    ensemble, dataset = load_ensemble(run), load_dataset(FeatureStore(store), TINY)
    chosen = ensemble.predict(dataset, np.arange(36)).argmax(axis=1)
    guess, truth = [ensemble.labels[k] for k in chosen], list(dataset.labels)
    scores = evaluate(run, store).scores
    assert scores.ua == pytest.approx(balanced_accuracy_score(truth, guess))
    assert scores.weighted_f1 == pytest.approx(f1_score(truth, guess, average="weighted"))
    assert np.array_equal(scores.confusion, confusion_matrix(truth, guess))


def test_the_store_of_training_other_features_and_unknown_labels_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"is the store that .* was trained on"):
        evaluate(run, run.parent / "labeled")
    with pytest.raises(TrainingError, match=r"config\.c = x, this store's have y"):
        evaluate(run, make_store(tmp_path / "y", config="y"))
    odd = make_store(tmp_path / "odd", rows=36, labels=("anger", "bliss"))
    with pytest.raises(TrainingError, match=r"18 utterances of the labels bliss.*anger, sadness.*--skip-unknown"):
        evaluate(run, odd)
    assert evaluate(run, odd, skip_unknown=True).scores.n == 18
    assert evaluate(run, odd, skip_unknown=True).unknown == {"bliss": 18}
    with pytest.raises(UsageError, match="--split 'test'"):
        evaluate(run, odd, split="test")
    with pytest.raises(WeightsError, match="does not hold a trained model"):
        evaluate(tmp_path, odd)


@pytest.fixture(scope="session")
def spoken(once: Once) -> Path:
    """A model of words alone, trained on features that the embedded checkpoint made."""
    return once("spoken", make_spoken) / "run"


def make_spoken(folder: Path) -> None:
    (folder / "clips").mkdir()
    words = {"joy": "what a wonderful lovely happy day", "anger": "leave me alone you stupid idiot"}
    lines = ["utterance_id,text,label,session"]
    lines += [f"u{n},{words[label]} {n},{label},s{n % 3}" for n in range(36) for label in [list(words)[n // 3 % 2]]]
    (folder / "clips" / "table.csv").write_text("\n".join(lines))
    extract_corpus(
        ExtractRequest(
            "folder",
            root=folder / "clips",
            out=folder / "store",
            corpus_options={"table": "table.csv"},
            stages=["text"],
            stage_options={"text": {"model": PACKAGED_MODEL}},
        ),
        SerialEngine(),
    )
    config = make_config(objective="paper", size="small", modalities=("l",), words=12, batch_size=8, epochs=15)
    train(config, folder / "store", folder / "run")


def test_a_clip_is_predicted_with_the_models_own_extraction(spoken: Path, tmp_path: Path) -> None:
    clip = tmp_path / "clip.wav"
    clip.write_bytes(b"the model does not listen")
    happy = predict(spoken, clip, "what a wonderful lovely happy day")
    assert sum(happy.values()) == pytest.approx(1, abs=1e-5) and next(iter(happy)) == "joy"
    spoken_words = tmp_path / "words.vtt"
    spoken_words.write_text("WEBVTT\n\n00:00.000 --> 00:02.000\nleave me alone you stupid idiot\n")
    assert next(iter(predict(spoken, clip, transcript=spoken_words))) == "anger"
    clip.with_suffix(".txt").write_text("what a wonderful lovely happy day")
    assert predict(spoken, clip) == happy  # the transcript beside the clip, as extract takes it
    assert next(iter(predict(spoken, clip, transcript=spoken_words))) == "anger"


def test_a_clip_without_what_the_model_needs_is_refused(spoken: Path, run: Path, tmp_path: Path) -> None:
    clip = tmp_path / "clip.wav"
    with pytest.raises(UsageError, match=r"clip\.wav does not exist"):
        predict(spoken, clip, "x")
    clip.write_bytes(b"")
    with pytest.raises(UsageError, match="--text WORDS or --vtt FILE"):
        predict(spoken, clip)
    with pytest.raises(UsageError, match="give one of them"):
        predict(spoken, clip, "x", clip)
    with pytest.raises(UsageError, match="looks at faces"):
        predict(run, clip, "x")
