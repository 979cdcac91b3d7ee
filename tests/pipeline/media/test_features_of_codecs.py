"""IS10 of a file equals openSMILE's on what FFmpeg's own tool decodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmpipe.extractors.contract import Audio
from mmpipe.pipeline.extraction.stages import StageSpec

from ..conftest import tone, write_wav
from .reading import ffmpeg, waveform_of

CODECS = {
    "wav": ("-c:a", "pcm_s16le"),
    "m4a": ("-c:a", "aac", "-b:a", "96k"),
    "opus": ("-c:a", "libopus", "-b:a", "64k"),
    "mp3": ("-c:a", "libmp3lame", "-b:a", "128k"),
}

TOLERANCE = 0.01
"""Of each value's spread over the clips, as docs/extraction.md says."""


@pytest.mark.parametrize("ending", CODECS)
def test_is10_equals_opensmile_on_ffmpegs_decoding(tmp_path: Path, ending: str) -> None:
    extractor = StageSpec("audio", "is10").build()
    extractor.prepare()
    ours, theirs = [], []
    for seed in range(4):
        wav = write_wav(tmp_path / f"{seed}.wav", tone(1.5, 48_000, seed), 48_000)
        path, played = tmp_path / f"{seed}-made.{ending}", tmp_path / f"{seed}.f32"
        ffmpeg("-i", wav, *CODECS[ending], path)
        ffmpeg("-i", path, "-ac", 1, "-ar", 16_000, "-f", "f32le", played)
        mine, expected = waveform_of(path), np.fromfile(played, np.float32)
        length = min(len(mine), len(expected))
        assert abs(len(mine) - len(expected)) <= 400
        items = [Audio(np.clip(x[:length], -1, 32767 / 32768)) for x in (mine, expected)]
        one, other = (np.asarray(row["features"]) for row in extractor.extract(iter(items)))  # type: ignore[index]
        ours.append(one)
        theirs.append(other)
    spread = np.std(theirs, axis=0)
    error = np.abs(np.subtract(ours, theirs)).max(axis=0)
    assert np.median(error / (spread + 1e-9)) <= 1e-3
    assert (error <= TOLERANCE * spread + 1e-4 * np.abs(theirs).max(axis=0) + 1e-4).mean() > 0.98
