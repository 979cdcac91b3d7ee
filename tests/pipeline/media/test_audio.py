"""A span of a file equals the same span of the whole file."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from mmpipe.core.errors import Rejected
from mmpipe.manifests.schema import MediaSpan, Region
from mmpipe.pipeline.media.readers import AudioReader

from ..conftest import tone, write_video, write_wav
from .reading import frames_of, waveform_of


def status_of(path: Path, span: MediaSpan) -> str:
    with pytest.raises(Rejected) as caught:
        waveform_of(path, span)
    assert path.name in caught.value.message
    return caught.value.status


def test_16_khz_pcm_equals_the_samples_that_the_standard_library_reads(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", tone(2.0))
    with wave.open(str(path)) as stream:
        expected = np.frombuffer(stream.readframes(10**6), np.int16).astype(np.float32) / 32768
    np.testing.assert_array_equal(waveform_of(path, MediaSpan("a.wav")), expected)


@pytest.mark.parametrize(("start", "end"), [(0.0, 0.5), (0.3337, 1.2), (1.9, 2.0), (0.00001, None)])
def test_a_span_of_pcm_is_that_part_of_the_whole(tmp_path: Path, start: float, end: float | None) -> None:
    path = write_wav(tmp_path / "a.wav", tone(2.0))
    whole = waveform_of(path, MediaSpan("a.wav"))
    last = None if end is None else round(end * 16_000)
    cut = waveform_of(path, MediaSpan("a.wav", start, end))
    np.testing.assert_array_equal(cut, whole[round(start * 16_000) : last])


def test_a_span_of_compressed_audio_is_that_part_of_the_whole_in_any_order(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", audio=tone(2.4))
    whole = waveform_of(path, MediaSpan("a.mp4"))
    with AudioReader() as reader:
        for start in (1.0, 0.2, 1.6):
            cut = reader.read(path, MediaSpan("a.mp4", start, start + 0.5)).waveform
            first = round(start * 16_000)
            np.testing.assert_array_equal(cut, whole[first : first + 8_000])


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = tone(1.0, seed=1), tone(1.0, seed=2)
    path = write_wav(tmp_path / "stereo.wav", np.stack([left, right], axis=1))
    expected = (left.astype(np.float32) + right) / 2 / 32768
    np.testing.assert_allclose(waveform_of(path, MediaSpan("s")), expected, atol=1e-7)


def test_other_rates_are_resampled_and_a_span_is_still_that_part_of_the_whole(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", tone(2.0, rate=44_100), rate=44_100)
    whole = waveform_of(path, MediaSpan("a.wav"))
    assert abs(len(whole) - 32_000) <= 1
    cut = waveform_of(path, MediaSpan("a.wav", 1.0, 1.5))
    np.testing.assert_array_equal(cut, whole[16_000:24_000])


def test_loud_compressed_audio_is_clipped_to_the_range_of_16_bits(tmp_path: Path) -> None:
    loud = (np.sign(tone(1.0).astype(np.float32)) * 32767).astype(np.int16)
    waveform = waveform_of(write_video(tmp_path / "a.mp4", audio=loud), MediaSpan("a.mp4"))
    assert waveform.min() == -1.0
    assert waveform.max() == np.float32(32767 / 32768)


def test_damaged_audio_is_rejected_with_the_status_that_fits(tmp_path: Path) -> None:
    wav = write_wav(tmp_path / "a.wav", tone(1.0))
    (tmp_path / "text.wav").write_text("not audio at all")
    (tmp_path / "empty.wav").write_bytes(b"")
    assert status_of(tmp_path / "gone.wav", MediaSpan("x")) == "media_missing"
    assert status_of(tmp_path / "text.wav", MediaSpan("x")) == "media_error"
    assert status_of(tmp_path / "empty.wav", MediaSpan("x")) == "media_error"
    assert status_of(write_video(tmp_path / "silent.avi"), MediaSpan("x")) == "no_audio"
    cut_short = tmp_path / "cut.flv"
    cut_short.write_bytes(b"FLV\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00")
    assert status_of(cut_short, MediaSpan("x")) == "media_error"
    assert status_of(wav, MediaSpan("x", 0.5, 3.0)) == "media_error"
    assert status_of(wav, MediaSpan("x", 1.1, 1.2)) == "too_short"


def test_frames_lie_on_the_files_own_grid(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", 60)
    frames = frames_of(path, 10, MediaSpan("a.avi", 0.5, 2.0))
    assert [frame.index for frame in frames] == [20, 30, 40]
    assert [frame.time_seconds for frame in frames] == pytest.approx([0.3, 0.7, 1.1])
    levels = [float(frame.image[:, :28].mean()) for frame in frames]
    assert levels == pytest.approx([80, 120, 160], abs=6)


def test_7_2_seconds_at_25_frames_a_second_give_the_papers_18_faces(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", 200)
    assert len(frames_of(path, 10, MediaSpan("a.avi", 0.0, 7.2))) == 18


def test_overlapping_spans_share_frames_bit_for_bit(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", 100)
    whole = {f.source: f.image for f in frames_of(path, 10, MediaSpan("a.avi"))}
    for span in (MediaSpan("a.avi", 0.0, 2.0), MediaSpan("a.avi", 1.0, 3.0), MediaSpan("a.avi", 0.2, 4.0)):
        for frame in frames_of(path, 10, span):
            np.testing.assert_array_equal(frame.image, whole[frame.source])


def test_a_region_is_cut_from_the_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", 30)
    span = MediaSpan("a.avi", 0.0, None, Region(0.5, 0.0, 0.5, 1.0))
    frame = frames_of(path, 20, span)[1]
    assert frame.image.shape == (48, 32, 3)
    assert float(frame.image[:, 4:].mean()) == pytest.approx(40, abs=6)


def test_a_file_without_video_is_rejected(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", tone(1.0))
    with pytest.raises(Rejected) as caught:
        frames_of(path, 10, MediaSpan("a.wav"))
    assert caught.value.status == "no_video"
