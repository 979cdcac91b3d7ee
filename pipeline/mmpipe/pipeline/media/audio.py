"""Decoded audio on the clock of its file: 16 kHz mono float32, each frame at its own time.

Frames that follow each other within 20 ms are one run of samples, which jitter of timestamps does not tear. Where a
frame comes later, the gap is silent; where it comes earlier, what overlaps is dropped. A change of rate, format or
layout within the stream gets a resampler of its own.
"""

from __future__ import annotations

import os
import tempfile
import weakref
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

__all__ = ["Samples", "Waveform", "decode_all", "decode_pcm", "is_seekable_pcm"]

Samples = npt.NDArray[np.float32]

_GAP_SECONDS = 0.02
"""Frames further apart than this, or overlapping by more, are placed by their times."""

_MIXED_SAMPLES = 1 << 17
"""Samples of all channels that are mixed at once."""

_PIECE_SAMPLES = 1 << 21
"""A run is held in pieces of about this many samples: two minutes."""

_MEMORY_SAMPLES = 1 << 24
"""Samples of a file that are held in memory; those of a longer one are in a temporary file: 17 minutes."""

_POWER_SAMPLES = SAMPLING_RATE_HZ // 10

_RESYNCHRONISING = ("aac", "mp3")
"""Bare streams of frames, in which a reader goes on at the next frame after junk."""

_JUNK_PACKETS, _JUNK_SHARE = 20, 0.02
"""More damaged packets than this, whichever is more, are damage, not isolated junk."""

_RAW = ("aiff", "au", "caf", "nistsphere", "w64", "wav")
"""Containers in which a sample's place in the file is its time."""


class _Piece:
    """Samples of a run that follow one another, in memory or in a file.

    Attributes:
        start: their place, from the clock's zero.
        end: the place after the last one.
    """

    def __init__(self, start: int, samples: Samples) -> None:
        self.start, self.end = start, start + len(samples)
        self.samples: Samples | None = samples
        self._file: Any = None
        self._offset = 0

    def move(self, file: Any) -> None:
        """Move the samples to the end of a file."""
        if self.samples is not None:
            self._file, self._offset = file, file.seek(0, os.SEEK_END)
            file.write(self.samples.data)
            self.samples = None

    def read(self, first: int, last: int) -> Samples:
        """The samples at the places [first, last), which the piece has."""
        if self.samples is not None:
            return self.samples[first - self.start : last - self.start]
        self._file.seek(self._offset + 4 * (first - self.start))
        return np.frombuffer(self._file.read(4 * (last - first)), np.float32)


class Waveform:
    """Runs of samples with silence between them; those of a long file are in a temporary file.

    Attributes:
        ends: where the last run ends, in samples from the clock's zero.
    """

    def __init__(self) -> None:
        self.ends = 0
        self._pieces: list[_Piece] = []
        self._parts: list[Samples] = []
        self._start = 0
        self._file: Any = None
        self._skip = 0
        self._powers = array("d")
        """Of each tenth of a second with several channels: its start, the energy of the mix, and that of a channel."""

    def begin(self, place: int) -> None:
        """Start a run of samples at a place; what lies before the end of the last run is dropped."""
        self.finish()
        self._skip = max(0, self.ends - place)
        self._start = self.ends = max(place, self.ends)

    def add(self, samples: Samples, packed: Samples | None = None) -> None:
        """Append samples to the run; `packed` [T, C] has the channels of which they are the mix."""
        if packed is not None:
            for start in range(0, len(samples), _POWER_SAMPLES):
                mix = samples[start : start + _POWER_SAMPLES]
                channels = packed[start : start + _POWER_SAMPLES].reshape(-1)
                self._powers.append(self.ends + start - self._skip)
                self._powers.append(float(np.dot(mix, mix)))
                self._powers.append(float(np.dot(channels, channels)) / packed.shape[1])
        dropped = min(self._skip, len(samples))
        self._skip -= dropped
        if dropped < len(samples):
            self._parts.append(samples[dropped:])
            self.ends += len(samples) - dropped
            if self.ends - self._start >= _PIECE_SAMPLES:
                self.finish()
                self._start = self.ends

    def finish(self) -> None:
        """End the run."""
        if not self._parts:
            return
        self._pieces.append(_Piece(self._start, np.concatenate(self._parts)))
        self._parts = []
        if self.ends > _MEMORY_SAMPLES:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="mmpipe-audio-")  # noqa: SIM115 - closed with the waveform
                weakref.finalize(self, self._file.close)
            for piece in self._pieces:
                piece.move(self._file)

    def cut(self, first: int, last: int | None) -> Samples:
        """The samples [first, last), silent where the file has none; nothing after the last run."""
        last = self.ends if last is None else min(last, self.ends)
        for piece in self._pieces:
            if piece.start <= first < last <= piece.end:
                return piece.read(first, last)
        cut = np.zeros(max(0, last - first), np.float32)
        for piece in self._pieces:
            begin, end = max(first, piece.start), min(last, piece.end)
            if begin < end:
                cut[begin - first : end - first] = piece.read(begin, end)
        return cut

    def loss_decibels(self, first: int, last: int | None) -> float | None:
        """How far the mix lies below its channels in [first, last); None for one channel or silence."""
        if not self._powers:
            return None
        starts, mixes, channels = np.frombuffer(self._powers).reshape(-1, 3).T
        begin = max(0, int(np.searchsorted(starts, first, "right")) - 1)
        end = len(starts) if last is None else int(np.searchsorted(starts, last))
        mix, channel = float(mixes[begin:end].sum()), float(channels[begin:end].sum())
        return None if channel <= 0 else float(10 * np.log10(channel / max(mix, 1e-12 * channel)))


