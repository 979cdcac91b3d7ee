"""Trained models score other stores and clips, and refuse what was not made as their own features."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import pytest

from mmpipe.core.errors import TrainingError, UsageError, WeightsError
from mmpipe.extractors.weights.checkpoints import PACKAGED_MODEL
from mmpipe.pipeline.cli.evaluate import run_evaluate, run_predict
from mmpipe.pipeline.extraction.corpus import ExtractRequest, extract_corpus
from mmpipe.pipeline.training.config import make_config
from mmpipe.pipeline.training.ensemble import load_ensemble
from mmpipe.pipeline.training.run import train

from ...conftest import Once
from ..conftest import SerialEngine
from .conftest import make_store

TINY = make_config(size="small", batch_size=8, epochs=6, faces=8, words=8)


@pytest.fixture(scope="session")
def run(once: Once) -> Path:
    """A run of two seeds and three folds; its labelled store lies beside it."""

    def make(folder: Path) -> None:
        train(TINY, make_store(folder / "labeled", speakers=3), folder / "run", seeds=2)

    return once("evaluate", make) / "run"


def test_a_run_of_two_seeds_tells_mean_deviation_and_interval(run: Path) -> None:
    result = json.loads((run / "run.json").read_text())
    assert len(result["folds"]) == 6 and {fold["seed"] for fold in result["folds"]} == {0, 1}
    assert result["pooled"]["n"] == 96
    summary = result["summary"]["ua"]
    assert summary["low"] <= summary["mean"] <= summary["high"] and summary["std"] >= 0
    assert len(load_ensemble(run).models) == 6 and len(load_ensemble(run / "seed-1" / "groups-0").models) == 1


def test_another_store_of_the_same_features_is_scored(run: Path, tmp_path: Path) -> None:
    figures = run_evaluate(run, make_store(tmp_path / "other", rows=36), out=tmp_path / "figures.json")
    assert figures["n"] == 36 and figures["ua"] > 0.9
    assert json.loads((tmp_path / "figures.json").read_text())["ua"] == figures["ua"]


def test_the_store_of_training_other_features_and_unknown_labels_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"is the store that .* was trained on"):
        run_evaluate(run, run.parent / "labeled")
    with pytest.raises(TrainingError, match=r"config\.c = x, this store's have y"):
        run_evaluate(run, make_store(tmp_path / "y", config="y"))
    odd = make_store(tmp_path / "odd", rows=36, labels=("anger", "bliss"))
    with pytest.raises(TrainingError, match=r"18 utterances of the labels bliss.*anger, sadness.*--skip-unknown"):
        run_evaluate(run, odd)
    assert run_evaluate(run, odd, skip_unknown=True)["n"] == 18
    with pytest.raises(UsageError, match="--split 'test'"):
        run_evaluate(run, odd, "test")
    with pytest.raises(WeightsError, match="holds no trained model"):
        run_evaluate(tmp_path, odd)


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
    config = make_config(size="small", modalities=("l",), words=12, batch_size=8, epochs=15)
    train(config, folder / "store", folder / "run")


def test_a_clip_is_predicted_with_the_models_own_extraction(
    spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = tmp_path / "clip.wav"
    clip.write_bytes(b"the model does not listen")
    happy = run_predict(spoken, clip, "what a wonderful lovely happy day")
    assert sum(happy.values()) == pytest.approx(1, abs=1e-5) and next(iter(happy)) == "joy"
    here = nullcontext(SerialEngine())  # the first call started a process, which is not needed again
    monkeypatch.setattr("mmpipe.pipeline.training.predict.LocalEngine", lambda workers: here)
    told = tmp_path / "told.vtt"
    told.write_text("WEBVTT\n\n00:00.000 --> 00:02.000\nleave me alone you stupid idiot\n")
    assert next(iter(run_predict(spoken, clip, vtt=told))) == "anger"


def test_a_clip_without_what_the_model_needs_is_refused(spoken: Path, run: Path, tmp_path: Path) -> None:
    clip = tmp_path / "clip.wav"
    with pytest.raises(UsageError, match=r"clip\.wav does not exist"):
        run_predict(spoken, clip, "x")
    clip.write_bytes(b"")
    with pytest.raises(UsageError, match="--text WORDS or --vtt FILE"):
        run_predict(spoken, clip)
    with pytest.raises(UsageError, match="give one of them"):
        run_predict(spoken, clip, "x", clip)
    with pytest.raises(UsageError, match="looks at faces"):
        run_predict(run, clip, "x")
