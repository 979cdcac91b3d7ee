"""Channels, scales, sizes and ends of audio files that their headers do not tell as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmpipe.core.errors import Rejected
from mmpipe.manifests.schema import MediaSpan
from mmpipe.pipeline.media.notes import Note

from ..broken import wav_bytes
from ..conftest import tone, write_video, write_wav
from .reading import categories, ffmpeg, waveform_of


def speech(seconds: float = 1.0) -> np.ndarray:
    return tone(seconds)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("channels", [7, 8, 9, 16, 24])
def test_any_number_of_channels_is_averaged(tmp_path: Path, channels: int) -> None:
    path = write_wav(tmp_path / "a.wav", np.stack([speech()] * channels, axis=1))
    np.testing.assert_allclose(waveform_of(path), speech().astype(np.float32) / 32768, atol=1e-6)


def test_channels_that_cancel_each_other_are_reported(tmp_path: Path) -> None:
    notes: list[Note] = []
    path = write_wav(tmp_path / "a.wav", np.stack([speech(), -speech()], axis=1))
    assert np.abs(waveform_of(path, notes=notes)).max() < 1e-4
    assert categories(notes) == {"channels_cancel"}


def test_one_silent_channel_is_not_reported(tmp_path: Path) -> None:
    notes: list[Note] = []
    path = write_wav(tmp_path / "a.wav", np.stack([speech(), 0 * speech()], axis=1))
    np.testing.assert_allclose(waveform_of(path, notes=notes), speech().astype(np.float32) / 65536, atol=1e-6)
    assert not notes


@pytest.mark.parametrize("ending", ["wav", "flac", "ac3"])
def test_5_1_gets_the_standard_downmix_of_ffmpeg(tmp_path: Path, ending: str) -> None:
    path, mixed = tmp_path / f"a.{ending}", tmp_path / "mixed.wav"
    voice = write_wav(tmp_path / "voice.wav", tone(1.0, 48_000), 48_000)
    noise = write_wav(tmp_path / "noise.wav", tone(1.0, 48_000, seed=3), 48_000)
    join = "[0][1]amerge=inputs=2,pan=5.1|FC=c0|FL=0.3*c1|FR=0.2*c1|LFE=0.5*c1|BL=0.1*c1|BR=0.1*c1"
    ffmpeg("-i", voice, "-i", noise, "-filter_complex", join, path)
    ffmpeg("-i", path, "-ac", 1, "-ar", 16_000, "-sample_fmt", "s16", mixed)
    ours, theirs = waveform_of(path), waveform_of(mixed)
    length = min(len(ours), len(theirs))
    assert np.corrcoef(ours[:length], theirs[:length])[0, 1] > 0.998
    if ending != "ac3":  # FFmpeg's decoder mixes it by the weights of the file
        np.testing.assert_allclose(ours[:length], theirs[:length], atol=2e-3)


def test_floats_in_the_scale_of_integers_are_reported(tmp_path: Path) -> None:
    notes: list[Note] = []
    path = write(tmp_path / "a.wav", wav_bytes(speech().astype("<f4").tobytes(), code=3, bits=32))
    assert len(waveform_of(path, notes=notes)) == 16_000
    assert categories(notes) == {"samples_clipped"}
    assert "16-bit integers" in str(notes[0])


@pytest.mark.parametrize("claim", [0, 0xFFFFFFDA, 0x7FFFF000, 0x80000000])
def test_sizes_that_were_never_filled_in_do_not_matter(tmp_path: Path, claim: int) -> None:
    path = write(tmp_path / "a.wav", wav_bytes(speech().tobytes(), claim=claim))
    np.testing.assert_array_equal(waveform_of(path), speech().astype(np.float32) / 32768)


def test_a_whole_data_chunk_is_complete_whatever_the_file_claims(tmp_path: Path) -> None:
    data = wav_bytes(speech().tobytes())
    path = write(tmp_path / "a.wav", data[:4] + (100_000_000).to_bytes(4, "little") + data[8:])
    assert len(waveform_of(path)) == 16_000


@pytest.mark.parametrize("ending", ["wav", "aiff", "au", "mp3", "mka", "flv", "wma", "m4a"])
def test_a_file_that_was_cut_off_is_reported(tmp_path: Path, ending: str) -> None:
    wav = write_wav(tmp_path / "whole.wav", tone(6.0, 44_100), 44_100)
    whole, half = tmp_path / f"a.{ending}", tmp_path / f"half.{ending}"
    options = ["-movflags", "faststart"] if ending == "m4a" else ["-b:a", "128k"] if ending in ("mp3", "flv") else []
    ffmpeg("-i", wav, *options, whole)
    assert len(waveform_of(whole)) / 16_000 == pytest.approx(6.0, abs=0.15)
    data = whole.read_bytes()
    half.write_bytes(data[: len(data) // 2])
    with pytest.raises(Rejected, match=f"half.{ending}") as caught:
        waveform_of(half)
    assert caught.value.status == "media_error"
    if ending not in ("m4a", "wma"):  # their last packet is damaged
        assert len(waveform_of(half, MediaSpan("x", 0.5, 1.5))) == 16_000


def test_matroska_without_tags_is_compared_with_the_length_of_the_file(tmp_path: Path) -> None:
    both = write_video(tmp_path / "a.mp4", 150, audio=tone(6.0))
    ffmpeg("-i", both, "-c", "copy", tmp_path / "a.mkv")
    data = (tmp_path / "a.mkv").read_bytes().replace(b"DURATION", b"XURATION")
    assert len(waveform_of(write(tmp_path / "whole.mkv", data))) / 16_000 == pytest.approx(6.0, abs=0.1)
    with pytest.raises(Rejected, match=r"by the file's header at 6\.\d+ s"):
        waveform_of(write(tmp_path / "half.mkv", data[: len(data) // 2]))


def test_junk_after_an_mp3_and_a_tag_before_it_do_not_matter(tmp_path: Path) -> None:
    wav = write_wav(tmp_path / "a.wav", tone(2.0, 44_100), 44_100)
    ffmpeg("-i", wav, "-metadata", "title=" + "x" * 3000, tmp_path / "a.mp3")
    data = (tmp_path / "a.mp3").read_bytes()
    junk = np.random.default_rng(0).bytes(3000)
    whole = waveform_of(tmp_path / "a.mp3")
    shared = len(whole) - 100
    np.testing.assert_array_equal(waveform_of(write(tmp_path / "b.mp3", data + junk))[:shared], whole[:shared])


def test_an_mp3_that_is_mostly_junk_is_damaged(tmp_path: Path) -> None:
    wav = write_wav(tmp_path / "a.wav", tone(20.0, 44_100), 44_100)
    ffmpeg("-i", wav, tmp_path / "a.mp3")
    data, generator = bytearray((tmp_path / "a.mp3").read_bytes()), np.random.default_rng(0)
    for place in range(2000, len(data) - 600, 1200):
        data[place : place + 500] = generator.bytes(500)
    with pytest.raises(Rejected) as caught:
        waveform_of(write(tmp_path / "b.mp3", bytes(data)))
    assert caught.value.status == "media_error"
