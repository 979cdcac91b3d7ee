"""Decoding in process with PyAV: audio to 16 kHz mono float32, every n-th video frame to RGB.

A span of a file equals the same span of the whole file, bit for bit. So 16 kHz PCM is sought, while compressed or
resampled audio is decoded from its start (a decoder entered in the middle differs by up to 0.05), once for the
successive spans of a file. Frames lie on the file's own grid: overlapping spans share frames. Decoders use one
thread; the engine runs several processes.
"""

from __future__ import annotations

import importlib.metadata
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from mmpipe.extractors.contract import SAMPLING_RATE_HZ, Audio, Frame
from mmpipe.manifests.errors import Rejected
from mmpipe.manifests.schema import MediaSpan, Region

__all__ = ["MEDIA_REVISION", "AudioReader", "VideoReader", "media_versions"]

MEDIA_REVISION = 1
"""Raised whenever this module changes the samples or frames of a span; it enters the shards' fingerprints."""

END_TOLERANCE_SECONDS = 0.25
"""A span may end this much after its audio does: containers round their durations."""

LOUDEST = 32767 / 32768
"""Decoders and resamplers overshoot full scale, and openSMILE's 16 bits would wrap around: waveforms are clipped to
[-1, LOUDEST], the range of 16 bits."""

SHARED_FRAMES = 64
"""Sampled frames of one file kept for the next, overlapping utterance."""


def media_versions() -> dict[str, str]:
    """The versions that decide decoded values."""
    return {"av": importlib.metadata.version("av"), "mmpipe.media": str(MEDIA_REVISION)}


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """An open container; every failure of FFmpeg becomes a `Rejected` that names the file."""
    if not path.exists():
        raise Rejected("media_missing", f"{path.name}: the file does not exist")
    try:
        # A bare path could be read as an FFmpeg protocol string; a file object cannot.
        with path.open("rb") as stream, av.open(stream, metadata_errors="replace") as container:
            if not (container.streams.audio or container.streams.video):
                raise Rejected("media_error", f"{path.name}: holds neither sound nor picture; is the file complete?")
            yield container
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Rejected("media_error", f"{path.name}: cannot be decoded ({reason}); is the file complete?") from error


