"""Decoded audio on the clock of its file: 16 kHz mono float32, each frame at its own time.

Frames that follow each other within 20 ms are one run of samples, which jitter of timestamps does not tear. Where a
frame comes later, the gap is silent; where it comes earlier, what overlaps is dropped. A change of rate, format or
layout within the stream gets a resampler of its own.
"""

from __future__ import annotations

from array import array
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from mmpipe.extractors.contract import SAMPLING_RATE_HZ
from mmpipe.pipeline.media.clock import COUNTED, MediaFile, start_seconds
from mmpipe.pipeline.media.mixing import channel_weights
from mmpipe.pipeline.media.notes import Note

__all__ = ["Waveform", "decode_all", "decode_pcm", "is_seekable_pcm"]

Samples = npt.NDArray[np.float32]

GAP_SECONDS = 0.02
"""Frames further apart than this, or overlapping by more, are placed by their times."""

RESYNCHRONISING = ("aac", "mp3")
"""Bare streams of frames, in which a reader goes on at the next frame after junk."""

JUNK_PACKETS, JUNK_SHARE = 20, 0.02
"""More damaged packets than this, whichever is more, are damage, not isolated junk."""

_RAW = ("aiff", "au", "caf", "nistsphere", "w64", "wav")
"""Containers in which a sample's place in the file is its time."""


class Waveform:
    """Runs of samples with silence between them.

    Attributes:
        ends: where the last run ends, in samples from the clock's zero.
    """

    def __init__(self) -> None:
        self.ends = 0
        self._runs: list[tuple[int, Samples]] = []
        self._parts: list[Samples] = []
        self._start = 0
        self._skip = 0
        self._chunks = array("q"), array("d"), array("d")
        """Of each converted frame with several channels: its start, the power of the mix, and that of its channels."""

    def begin(self, place: int) -> None:
        """Start a run of samples at a place, or at the end of the last one if that is later."""
        self.finish()
        self._skip = max(0, self.ends - place)
        self._start = self.ends = max(place, self.ends)

    def skip(self, samples: int) -> None:
        """Drop the next samples: they are there already."""
        self._skip += samples

    def add(self, samples: Samples, power: tuple[float, float] | None = None) -> None:
        """Append samples to the run, with the power of the mix and of the channels."""
        if power is not None:
            for column, value in zip(self._chunks, (self.ends, *power), strict=True):
                column.append(value)  # type: ignore[arg-type]
        dropped = min(self._skip, len(samples))
        self._skip -= dropped
        if dropped < len(samples):
            self._parts.append(samples[dropped:])
            self.ends += len(samples) - dropped

    def finish(self) -> None:
        """End the run."""
        if self._parts:
            self._runs.append((self._start, np.concatenate(self._parts)))
            self._parts = []

    def cut(self, first: int, last: int | None) -> Samples:
        """The samples [first, last), silent where the file has none; nothing after the last run."""
        last = self.ends if last is None else min(last, self.ends)
        if len(self._runs) == 1:
            start, samples = self._runs[0]
            if first >= start:
                return samples[first - start : max(0, last - start)]
        cut = np.zeros(max(0, last - first), np.float32)
        for start, samples in self._runs:
            begin, end = max(first, start), min(last, start + len(samples))
            if begin < end:
                cut[begin - first : end - first] = samples[begin - start : end - start]
        return cut

    def loss_decibels(self, first: int, last: int | None) -> float | None:
        """How far the mix lies below its channels in [first, last); None for one channel or silence."""
        if not self._chunks[0]:
            return None
        starts = np.frombuffer(self._chunks[0], np.int64)
        begin = max(0, int(np.searchsorted(starts, first, "right")) - 1)
        end = len(starts) if last is None else int(np.searchsorted(starts, last))
        mix, channels = (sum(column[begin:end]) for column in self._chunks[1:])
        return None if channels <= 0 else float(10 * np.log10(channels / max(mix, 1e-12 * channels)))


