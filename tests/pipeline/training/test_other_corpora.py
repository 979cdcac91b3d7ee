"""A corpus of other microphones is scored by its own statistics, and a clip outside the training range is reported."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler
from typer.testing import CliRunner

from mmpipe.core.errors import TrainingError, UsageError
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

from ...conftest import Once
from .conftest import make_store

TINY = make_config(objective="paper", size="small", batch_size=8, epochs=6, faces=8, words=8, modalities=("a", "l"))


@pytest.fixture(scope="session")
def run(once: Once) -> Path:
    """A run of three folds; beside it the same utterances recorded otherwise, and further ones recorded alike."""

    def make(folder: Path) -> None:
        train(TINY, make_store(folder / "labeled", speakers=3), folder / "run")
        make_store(folder / "far", rows=60, recording=1)
        make_store(folder / "near", rows=60)

    return once("other-corpora", make) / "run"


def test_a_corpus_of_another_recording_is_scored_as_well_as_one_of_the_same(run: Path) -> None:
    far = run.parent / "far"
    own, trained = evaluate(run, far), evaluate(run, far, normalise="train")
    assert (own.normalise, own.fitted, trained.fitted) == ("store", 60, None)
    assert own.scores.ua > 0.95 and trained.scores.ua < 0.7
    assert own.scores.ua == pytest.approx(evaluate(run, run.parent / "near").scores.ua, abs=0.05)
    assert evaluate(run, far, normalise="speaker").scores.ua > 0.9


def test_the_statistics_of_a_store_are_those_of_scikit_learn(run: Path) -> None:
    """One model, fed with what StandardScaler makes of the scored store's audio, answers as `evaluate` does."""
    config = TINY.model_copy(update={"modalities": ("a",)})
    train(config, run.parent / "labeled", run.parent / "audio")
    far = load_dataset(FeatureStore(run.parent / "far"), config)
    saved = load_ensemble(run.parent / "audio" / "groups-0").models[0]
    x = StandardScaler().fit_transform(far.features["a"]).astype(np.float32)
    logits = saved.model({"a": torch.from_numpy(x)}, {}).logits
    guess = logits.argmax(dim=1).tolist()
    right = np.mean([saved.labels[k] == label for k, label in zip(guess, far.labels, strict=True)])
    scores = evaluate(run.parent / "audio" / "groups-0", run.parent / "far").scores
    assert np.trace(np.array(scores.confusion)) / scores.n == pytest.approx(right)


def test_the_statistics_of_training_are_used_where_they_are_asked_for(run: Path) -> None:
    near = FeatureStore(run.parent / "near")
    dataset, ensemble = load_dataset(near, TINY), load_ensemble(run)
    answers = ensemble.predict(dataset, np.arange(60)).argmax(axis=1)
    confusion = np.zeros((2, 2), int)
    for label, k in zip(dataset.labels, answers, strict=True):
        confusion[ensemble.labels.index(str(label)), k] += 1
    assert np.array_equal(evaluate(run, near.path, normalise="train").scores.confusion, confusion)


def test_the_command_says_whose_statistics_were_used(run: Path, tmp_path: Path) -> None:
    def shown(*options: str) -> str:
        out = str(tmp_path / "f.json")
        done = CliRunner().invoke(
            app, ["evaluate", str(run), "--store", str(run.parent / "far"), "--out", out, *options]
        )
        assert done.exit_code == 0, done.output
        return done.output

    assert "statistics of the 60 usable utterances" in shown()
    assert json.loads((tmp_path / "f.json").read_text())["normalise"] == "store"
    assert "statistics of the training rows" in shown("--normalise", "train")
    assert "each by its speaker's" in shown("--normalise", "speaker")
    few = make_store(tmp_path / "few", rows=12)
    done = CliRunner().invoke(app, ["evaluate", str(run), "--store", str(few)])
    assert "12 utterances are few" in done.output


def test_the_shift_is_the_mean_distance_and_marks_what_lies_outside(run: Path) -> None:
    ensemble = load_ensemble(run / "groups-0")
    near, far = (load_dataset(FeatureStore(run.parent / name), TINY) for name in ("near", "far"))
    norm = ensemble.models[0].norms["a"]
    z = np.abs((far.features["a"][3] - norm.mean.numpy()) * norm.scale.numpy())
    shift = ensemble.shift(far, 3)
    assert shift is not None and shift[0].modality == "a"
    assert shift[0].distance == pytest.approx(z.mean(), rel=1e-5)
    assert shift[0].far == pytest.approx((z > 4).mean())
    assert all(part.is_outside for row in range(60) for part in ensemble.shift(far, row) or [])
    outside = [any(part.is_outside for part in ensemble.shift(near, row) or []) for row in range(60)]
    assert np.mean(outside) < 0.1


def test_a_model_that_was_saved_without_its_range_has_no_measure(run: Path, tmp_path: Path) -> None:
    fold = Path(shutil.copytree(run / "groups-0", tmp_path / "groups-0"))
    card = json.loads((fold / "model.json").read_text())
    assert card.pop("reach").keys() == {"a", "l"}
    del card["seal"]
    (fold / "model.json").write_text(json.dumps(card))
    assert load_ensemble(fold).shift(load_dataset(FeatureStore(run.parent / "near"), TINY), 0) is None


