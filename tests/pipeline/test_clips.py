"""A review clip holds the utterance and nothing else."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from mmpipe.core.errors import CorpusError, UsageError
from mmpipe.manifests.schema import MediaSpan, Region, Utterance
from mmpipe.pipeline.media.cut import write_clip

from .conftest import tone, write_video, write_wav


def test_a_clip_has_the_utterances_length_and_its_half_of_the_frame(tmp_path: Path) -> None:
    write_video(tmp_path / "dialog.avi", 100)
    write_wav(tmp_path / "turn's audio.wav", tone(4.0))
    utterance = Utterance(
        "t/1",
        "t",
        audio=MediaSpan("turn's audio.wav", 1.0, 2.6),
        video=MediaSpan("dialog.avi", 1.0, 2.6, Region(0.5, 0.0, 0.5, 1.0)),
    )
    with av.open(str(write_clip(utterance, tmp_path, tmp_path / "clip.mp4"))) as container:
        assert container.duration is not None
        assert container.duration / 1e6 == pytest.approx(1.6, abs=0.1)
        (frames,), (voice,) = container.streams.video, container.streams.audio
        assert (frames.width, frames.height) == (32, 48)
        assert voice.codec_context.name == "aac"


def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        write_clip(Utterance("t/1", "t"), tmp_path, tmp_path / "clip.mp4")
    assert (tmp_path / "clip.mp4").read_text() == "mine"


def test_an_utterance_without_media_cannot_be_cut(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="neither audio nor video"):
        write_clip(Utterance("t/1", "t"), tmp_path, tmp_path / "clip.mp4")