class _Mixer:
    """Frames to 16 kHz mono, appended to a waveform."""

    def __init__(self, waveform: Waveform) -> None:
        self._waveform = waveform
        self._form: tuple[object, ...] | None = None
        self._resampler: Any = None
        self._weights: Samples | None = None

    def add(self, frame: Any) -> None:
        """Append one decoded frame."""
        form = (frame.sample_rate, frame.format.name, frame.layout.name, frame.layout.nb_channels)
        if form != self._form:
            self.flush()
            # Packed, since planar frames of more than eight channels cannot be taken over as an array.
            self._resampler = av.AudioResampler(format="flt", layout=frame.layout, rate=SAMPLING_RATE_HZ)
            self._form, self._weights = form, channel_weights(frame.layout)
        for converted in self._resampler.resample(frame):
            self._append(converted)

    def flush(self) -> None:
        """Append what the resampler holds back."""
        if self._resampler is not None:
            for converted in self._resampler.resample(None):
                self._append(converted)
        self._resampler = self._form = None

    def _append(self, frame: Any) -> None:
        count = frame.layout.nb_channels
        samples: Samples = frame.to_ndarray().reshape(-1, count)
        if count == 1:
            self._waveform.add(np.ascontiguousarray(samples[:, 0]))
            return
        mix = samples.mean(axis=1) if self._weights is None else samples @ self._weights
        flat = samples.reshape(-1)
        self._waveform.add(
            np.asarray(mix, np.float32), (float(np.dot(mix, mix)), float(np.dot(flat, flat)) / count)
        )


def is_seekable_pcm(file: MediaFile) -> bool:
    """Whether a sample can be sought: PCM of our rate in a container where its place is its time."""
    stream, context = file.stream, file.stream.codec_context
    exact = stream.time_base == Fraction(1, SAMPLING_RATE_HZ) and file.container.format.name in _RAW
    return bool(str(context.name).startswith("pcm_") and context.sample_rate == SAMPLING_RATE_HZ and exact)


def decode_pcm(file: MediaFile, first: int, last: int | None) -> Waveform:
    """The samples around [first, last) of a file that can be sought."""
    stream = file.stream
    if first > 0:
        file.container.seek(int(first / SAMPLING_RATE_HZ / stream.time_base), stream=stream)
    waveform = Waveform()
    mixer = _Mixer(waveform)
    for count, frame in enumerate(file.container.decode(stream)):
        if count == 0:
            waveform.begin(round((frame.time or 0.0) * SAMPLING_RATE_HZ))
        mixer.add(frame)
        if last is not None and waveform.ends >= last:
            break
    waveform.finish()
    return waveform


def decode_all(file: MediaFile) -> Waveform:
    """The whole audio of a file."""
    waveform, expected = Waveform(), 0.0
    mixer, started = _Mixer(waveform), False
    has_times = file.container.format.name not in COUNTED
    for frame in _frames(file):
        start = frame.time - file.zero if frame.time is not None and has_times else None
        if not started:
            expected = max(0.0, (start_seconds(file.stream) or 0.0) - file.zero) if start is None else start
            waveform.begin(round(expected * SAMPLING_RATE_HZ))
            started = True
        elif start is not None and start - expected > GAP_SECONDS:
            mixer.flush()
            waveform.begin(round(start * SAMPLING_RATE_HZ))
            expected = start
        elif start is not None and expected - start > GAP_SECONDS:
            waveform.skip(round((expected - start) * SAMPLING_RATE_HZ))
            expected = start
        mixer.add(frame)
        expected += frame.samples / frame.sample_rate
    mixer.flush()
    waveform.finish()
    return waveform


def _frames(file: MediaFile) -> Any:
    """Decoded frames in order; isolated junk of a bare stream is skipped and noted."""
    resumes = file.container.format.name in RESYNCHRONISING
    packets, junk, reached = 0, 0, 0.0
    first_junk: float | None = None
    for packet in file.packets():
        packets += 1
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            junk += 1
            first_junk = reached if first_junk is None else first_junk
            if not resumes or junk > max(JUNK_PACKETS, JUNK_SHARE * packets):
                raise
            continue
        for frame in frames:
            reached += frame.samples / frame.sample_rate
            yield frame
    if first_junk is not None:
        message = f"damaged bytes at {first_junk:.2f} s were skipped ({junk} of {packets} packets)"
        file.notes.append(Note("junk_skipped", file.path.name, message))