class AudioReader:
    """Reads spans of audio; successive spans of a file that cannot be sought share one decoding."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._whole: npt.NDArray[np.float32] = np.empty(0, np.float32)

    def read(self, path: Path, span: MediaSpan) -> Audio:
        """The span as a waveform float32 [T], 16 kHz, the mean of the file's channels.

        Raises:
            Rejected: the file is missing (`media_missing`), damaged or ends before the span does (`media_error`), has
                no audio stream (`no_audio`), or the span holds no sample (`too_short`).
        """
        first = round(span.start_seconds * SAMPLING_RATE_HZ)
        last = None if span.end_seconds is None else round(span.end_seconds * SAMPLING_RATE_HZ)
        if path == self._path:
            return self._cut(path, self._whole, 0, first, last)
        with _open(path) as container:
            if not container.streams.audio:
                raise Rejected("no_audio", f"{path.name}: the file has no audio stream")
            stream = container.streams.audio[0]
            if _is_seekable(stream):
                waveform, offset = _decode_pcm(container, stream, first, last)
                return self._cut(path, waveform, offset, first, last)
            self._whole, self._path = _decode_whole(container, stream), path
        return self._cut(path, self._whole, 0, first, last)

    @staticmethod
    def _cut(path: Path, waveform: npt.NDArray[np.float32], offset: int, first: int, last: int | None) -> Audio:
        end = offset + len(waveform)
        if last is not None and last - end > END_TOLERANCE_SECONDS * SAMPLING_RATE_HZ:
            raise Rejected(
                "media_error",
                f"{path.name}: the audio ends at {end / SAMPLING_RATE_HZ:.2f} s, the utterance at "
                f"{last / SAMPLING_RATE_HZ:.2f} s; is the file complete?",
            )
        cut = waveform[max(0, first - offset) : None if last is None else max(0, last - offset)]
        if len(cut) == 0:
            raise Rejected("too_short", f"{path.name}: no audio sample lies in the utterance's span")
        return Audio(np.clip(cut, -1.0, LOUDEST))


def _is_seekable(stream: Any) -> bool:
    return str(stream.codec_context.name).startswith("pcm_") and stream.codec_context.sample_rate == SAMPLING_RATE_HZ


def _mono(frame: Any) -> npt.NDArray[np.float32]:
    """One decoded frame of planar float as the mean of its channels."""
    channels: npt.NDArray[np.float32] = frame.to_ndarray()
    return np.asarray(channels[0] if len(channels) == 1 else channels.mean(axis=0), np.float32)


def _planar_float(rate: int) -> Any:
    return av.AudioResampler(format="fltp", rate=rate)


def _decode_pcm(container: Any, stream: Any, first: int, last: int | None) -> tuple[npt.NDArray[np.float32], int]:
    """Samples around [first, last) and the number of the first sample decoded."""
    if first > 0:
        container.seek(int(first / SAMPLING_RATE_HZ / stream.time_base), stream=stream)
    parts: list[npt.NDArray[np.float32]] = []
    resampler, offset, got = _planar_float(SAMPLING_RATE_HZ), 0, 0
    for frame in container.decode(stream):
        if not parts:
            offset = round((frame.time or 0.0) * SAMPLING_RATE_HZ)
        for converted in resampler.resample(frame):
            parts.append(_mono(converted))
            got += len(parts[-1])
        if last is not None and offset + got >= last:
            break
    return np.concatenate(parts) if parts else np.empty(0, np.float32), offset


def _decode_whole(container: Any, stream: Any) -> npt.NDArray[np.float32]:
    resampler, parts = _planar_float(SAMPLING_RATE_HZ), []
    for frame in container.decode(stream):
        parts += [_mono(converted) for converted in resampler.resample(frame)]
    parts += [_mono(converted) for converted in resampler.resample(None)]
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


class VideoReader:
    """Reads sampled frames of spans, and keeps the last ones for the next, overlapping span of the same file."""

    def __init__(self, every: int) -> None:
        self.every = every
        self._path: Path | None = None
        self._kept: OrderedDict[int, npt.NDArray[np.uint8]] = OrderedDict()

    def frames(self, path: Path, span: MediaSpan) -> Iterator[Frame]:
        """Every `every`-th frame of the file's numbering that is shown within the span.

        Raises:
            Rejected: while iterating: the file is missing, damaged, or has no video stream.
        """
        if path != self._path:
            self._path = path
            self._kept.clear()
        with _open(path) as container:
            if not container.streams.video:
                raise Rejected("no_video", f"{path.name}: the file has no video stream")
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            rate = float(stream.average_rate or stream.guessed_rate or 25)
            for index, image in self._sampled(container, stream, rate, span):
                cut = _cut_region(image, span.region)
                source = f"{path}:{index}:{span.region}"
                yield Frame(cut, index, round(index / rate - span.start_seconds, 6), source)

    def _sampled(
        self, container: Any, stream: Any, rate: float, span: MediaSpan
    ) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
        first = -(-round(span.start_seconds * rate, 6) // self.every) * self.every
        wanted, last = int(first), float("inf") if span.end_seconds is None else span.end_seconds * rate
        while wanted < last and wanted in self._kept:
            yield wanted, self._kept[wanted]
            wanted += self.every
        if wanted >= last:
            return
        for number, frame in _numbered(container, stream, rate, wanted):
            if number < wanted:
                continue
            while wanted < number:  # frames that the file lacks are passed over
                wanted += self.every
            if wanted >= last:
                return
            if number == wanted:
                image = _rotated(frame)
                self._kept[wanted] = image
                if len(self._kept) > SHARED_FRAMES:
                    self._kept.popitem(last=False)
                yield wanted, image
                wanted += self.every


def _numbered(container: Any, stream: Any, rate: float, wanted: int) -> Iterator[tuple[int, Any]]:
    """Decoded frames with their number in the file, from the keyframe at or before frame `wanted`."""
    zero = float((stream.start_time or 0) * stream.time_base)
    if wanted > 0:
        container.seek(int((wanted / rate + zero) / stream.time_base), stream=stream, backward=True)
    for frame in container.decode(stream):
        if frame.time is not None:
            yield round((frame.time - zero) * rate), frame


def _rotated(frame: Any) -> npt.NDArray[np.uint8]:
    """The frame as RGB uint8 [H, W, 3], upright."""
    image: npt.NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    turns = round(getattr(frame, "rotation", 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _cut_region(image: npt.NDArray[np.uint8], region: Region | None) -> npt.NDArray[np.uint8]:
    if region is None:
        return image
    height, width = image.shape[:2]
    top, left = round(region.y * height), round(region.x * width)
    return image[top : round((region.y + region.height) * height), left : round((region.x + region.width) * width)]
