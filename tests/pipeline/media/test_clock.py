"""Audio and video of a file share one clock, that of FFmpeg's own tool, in any span."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mmpipe.manifests.schema import MediaSpan
from mmpipe.pipeline.media.notes import Note
from mmpipe.pipeline.media.readers import AudioReader, VideoReader

from ..conftest import write_wav
from .reading import CASES, categories, ffmpeg, frames_of, number_of, waveform_of

CODED = CASES / "h264-in.avi"
"""150 coded frames at 25 frames a second."""

SOURCES = {
    "late-audio": "mkv",
    "late-video": "mkv",
    "gap": "mkv",
    "late-audio-mp4": "mp4",
    "late-audio-ts": "ts",
    "late-video-flv": "flv",
    "jump-back": "ts",
    "jump-ahead": "ts",
}

SHIFTS = {"jump-back": 0, "jump-ahead": 600}
"""Seconds by which the second of two joined recordings of 6 s is moved."""


def clicks(path: Path) -> Path:
    """Six seconds with a click every 0.2 s; the n-th is n samples longer."""
    samples = np.zeros(6 * 48_000, np.int16)
    for number in range(30):
        start = round((0.1 + 0.2 * number) * 48_000)
        samples[start : start + 96 + 48 * number] = 20_000
    return write_wav(path, samples, 48_000)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clock")
    wav, video = clicks(folder / "a.wav"), folder / "video.mkv"
    ffmpeg("-i", CODED, "-an", "-vf", "setpts=N/25/TB", "-c:v", "libx264", "-g", 25, "-crf", 12, video)
    both = ("-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", "aac", "-b:a", "128k")
    made = {}
    for name, ending in SOURCES.items():
        made[name] = path = folder / f"{name}.{ending}"
        if name.startswith("late-audio"):
            ffmpeg("-i", video, "-itsoffset", 0.83, "-i", wav, *both, path)
        elif name.startswith("late-video"):
            ffmpeg("-itsoffset", 0.62, "-i", video, "-i", wav, *both, path)
        elif name in SHIFTS:
            one, other = folder / "one.ts", folder / "other.ts"
            ffmpeg("-i", video, "-i", wav, *both, one)
            ffmpeg("-i", one, "-c", "copy", "-output_ts_offset", SHIFTS[name], other)
            path.write_bytes(one.read_bytes() + other.read_bytes())
        else:
            hole = "aselect='not(between(t,2,3.1))'"
            ffmpeg("-i", video, "-i", wav, *both, "-af", hole, path)
    return made


def played(path: Path) -> np.ndarray:
    """The audio as FFmpeg's tool plays it with the video, whose start also counts."""
    audio = ("-map", "0:a", "-af", "aresample=16000:async=1:min_hard_comp=0.02:first_pts=0", "-ac", 1)
    video = ("-map", "0:v", "-f", "null", "/dev/null")
    return np.frombuffer(ffmpeg("-i", path, *audio, "-f", "f32le", "pipe:1", *video), np.float32)


def times_of_frames(path: Path) -> list[float]:
    """Seconds at which FFmpeg's tool shows each frame, played with the audio."""
    video = ("-map", "0:v", "-fps_mode", "passthrough", "-f", "framecrc", "pipe:1")
    told = ffmpeg("-i", path, *video, "-map", "0:a", "-f", "null", "/dev/null").decode().splitlines()
    (base,) = (line.split()[2] for line in told if line.startswith("#tb 0:"))
    numerator, denominator = map(int, base.split("/"))
    return [int(line.split(",")[2]) * numerator / denominator for line in told if not line.startswith("#")]


def starts(samples: np.ndarray) -> np.ndarray:
    """Where clicks begin, in samples."""
    loud = np.abs(samples) > 0.25
    edges = np.flatnonzero(loud[1:] & ~loud[:-1]) + 1
    return edges[np.diff(edges, prepend=-4000) > 1600]


@settings(max_examples=16, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(name="jump-back", where=0.2, length=1.2)
@example(name="jump-ahead", where=0.7, length=1.2)
@given(name=st.sampled_from(sorted(SOURCES)), where=st.floats(0, 1), length=st.floats(0.2, 1.2))
def test_any_span_agrees_with_ffmpegs_own_tool(files: dict[str, Path], name: str, where: float, length: float) -> None:
    path = files[name]
    start = round(where * (10.8 if name in SHIFTS else 5.4), 3)
    end = round(start + length, 3)
    expected = played(path)
    span = MediaSpan("x", start, min(end, len(expected) / 16_000))
    ours = waveform_of(path, span)
    first = round(start * 16_000)
    theirs = expected[first : first + len(ours)]
    one, other = starts(ours), starts(theirs)
    inside = [edge for edge in other if 400 < edge < len(ours) - 400]
    assert all(np.abs(one - edge).min(initial=10**6) <= 320 for edge in inside)  # 20 ms
    times = np.array(times_of_frames(path))
    for frame in frames_of(path, 1, MediaSpan("x", start, min(end, len(expected) / 16_000 - 0.2))):
        shown = np.flatnonzero(np.abs(times - (start + frame.time_seconds)) <= 0.041)
        assert number_of(frame) in shown % 150


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_the_whole_is_as_long_as_ffmpegs_tool_says(files: dict[str, Path], name: str) -> None:
    assert len(waveform_of(files[name])) == pytest.approx(len(played(files[name])), abs=400)


def test_readers_of_one_file_agree_after_spans_in_any_order(files: dict[str, Path]) -> None:
    spans = [MediaSpan("x", start, start + 0.7) for start in (4.0, 0.4, 2.9, 1.1)]
    path = files["gap"]
    with AudioReader() as audio, VideoReader(5) as video:
        for span in spans:
            np.testing.assert_array_equal(audio.read(path, span).waveform, waveform_of(path, span))
            assert [f.index for f in video.frames(path, span)] == [f.index for f in frames_of(path, 5, span)]


@pytest.mark.parametrize("shift", [0, 600, 80_000])
def test_recordings_joined_into_one_file_run_on(tmp_path: Path, shift: int) -> None:
    wav = clicks(tmp_path / "a.wav")
    one, other, joined = tmp_path / "one.ts", tmp_path / "other.ts", tmp_path / "joined.ts"
    both = ("-i", CODED, "-i", wav, "-map", "0:v", "-map", "1:a", "-vf", "setpts=N/25/TB", "-c:v", "mpeg2video")
    ffmpeg(*both, "-q:v", 3, "-c:a", "mp2", one)
    ffmpeg("-i", one, "-c", "copy", "-output_ts_offset", shift, other)
    joined.write_bytes(one.read_bytes() + other.read_bytes())
    notes: list[Note] = []
    frames = frames_of(joined, 10, notes=notes)
    assert 30 <= len(frames) <= 31
    assert categories(notes) == {"clock_jump"}
    notes.clear()
    clicked = starts(waveform_of(joined, notes=notes))
    assert categories(notes) == {"clock_jump"}
    assert len(clicked) == 60
    late = [frame for frame in frames if frame.time_seconds > 6.5]
    for frame in late:
        assert abs(number_of(frame) - (frame.time_seconds - (clicked[30] - clicked[0]) / 16_000) * 25) <= 2.5
