"""Decoding in process with PyAV: audio to 16 kHz mono float32, every n-th video frame to RGB.

A span of a file equals the same span of the whole file, bit for bit. So 16 kHz PCM is sought, while compressed or
resampled audio is decoded from its start (a decoder entered in the middle differs by up to 0.05), once for the
successive spans of a file. Frames lie on the file's own grid: overlapping spans share frames. Decoders use one
thread; the engine runs several processes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from mmpipe.core.errors import Rejected
from mmpipe.extractors.contract import SAMPLING_RATE_HZ, Audio, Frame
from mmpipe.manifests.schema import MediaSpan, Region
from mmpipe.pipeline.media.containers import cut_off, declared_seconds, open_media
from mmpipe.pipeline.media.video import Film

__all__ = ["END_TOLERANCE_SECONDS", "VIDEO_END_TOLERANCE_SECONDS", "AudioReader", "VideoReader"]

END_TOLERANCE_SECONDS = 0.25
"""A span may end this much after its audio does: containers round their durations."""

VIDEO_END_TOLERANCE_SECONDS = 1.0
"""The same for video: recorders stop a camera some frames before the microphones."""

_DECLARED_TOLERANCE = 0.02
"""Share of the duration in a file's header that may be missing at its end, if it is more than 0.25 s."""

_LOUDEST = 32767 / 32768
"""Decoders and resamplers overshoot full scale, and openSMILE's 16 bits would wrap around: waveforms are clipped to
[-1, _LOUDEST], the range of 16 bits."""

_KEPT_FRAMES = 64
_KEPT_BYTES = 1 << 26
"""Sampled frames of one file kept for the next, overlapping utterance: so many, and no more than so large."""


def _is_cut_off(declared: float | None, ends: float) -> bool:
    return declared is not None and declared - ends > max(END_TOLERANCE_SECONDS, _DECLARED_TOLERANCE * declared)


class AudioReader:
    """Reads spans of audio; successive spans of a file that cannot be sought share one decoding."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._whole: npt.NDArray[np.float32] = np.empty(0, np.float32)
        self._declared: float | None = None

    def read(self, path: Path, span: MediaSpan) -> Audio:
        """The span as a waveform float32 [T], 16 kHz, the mean of the file's channels.

        Raises:
            Rejected: the file is missing (`media_missing`), damaged or ends before the span does, or before its own
                header says (`media_error`), has no audio stream (`no_audio`), or the span holds no sample
                (`too_short`).
        """
        first = round(span.start_seconds * SAMPLING_RATE_HZ)
        last = None if span.end_seconds is None else round(span.end_seconds * SAMPLING_RATE_HZ)
        if path == self._path:
            return self._cut(path, self._whole, 0, first, last)
        with open_media(path) as container:
            if not container.streams.audio:
                raise Rejected("no_audio", f"{path.name}: the file has no audio stream")
            stream = container.streams.audio[0]
            stream.codec_context.thread_count = 1
            self._declared = declared_seconds(container, stream, path)
            if _is_seekable(stream):
                self._path = None
                waveform, offset = _decode_pcm(container, stream, first, last)
                return self._cut(path, waveform, offset, first, last)
            self._path, self._whole = None, np.empty(0, np.float32)  # the old file makes room first
            self._whole = _decode_whole(container, stream)
            self._path = path
        return self._cut(path, self._whole, 0, first, last)

    def _cut(self, path: Path, waveform: npt.NDArray[np.float32], offset: int, first: int, last: int | None) -> Audio:
        ends = (offset + len(waveform)) / SAMPLING_RATE_HZ
        if last is not None and last / SAMPLING_RATE_HZ - ends > END_TOLERANCE_SECONDS:
            raise cut_off(f"{path.name}: the audio", ends, last / SAMPLING_RATE_HZ, "the utterance")
        if last is None and _is_cut_off(self._declared, ends):
            raise cut_off(f"{path.name}: the audio", ends, self._declared or 0.0, "by the file's header")
        cut = waveform[max(0, first - offset) : None if last is None else max(0, last - offset)]
        if len(cut) == 0:
            raise Rejected("too_short", f"{path.name}: no audio sample lies in the utterance's span")
        if not np.isfinite(cut).all():
            raise Rejected("media_error", f"{path.name}: samples that are no numbers (NaN or infinity)")
        return Audio(np.clip(cut, -1.0, _LOUDEST))


def _is_seekable(stream: Any) -> bool:
    """Whether a sample can be sought: PCM of our rate in a container that counts samples (Matroska counts ms)."""
    context = stream.codec_context
    exact = stream.time_base == Fraction(1, SAMPLING_RATE_HZ)
    return bool(str(context.name).startswith("pcm_") and context.sample_rate == SAMPLING_RATE_HZ and exact)


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
    """Reads sampled frames of spans: successive spans of a file are decoded in one pass, and share their frames."""

    def __init__(self, every: int) -> None:
        self.every = every
        self._film: Film | None = None
        self._kept: OrderedDict[int, npt.NDArray[np.uint8]] = OrderedDict()

    def frames(self, path: Path, span: MediaSpan) -> Iterator[Frame]:
        """Every `every`-th frame of the file's numbering that is shown within the span.

        Raises:
            Rejected: while iterating: the file is missing, damaged, has no video stream, or ends before the span does.
        """
        film = self._film_of(path)
        first = -(-round(span.start_seconds * film.rate, 6) // self.every) * self.every
        last = float("inf") if span.end_seconds is None else span.end_seconds * film.rate
        wanted = int(first)
        while wanted < last and not film.ended_before(wanted):
            image = self._kept[wanted] if wanted in self._kept else film.shown_at(wanted)
            if image is not None:
                self._keep(wanted, image)
                time_seconds = round(wanted / film.rate - span.start_seconds, 6)
                yield Frame(_cut_region(image, span.region), wanted, time_seconds, f"{path}:{wanted}:{span.region}")
            wanted += self.every
        self._check_end(path, film, span)

    def _film_of(self, path: Path) -> Film:
        if self._film is None or self._film.path != path:
            self._kept.clear()
            if self._film is not None:
                self._film.close()
                self._film = None
            self._film = Film(path)
        return self._film

    def _keep(self, number: int, image: npt.NDArray[np.uint8]) -> None:
        self._kept[number] = image
        while len(self._kept) > _KEPT_FRAMES or (len(self._kept) > 1 and len(self._kept) * image.nbytes > _KEPT_BYTES):
            self._kept.popitem(last=False)

    @staticmethod
    def _check_end(path: Path, film: Film, span: MediaSpan) -> None:
        ends = film.end_seconds
        if ends is None:
            return
        if span.end_seconds is not None and span.end_seconds - ends > VIDEO_END_TOLERANCE_SECONDS:
            raise cut_off(f"{path.name}: the video", ends, span.end_seconds, "the utterance")
        if span.end_seconds is None and _is_cut_off(film.declared_seconds, ends):
            raise cut_off(f"{path.name}: the video", ends, film.declared_seconds or 0.0, "by the file's header")


def _cut_region(image: npt.NDArray[np.uint8], region: Region | None) -> npt.NDArray[np.uint8]:
    if region is None:
        return image
    height, width = image.shape[:2]
    top, left = round(region.y * height), round(region.x * width)
    return image[top : round((region.y + region.height) * height), left : round((region.x + region.width) * width)]
