"""`--preset paper` chooses what the paper names, gives way to options that are typed, and never falls back."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mmpipe.core.errors import WeightsError
from mmpipe.extractors.faces.detectors import seetaface_library
from mmpipe.manifests.samples import sample_root
from mmpipe.pipeline.cli import train
from mmpipe.pipeline.cli.app import app
from mmpipe.pipeline.cli.settings import Settings, stage_options
from mmpipe.pipeline.store.feature_store import FeatureStore


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A clip of 53 frames with one face or more."""
    (tmp_path / "clips").mkdir()
    clip = sample_root("meld") / "dev_splits_complete" / "dia0_utt1.mp4"
    shutil.copy(clip, tmp_path / "clips" / "a.mp4")
    return tmp_path / "clips"


def extract(clips: Path, *options: str) -> Result:
    where = ["--dataset", "folder", "--root", str(clips), "--out", str(clips.parent / "store"), "--workers", "1"]
    return CliRunner().invoke(app, ["extract", *where, "--preset", "paper", *options])


@pytest.mark.skipif(find_spec("rustface") is None, reason="the extra seetaface is not installed")
def test_the_preset_extracts_with_seetaface_and_is10_and_an_option_comes_before_it(clips: Path) -> None:
    done = extract(clips, "--stages", "audio,faces", "--set", "faces.every=20")
    assert done.exit_code == 0, (done.output, done.exception)
    store = FeatureStore(clips.parent / "store")
    assert store.described["audio"].extractor == "is10"
    faces = store.described["faces"]
    assert (faces.config["detector"], faces.config["margin"], faces.config["every"]) == ("seetaface", 0.1, 20)
    assert faces.weights == seetaface_library.SHA256
    (row,) = store.read("faces").to_pylist()
    assert row["frame_index"] == [0, 20, 40]
    assert row["detected"] == [True] * 3 and row["score"] == [1] * 3


def test_where_seetaface_cannot_run_nothing_is_written_and_no_other_detector_taken(
    clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    done = extract(clips, "--stages", "audio,faces")
    assert isinstance(done.exception, WeightsError)
    assert str(done.exception).startswith("stage faces: detector seetaface runs on Linux x86-64 only")
    assert not list((clips.parent / "store").rglob("*.parquet"))
    assert extract(clips, "--stages", "faces", "--set", "faces.detector=full-frame").exit_code == 0


def test_a_preset_comes_before_configuration_and_sample_and_after_what_is_typed() -> None:
    settings = Settings(
        stages={
            "text": {"extractor": "word-count", "language": "en"},
            "faces": {"detector": "mtcnn", "detector_options": {"min_face_pixels": 60}, "choose": "largest"},
        }
    )
    options = stage_options(settings, {"text": {"max_tokens": 64}}, sample=True, preset="paper")
    assert options["text"] == {"extractor": "bert", "model": "google-bert/bert-large-uncased", "max_tokens": 64}
    assert options["faces"]["detector"] == "seetaface" and options["faces"]["detector_options"] == {}
    assert options["faces"]["choose"] == "largest"  # the preset does not name it
    assert "bert-large" not in str(stage_options(settings, {}, sample=True))


@pytest.mark.parametrize("typed", [[], ["--size", "small"], ["--set", "batch_size=16"]])
def test_training_takes_the_papers_settings_unless_others_are_typed(
    typed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Asked(Exception):  # noqa: N818
        """Ends the command where the config is made."""

    configs: list[Any] = []

    def config_for(assigned: dict[str, Any], chosen: dict[str, Any], *_: Any, sample: bool) -> None:
        from mmpipe.pipeline.cli.settings import training_config

        configs.append(training_config(assigned, sample=sample, **chosen))
        raise Asked

    monkeypatch.setattr(train, "config_for", config_for)
    monkeypatch.setattr("mmpipe.pipeline.training.requests.find_store", lambda *_, **__: tmp_path)
    done = CliRunner().invoke(app, ["train", "--supervised", "--sample", "--preset", "paper", *typed])
    assert isinstance(done.exception, Asked), (done.output, done.exception)
    # Section 4.2 of the paper: Adam with 0.001, batches of 128; weights of the losses of table 3.
    expected = {"size": "paper", "batch_size": 128, "learning_rate": 0.001, "alpha": 0.2, "beta": 0.1, "omega": 0.3}
    expected |= {"size": "small"} if "--size" in typed else {}
    expected |= {"batch_size": 16} if "--set" in typed else {}
    assert {name: getattr(configs[0], name) for name in expected} == expected
