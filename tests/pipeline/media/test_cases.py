"""Media as people have them: each kind gives what a player shows, or a status that says why not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmpipe.core.errors import Rejected
from mmpipe.manifests.schema import MediaSpan
from mmpipe.pipeline.media.notes import Note

from .reading import CASES, categories, ffmpeg, frames_of, number_of, waveform_of


def span(start: float, end: float | None) -> MediaSpan:
    return MediaSpan("x", start, end)


def decoded(path: Path) -> np.ndarray:
    """The mono 16 kHz audio that FFmpeg's tool plays, on the clock of the file."""
    mix = ("-af", "aresample=async=1:first_pts=0", "-ac", 1, "-ar", 16_000, "-f", "f32le", "-")
    return np.frombuffer(ffmpeg("-i", path, *mix), np.float32)


def test_audio_that_starts_late_is_silent_until_then() -> None:
    path = CASES / "audio-starts-late.mkv"
    assert not waveform_of(path, span(0.0, 0.97)).any()
    expected = decoded(path)
    np.testing.assert_allclose(waveform_of(path, span(2.0, 3.0)), expected[32_000:48_000], atol=1e-4)
    assert [number_of(frame) for frame in frames_of(path, 10, span(2.0, 3.0))] == [50, 60, 70]


def test_a_gap_in_the_audio_is_silent_and_what_follows_in_its_place() -> None:
    path = CASES / "audio-gap.webm"
    whole = waveform_of(path)
    assert len(whole) == pytest.approx(6.0 * 16_000, abs=160)
    quiet = np.flatnonzero(np.abs(whole) < 1e-6)
    assert len(quiet) >= 15_800
    np.testing.assert_allclose(waveform_of(path, span(4.0, 5.0)), decoded(path)[64_000:80_000], atol=1e-4)


def test_without_a_frame_rate_the_interval_of_the_frames_counts() -> None:
    assert len(frames_of(CASES / "no-frame-rate.webm", 10)) == 30


def test_a_clock_that_jumps_ahead_is_joined_and_reported() -> None:
    notes: list[Note] = []
    frames = frames_of(CASES / "clock-jumps.mkv", 10, notes=notes)
    assert [number_of(frame) for frame in frames] == list(range(0, 120, 10))
    assert categories(notes) == {"clock_jump"}
    assert "+600.00 s at 4.00 s" in str(notes[0])


def test_a_still_stays_while_it_is_shown() -> None:
    last = frames_of(CASES / "still.mp4", 10, span(10.0, 14.0))
    assert [number_of(frame) for frame in last] == [99] * 10
    paused = frames_of(CASES / "paused.mp4", 10, span(10.0, 14.0))
    assert [number_of(frame) for frame in paused] == [99] * 10
    assert len({frame.source for frame in paused}) == 1  # one detection serves all


@pytest.mark.parametrize("name", ["unknown-second-track.mov", "cover-first.mp4"])
def test_streams_that_cannot_be_read_and_covers_do_not_hide_the_others(name: str) -> None:
    assert len(waveform_of(CASES / name)) == pytest.approx(6.0 * 16_000, abs=400)
    assert [number_of(frame) for frame in frames_of(CASES / name, 50)] == [0, 50, 100]


def test_the_track_with_the_default_flag_is_read() -> None:
    path = CASES / "default-track-second.mkv"
    expected = np.frombuffer(ffmpeg("-i", path, "-map", "0:2", "-ac", 1, "-ar", 16_000, "-f", "f32le", "-"), np.float32)
    np.testing.assert_allclose(waveform_of(path), expected, atol=1e-4)


def test_eight_channels_are_mixed() -> None:
    assert len(waveform_of(CASES / "eight-channels.mkv")) == 26_598


@pytest.mark.parametrize("name", ["mono-stereo.ts", "rate-changes.mp3"])
def test_rate_and_layout_may_change_within_the_stream(name: str) -> None:
    assert len(waveform_of(CASES / name)) / 16_000 == pytest.approx(6.05, abs=0.02)


def test_junk_within_an_mp3_is_skipped_and_reported_with_its_second() -> None:
    notes: list[Note] = []
    np.testing.assert_allclose(waveform_of(CASES / "junk.mp3", notes=notes), decoded(CASES / "junk.mp3"), atol=1e-4)
    assert [str(note) for note in notes] == [
        "junk_skipped: junk.mp3: damaged bytes at 2.45 s were skipped (1 of 252 packets)"
    ]


def test_a_mirrored_video_is_shown_as_ffmpegs_tool_shows_it() -> None:
    path = CASES / "mirrored.mov"
    raw = ffmpeg("-i", path, "-frames:v", 1, "-pix_fmt", "rgb24", "-f", "rawvideo", "-")
    image = frames_of(path, 10)[0].image
    np.testing.assert_array_equal(image, np.frombuffer(raw, np.uint8).reshape(image.shape))


def test_frames_of_another_size_fill_the_first_size() -> None:
    notes: list[Note] = []
    frames = frames_of(CASES / "size-changes.webm", 10, notes=notes)
    assert {frame.image.shape for frame in frames} == {(360, 640, 3)}
    raw = ffmpeg("-i", CASES / "size-changes.webm", "-vf", "scale=640:360", "-pix_fmt", "rgb24", "-f", "rawvideo", "-")
    expected = np.frombuffer(raw, np.uint8).reshape(-1, 360, 640, 3)
    for frame in frames:
        assert np.abs(frame.image.astype(int) - expected[frame.index]).mean() < 2
    assert categories(notes) == {"size_changes"}


@pytest.mark.parametrize(("name", "last"), [("packed-b-frames.avi", 250), ("h264-in.avi", 149)])
def test_frame_n_of_an_avi_with_b_frames_is_frame_n(name: str, last: int) -> None:
    whole = {frame.index: number_of(frame) for frame in frames_of(CASES / name, 1)}
    assert all(whole[place] == place for place in range(last + 1))
    for start in (0.0, 1.32, 4.2, 5.0):
        for frame in frames_of(CASES / name, 1, span(start, start + 0.4)):
            assert number_of(frame) == frame.index


@pytest.mark.parametrize("name", ["streaming-server.flv", "camera.wmv", "phone.3gp", "tape.mts"])
def test_other_containers_are_read(name: str) -> None:
    path = CASES / name
    assert [number_of(frame) for frame in frames_of(path, 10)][:5] == [0, 10, 20, 30, 40]
    ours, expected = waveform_of(path), decoded(path)
    length = min(len(ours), len(expected)) - 400
    assert np.corrcoef(ours[:length], expected[:length])[0, 1] > 0.999


def test_audio_without_a_decoder_names_its_coding() -> None:
    with pytest.raises(Rejected, match=r"shorten.sph: no decoder fits its audio \(ulaw,embedded-shorten") as caught:
        waveform_of(CASES / "shorten.sph")
    assert caught.value.status == "media_error"