def write_tone(path: Path, pitch: float, seed: int, loudness: float) -> None:
    noise = np.random.default_rng(seed).normal(size=12_000)
    time = np.arange(12_000) / 16_000
    tone = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in (1, 2, 3))
    samples = (loudness * (9000 * tone + 900 * noise)).astype("<i2")
    with wave.open(str(path), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(16_000)
        stream.writeframes(samples.tobytes())


def make_heard(folder: Path) -> None:
    """A model of low and high tones, and a store of the same tones recorded thirty times as quietly."""
    for name, loudness in (("loud", 1.0), ("quiet", 1 / 30)):
        (folder / name).mkdir()
        lines = ["file,label,speaker"]
        for n in range(18):
            label, pitch = (("low", 110), ("high", 230))[n // 3 % 2]
            write_tone(folder / name / f"{n:02d}.wav", pitch + 2 * n, n, loudness)
            lines.append(f"{n:02d}.wav,{label},s{n % 3}")
        (folder / name / "table.csv").write_text("\n".join(lines))
        options = {"table": "table.csv"}
        request = ExtractRequest(
            "folder", root=folder / name, out=folder / f"{name}-store", corpus_options=options, stages=["audio"]
        )
        extract_corpus(request, SerialEngine())
    config = make_config(objective="paper", size="small", modalities=("a",), batch_size=8, epochs=8)
    train(config, folder / "loud-store", folder / "run")


@pytest.fixture(scope="session")
def heard(once: Once) -> Path:
    return once("heard", make_heard)


def test_a_clip_outside_the_training_range_is_reported_and_like_takes_other_statistics(
    heard: Path, tmp_path: Path
) -> None:
    write_tone(tmp_path / "loud.wav", 235, 99, 1.0)
    write_tone(tmp_path / "quiet.wav", 235, 99, 1 / 30)
    notes: list[str] = []
    assert next(iter(predict(heard / "run", tmp_path / "loud.wav", note=notes.append))) == "high" and not notes
    with pytest.warns(UserWarning, match=r"outside the training range.*audio: mean \|z\| .*--like STORE"):
        predict(heard / "run", tmp_path / "quiet.wav")
    like = heard / "quiet-store"
    assert next(iter(predict(heard / "run", tmp_path / "quiet.wav", like=like, note=notes.append))) == "high"
    assert not notes
    done = CliRunner().invoke(app, ["predict", str(heard / "run"), str(tmp_path / "quiet.wav"), "--json"])
    assert "outside the training range" in done.stderr
    assert json.loads(done.stdout)["clip"].endswith("quiet.wav")
    for words, option in (({"text": "hello"}, "--text"), ({"transcript": tmp_path / "none.vtt"}, "--vtt")):
        with pytest.raises(UsageError, match=f"does not read words .its modalities are a.: leave out {option}"):
            predict(heard / "run", tmp_path / "quiet.wav", **words)
    with pytest.raises(UsageError, match=r"--like .*does not exist"):
        predict(heard / "run", tmp_path / "quiet.wav", like=tmp_path / "none")
    with pytest.raises(TrainingError, match=r"lacks the stages audio|extract both alike"):
        predict(heard / "run", tmp_path / "quiet.wav", like=make_store(tmp_path / "other"))


def test_a_model_of_normalised_speakers_takes_the_speaker_of_a_clip_from_like(heard: Path, tmp_path: Path) -> None:
    config = make_config(
        objective="paper", size="small", modalities=("a",), batch_size=8, epochs=8, normalise="speaker"
    )
    train(config, heard / "loud-store", tmp_path / "run")
    write_tone(tmp_path / "quiet.wav", 115, 98, 1 / 30)
    with pytest.raises(UsageError, match="name it with --like"):
        predict(tmp_path / "run", tmp_path / "quiet.wav")
    answer = predict(tmp_path / "run", tmp_path / "quiet.wav", like=heard / "quiet-store", note=lambda text: None)
    assert next(iter(answer)) == "low"
    assert evaluate(tmp_path / "run", heard / "quiet-store").normalise == "speaker"


def test_a_model_of_audio_starts_no_process_and_imports_no_library_of_faces_or_text(heard: Path) -> None:
    """The module `popen_spawn_posix` is imported by the first process of a pool."""
    code = """
import sys
from mmpipe.pipeline.cli.app import main
try:
    main()
except SystemExit as end:
    assert not end.code
unwanted = {"torchvision", "transformers", "cv2", "sklearn", "multiprocessing.popen_spawn_posix"}
print(sorted(unwanted & sys.modules.keys()))
"""
    command = [sys.executable, "-c", code, "predict", str(heard / "run"), str(heard / "loud" / "03.wav"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer, imported = done.stdout.splitlines()
    assert json.loads(answer)["probabilities"].keys() == {"high", "low"}
    assert imported == "[]"
