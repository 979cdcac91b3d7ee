"""Odd videos show the frame that a player shows, and a span is that part of the whole, however it is reached."""

from __future__ import annotations

from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

from mmpipe.core.errors import Rejected
from mmpipe.manifests.schema import MediaSpan
from mmpipe.pipeline.media.readers import VideoReader
from mmpipe.pipeline.media.video import VideoFile

from ..broken import film, scrambled
from ..conftest import tone, write_video, write_wav
from .reading import ffmpeg, frames_of, waveform_of


def write_frames(path: Path, images: list[npt.NDArray[np.uint8]], times: list[int], rate: int = 100) -> Path:
    """A lossless video whose frames come up at `times` / `rate` seconds."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=Fraction(25))
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt, stream.codec_context.time_base = "bgr0", Fraction(1, rate)
        for image, time in zip(images, times, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="bgr0")
            frame.pts, frame.time_base = time, Fraction(1, rate)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return path


def gray(level: int, height: int = 8, width: int = 8) -> npt.NDArray[np.uint8]:
    return np.full((height, width, 3), level, np.uint8)


def levels(path: Path, every: int, span: MediaSpan) -> dict[int, int]:
    return {frame.index: int(frame.image[0, 0, 0]) for frame in frames_of(path, every, span)}


def test_where_the_rate_varies_a_place_shows_the_last_frame_that_has_come_up(tmp_path: Path) -> None:
    times = [0, 4, 8, 60, 100, 104, 108, 112, 116, 120, 196]  # hundredths of a second, with two long pauses
    path = write_frames(tmp_path / "a.mkv", [gray(10 * n) for n in range(len(times))], times)
    with closing(VideoFile(path)) as video:
        rate = video.rate
    shown = levels(path, 1, MediaSpan("a.mkv"))
    for place, level in shown.items():
        came_up = [n for n, time in enumerate(times) if round(time / 100 * rate) <= place]
        exact = [n for n in came_up if round(times[n] / 100 * rate) == place]
        assert level == 10 * (exact[0] if exact else came_up[-1])
    assert list(shown) == list(range(max(shown) + 1))
    for start in (0.3, 0.7, 1.05):
        assert levels(path, 3, MediaSpan("a.mkv", start, 1.5)).items() <= shown.items()


def test_rotated_videos_stand_upright_as_ffmpegs_tool_shows_them(tmp_path: Path) -> None:
    image = gray(0, 32, 48)
    image[:8, :8] = 250
    flat = write_frames(tmp_path / "flat.mkv", [image] * 3, [0, 4, 8])
    for degrees in (90, 180, 270):
        turned, raw = tmp_path / f"{degrees}.mov", tmp_path / f"{degrees}.raw"
        ffmpeg("-display_rotation", degrees, "-i", flat, "-c", "copy", turned)
        ffmpeg("-i", turned, "-frames:v", 1, "-pix_fmt", "rgb24", "-f", "rawvideo", raw)
        shown = frames_of(turned, 1, MediaSpan("x"))[0].image
        expected = np.fromfile(raw, np.uint8).reshape(shown.shape)
        np.testing.assert_array_equal(shown, expected)


def test_of_an_interlaced_frame_the_first_field_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mpeg2video", rate=25, options={"flags": "+ildct+ilme", "qscale": "1"})
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 64, 48, "yuv420p", 4_000_000
        image = gray(200, 48, 64)
        image[1::2] = 40
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
        frame.pts = 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).interlaced_frame
    shown = frames_of(path, 1, MediaSpan("a.mkv"))[0].image
    assert shown.shape == (48, 64, 3)
    assert np.abs(shown.astype(int) - 200).max() < 25


@pytest.mark.parametrize(("height", "width"), [(47, 63), (9, 17), (1, 1), (2, 3)])
def test_odd_sizes_are_read_whole(tmp_path: Path, height: int, width: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    path = write_frames(tmp_path / "a.mkv", [image], [0])
    np.testing.assert_array_equal(frames_of(path, 1, MediaSpan("a"))[0].image, image)


@pytest.mark.parametrize("ending", ["avi", "mp4", "mkv", "mpg", "flv", "ts"])
def test_spans_in_any_order_show_what_the_whole_shows(tmp_path: Path, ending: str) -> None:
    path = write_video(
        tmp_path / f"a.{ending}",
        100,
        codec="mpeg2video" if ending in ("mpg", "ts") else "flv1" if ending == "flv" else "mpeg4",
    )
    whole = {frame.index: frame.image for frame in frames_of(path, 7, MediaSpan("a"))}
    assert list(whole) == list(range(0, 100, 7))
    spans = [(0.0, 1.0), (0.9, 1.7), (2.8, 3.9), (0.4, 0.5), (1.0, 4.0), (3.0, None)]
    with VideoReader(7) as together:
        for start, end in spans:
            span = MediaSpan("a", start, end)
            places = [p for p in whole if start * 25 - 1e-6 <= p < (100 if end is None else end * 25)]
            for frames in (list(together.frames(path, span)), frames_of(path, 7, span)):
                assert [frame.index for frame in frames] == places
                assert all(np.array_equal(frame.image, whole[frame.index]) for frame in frames)


def test_the_end_of_a_span_is_rounded_like_its_start(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", 60)
    with VideoReader(1) as reader:
        for tenths in range(1, 24):
            end = 0.1 * tenths  # 0.1 * 3 is above 0.3
            assert len(list(reader.frames(path, MediaSpan("a", 0.0, end)))) == -(-25 * tenths // 10)


def test_near_spans_of_a_video_are_decoded_in_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, opened = write_video(tmp_path / "a.avi", 200), []
    plain = av.open

    def counted(*args: Any, **options: Any) -> Any:
        opened.append(path)
        return plain(*args, **options)

    monkeypatch.setattr("mmpipe.pipeline.media.containers.av.open", counted)
    with VideoReader(10) as reader:
        for start in range(6):
            list(reader.frames(path, MediaSpan("a.avi", start * 1.0, start + 1.4)))
    assert len(opened) == 1


def test_damage_between_two_spans_costs_neither(tmp_path: Path) -> None:
    data = film("mp4", sound=False, frames=100)
    path = tmp_path / "a.mp4"
    path.write_bytes(scrambled(data, len(data) // 2, 60))
    whole = {frame.index: frame.image for frame in frames_of(_write(tmp_path / "b.mp4", data), 5, MediaSpan("b"))}
    with VideoReader(5) as reader:
        frames = [f for start, end in ((0.0, 0.9), (3.3, 3.9)) for f in reader.frames(path, MediaSpan("a", start, end))]
    for frame in frames:
        np.testing.assert_array_equal(frame.image, whole[frame.index])


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_a_video_that_ends_before_the_utterance_is_not_a_whole_utterance(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", 50)
    assert len(frames_of(path, 10, MediaSpan("a.avi", 1.0, 2.9))) == 2
    with pytest.raises(Rejected, match=r"the video ends at 2.00 s, the utterance at 3.10 s"):
        frames_of(path, 10, MediaSpan("a.avi", 1.0, 3.1))


def test_pcm_in_a_container_that_counts_milliseconds_is_still_cut_at_the_sample(tmp_path: Path) -> None:
    wav = write_wav(tmp_path / "a.wav", tone(3.0))
    ffmpeg("-i", wav, "-c", "copy", tmp_path / "a.mkv")
    for start, end in ((0.33337, 1.2), (1.90001, 2.5)):
        one, other = (waveform_of(tmp_path / f"a.{e}", MediaSpan("a", start, end)) for e in ("wav", "mkv"))
        np.testing.assert_array_equal(one, other)
