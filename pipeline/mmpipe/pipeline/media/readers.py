"""Reading spans of media: audio as 16 kHz mono float32, every n-th video frame as RGB.

A span of a file equals the same span of the whole file, bit for bit, and means the same instant in its audio and its
video. 16 kHz PCM is sought, while compressed or resampled audio is decoded from its start (a decoder entered in the
middle differs by up to 0.05), once for the successive spans of a file. Frames lie on the file's own grid: overlapping
spans share frames. Decoders use one thread; the engine runs several processes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from mmpipe.core.errors import Rejected
from mmpipe.extractors.contract import SAMPLING_RATE_HZ, Audio, Frame
from mmpipe.manifests.schema import MediaSpan, Region
from mmpipe.pipeline.media.audio import Waveform, decode_all, decode_pcm, is_seekable_pcm
from mmpipe.pipeline.media.clock import MediaFile
from mmpipe.pipeline.media.containers import cut_off, decoding
from mmpipe.pipeline.media.declared import END_TOLERANCE_SECONDS, Declared, declared_end
from mmpipe.pipeline.media.notes import Note
from mmpipe.pipeline.media.video import Shown, VideoFile

__all__ = ["END_TOLERANCE_SECONDS", "VIDEO_END_TOLERANCE_SECONDS", "AudioReader", "VideoReader"]

VIDEO_END_TOLERANCE_SECONDS = 1.0
"""A span may end this much after its video does: recorders stop a camera some frames before the microphones."""

_LOUDEST = 32767 / 32768
"""Decoders and resamplers overshoot full scale, and openSMILE's 16 bits would wrap around: waveforms are clipped to
[-1, _LOUDEST], the range of 16 bits."""

_CLIPPED_SHARE = 0.01
"""A note is made where more samples than this share lie beyond full scale."""

_INTEGERS = 100.0
"""Samples beyond this are not floats of a loud recording."""

_LOST_DECIBELS = 10.0
"""A note is made where the mix of the channels lies so far below them: they cancel each other."""

_KEPT_FRAMES = 64
_KEPT_BYTES = 1 << 26
"""Sampled frames of one file kept for the next, overlapping utterance: so many, and no more than so large."""

_MOST_SAMPLES = 48 * 3600 * SAMPLING_RATE_HZ
"""A span of two days is a damaged clock."""


class AudioReader:
    """Reads spans of audio; successive spans of a file that cannot be sought share one decoding."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._whole = Waveform()
        self._declared: Declared | None = None
        self._notes: tuple[Note, ...] = ()
        self._file_end = self._jumped = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget the decoded file."""
        self._path, self._whole = None, Waveform()

    def read(self, path: Path, span: MediaSpan, notes: list[Note] | None = None) -> Audio:
        """The span as a waveform float32 [T], 16 kHz, its channels mixed to one.

        Args:
            path: the file.
            span: which part of it.
            notes: gets what is odd with the file or the span.

        Raises:
            Rejected: the file is missing (`media_missing`), damaged or ends before the span does, or before its own
                header says (`media_error`), has no audio stream (`no_audio`), or the span holds no sample
                (`too_short`).
        """
        first = round(span.start_seconds * SAMPLING_RATE_HZ)
        last = None if span.end_seconds is None else round(span.end_seconds * SAMPLING_RATE_HZ)
        notes = [] if notes is None else notes
        if path != self._path:
            with decoding(path), MediaFile(path, "audio") as file:
                self._declared, self._jumped = declared_end(file.container, file.stream, path, file.zero), 0.0
                if is_seekable_pcm(file):
                    self._path = None
                    return self._cut(path, decode_pcm(file, first, last), first, last, notes)
                self.close()  # the old file makes room first
                self._whole = decode_all(file)
                self._path, self._notes = path, tuple(file.notes)
                self._file_end, self._jumped = file.last_end, file.jumped_seconds
        notes += self._notes
        return self._cut(path, self._whole, first, last, notes)

    def _cut(self, path: Path, waveform: Waveform, first: int, last: int | None, notes: list[Note]) -> Audio:
        ends = waveform.ends / SAMPLING_RATE_HZ
        if last is not None and last / SAMPLING_RATE_HZ - ends > END_TOLERANCE_SECONDS:
            raise cut_off(f"{path.name}: the audio", ends, last / SAMPLING_RATE_HZ, "the utterance")
        declared = self._declared
        if last is None and declared is not None and declared.lacks(ends, self._file_end, self._jumped):
            raise cut_off(f"{path.name}: the audio", ends, declared.end_seconds, "by the file's header")
        if waveform.ends - first > _MOST_SAMPLES and (last is None or last - first > _MOST_SAMPLES):
            raise Rejected("media_error", f"{path.name}: the audio lasts {ends / 3600:.0f} h; is its clock damaged?")
        cut = waveform.cut(first, last)
        if len(cut) == 0:
            raise Rejected("too_short", f"{path.name}: no audio sample lies in the utterance's span")
        low, high = float(cut.min()), float(cut.max())
        if not np.isfinite([low, high]).all():
            raise Rejected("media_error", f"{path.name}: samples that are not numbers (NaN or infinity)")
        loss = waveform.loss_decibels(first, last)
        if loss is not None and loss > _LOST_DECIBELS:
            message = f"the mix of the channels is {loss:.0f} dB below them: do they cancel each other?"
            notes.append(Note("channels_cancel", path.name, message))
        if max(high, -low) > 1 and (share := np.count_nonzero(np.abs(cut) > 1) / len(cut)) > _CLIPPED_SHARE:
            message = f"{share:.1%} of the samples are beyond full scale and were clipped"
            remedy = ": are they in the scale of 16-bit integers?" if max(high, -low) > _INTEGERS else ""
            notes.append(Note("samples_clipped", path.name, message + remedy))
        return Audio(np.clip(cut, -1.0, _LOUDEST))


class VideoReader:
    """Reads sampled frames of spans: successive spans of a file are decoded in one pass, and share their frames."""

    def __init__(self, every: int) -> None:
        self.every = every
        self._video: VideoFile | None = None
        self._kept: OrderedDict[int, Shown] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file that is open."""
        self._kept.clear()
        if self._video is not None:
            self._video.close()
            self._video = None

    def frames(self, path: Path, span: MediaSpan, notes: list[Note] | None = None) -> Iterator[Frame]:
        """Every `every`-th frame of the file's numbering that is shown within the span.

        Args:
            path: the file.
            span: which part of it.
            notes: gets what is odd with the file or the frames.

        Raises:
            Rejected: while iterating: the file is missing, damaged, has no video stream, or ends before the span does.
        """
        video = self._open(path)
        notes = [] if notes is None else notes
        notes += video.notes
        begin, rate = video.offset_seconds, video.rate
        first = -(-round((span.start_seconds - begin) * rate, 6) // self.every) * self.every
        last = float("inf") if span.end_seconds is None else round((span.end_seconds - begin) * rate, 6)
        wanted = max(0, int(first))
        while wanted < last and not video.ended_before(wanted):
            image = self._kept[wanted] if wanted in self._kept else video.shown_at(wanted)
            if image is not None:
                self._keep(wanted, image)
                if image.note is not None and image.note not in notes:
                    notes.append(image.note)
                time_seconds = round(begin + wanted / rate - span.start_seconds, 6)
                source = f"{path}:{image.number}:{span.region}"
                yield Frame(_cut_region(image.image, span.region), wanted, time_seconds, source)
            wanted += self.every
        self._check_end(path, video, span)

    def _open(self, path: Path) -> VideoFile:
        if self._video is None or self._video.path != path:
            self.close()
            self._video = VideoFile(path)
        return self._video

    def _keep(self, number: int, shown: Shown) -> None:
        self._kept[number] = shown
        size = shown.image.nbytes
        while len(self._kept) > _KEPT_FRAMES or (len(self._kept) > 1 and len(self._kept) * size > _KEPT_BYTES):
            self._kept.popitem(last=False)

    @staticmethod
    def _check_end(path: Path, video: VideoFile, span: MediaSpan) -> None:
        ends = video.end_seconds
        if ends is None:
            return
        if span.end_seconds is not None and span.end_seconds - ends > VIDEO_END_TOLERANCE_SECONDS:
            raise cut_off(f"{path.name}: the video", ends, span.end_seconds, "the utterance")
        declared = video.declared
        if span.end_seconds is None and declared and declared.lacks(ends, video.file_end_seconds, video.jumped_seconds):
            raise cut_off(f"{path.name}: the video", ends, declared.end_seconds, "by the file's header")


def _cut_region(image: npt.NDArray[np.uint8], region: Region | None) -> npt.NDArray[np.uint8]:
    if region is None:
        return image
    height, width = image.shape[:2]
    top, left = round(region.y * height), round(region.x * width)
    return image[top : round((region.y + region.height) * height), left : round((region.x + region.width) * width)]