class _Mixer:
    """Frames to 16 kHz mono, appended to a waveform."""

    def __init__(self, waveform: Waveform) -> None:
        self._waveform = waveform
        self._resampler: Any = None
        self._layout: Any = None
        self._rate = 0
        self._pending: list[Samples] = []
        self._count = 0

    def add(self, frame: Any) -> None:
        """Append one decoded frame."""
        if self._resampler is None or frame.sample_rate != self._rate or frame.layout != self._layout:
            self._rebuild(frame)
        try:
            converted = self._resampler.resample(frame)
        except ValueError:  # another sample format
            self._rebuild(frame)
            converted = self._resampler.resample(frame)
        self._take(converted)

    def flush(self) -> None:
        """Append what the resampler holds back."""
        if self._resampler is not None:
            self._take(self._resampler.resample(None))
            self.mix()
        self._resampler = None

    def mix(self) -> None:
        """Mix the channels of what was converted until now."""
        if not self._pending:
            return
        channels = self._layout.nb_channels
        packed = np.concatenate(self._pending, axis=1).reshape(-1, channels)
        self._pending, self._count = [], 0
        if channels == 1:
            self._waveform.add(packed[:, 0])
            return
        weights = channel_weights(self._layout)
        if weights is None:
            mixed = packed[:, 0].copy()
            for number in range(1, channels):
                mixed += packed[:, number]
            mixed /= np.float32(channels)
        else:
            mixed = packed @ weights
        self._waveform.add(mixed, packed)

    def _rebuild(self, frame: Any) -> None:
        self.flush()
        # Packed, since planar frames of more than eight channels cannot be taken over as an array.
        self._resampler = av.AudioResampler(format="flt", layout=frame.layout, rate=SAMPLING_RATE_HZ)
        self._layout, self._rate = frame.layout, frame.sample_rate

    def _take(self, converted: list[Any]) -> None:
        for frame in converted:
            self._pending.append(frame.to_ndarray())
            self._count += frame.samples
        if self._count >= _MIXED_SAMPLES:
            self.mix()


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
    offset = got = 0
    for frame in file.container.decode(stream):
        if not got:
            offset = round((frame.time or 0.0) * SAMPLING_RATE_HZ)
            waveform.begin(offset)
        mixer.add(frame)
        got += frame.samples
        if last is not None and offset + got >= last:
            break
    mixer.mix()
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
        elif start is not None and abs(start - expected) > _GAP_SECONDS:
            mixer.flush()  # what comes before belongs to the run before
            waveform.begin(round(start * SAMPLING_RATE_HZ))
            expected = start
        mixer.add(frame)
        expected += frame.samples / frame.sample_rate
    mixer.flush()
    waveform.finish()
    return waveform


def _frames(file: MediaFile) -> Any:
    """Decoded frames in order; isolated junk of a bare stream is skipped and noted."""
    resumes = file.container.format.name in _RESYNCHRONISING
    packets, junk, reached = 0, 0, 0.0
    first_junk: float | None = None
    for packet in file.packets():
        packets += 1
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            junk += 1
            first_junk = reached if first_junk is None else first_junk
            if not resumes or junk > max(_JUNK_PACKETS, _JUNK_SHARE * packets):
                raise
            continue
        for frame in frames:
            reached += frame.samples / frame.sample_rate
            yield frame
    if first_junk is not None:
        message = f"damaged bytes at {first_junk:.2f} s were skipped ({junk} of {packets} packets)"
        file.notes.append(Note("junk_skipped", file.path.name, message))
