"""A video file read forwards: which frame does it show at place n of its own grid?

The grid is the file's numbering at its frame rate, counted from its first frame. Where the rate varies, a place shows
the last frame that has come up by then, as a player does; the last frame of the file stays for its duration.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmpipe.core.errors import Rejected
from mmpipe.pipeline.media.clock import MediaFile, Scan, scan_video, start_seconds
from mmpipe.pipeline.media.containers import MAX_PIXELS, decoding
from mmpipe.pipeline.media.declared import Declared, counted_beyond_index, declared_end
from mmpipe.pipeline.media.frame_rate import frame_rate
from mmpipe.pipeline.media.geometry import Geometry, shown
from mmpipe.pipeline.media.notes import Note

__all__ = ["Shown", "VideoFile"]

_Image = npt.NDArray[np.uint8]
_Numbered = tuple[int, Any]

_NEAR_FRAMES = 48
"""Within so many frames it is shorter to decode on than to seek back to a keyframe."""

_SPARSE_TIMES = ("mpeg",)
"""Containers that time some frames only: the others' times are guessed, and differently after a seek."""

_MOSTLY = 0.9
"""Times of fewer frames than this share do not tell the frame rate."""


class Shown:
    """What a place of the grid shows.

    Attributes:
        image: RGB uint8 [H, W, 3], upright, with square pixels.
        number: the place at which the frame came up.
        note: what is odd with the frame.
    """

    __slots__ = ("image", "note", "number")

    def __init__(self, image: _Image, number: int, note: Note | None) -> None:
        self.image, self.number, self.note = image, number, note


class VideoFile:
    """An open video file.

    Args:
        path: the file.

    Attributes:
        path: the file.
        rate: places of the grid in a second.
        offset_seconds: where the grid begins on the clock of the file, which its audio shares.
        declared: where the video should end by the file's header; None where it does not tell.
        file_end_seconds: end of the last packet of any stream; None where the file was not scanned.
        jumped_seconds: sum of the jumps of the timestamps.
        end_seconds: where the last frame ends, on the clock of the file; None until it has been decoded.
        notes: what is odd with the file as a whole.

    Raises:
        Rejected: the file is missing or damaged, or has no video stream.
    """

    def __init__(self, path: Path) -> None:
        self._file: MediaFile | None = None
        self.path = path
        self.end_seconds: float | None = None
        self._frames: Iterator[_Numbered] | None = None
        self._held: _Numbered | None = None
        self._ahead: _Numbered | None = None
        self._is_fresh = True
        file = self._open()
        try:
            self._describe(file)
        except BaseException:
            self.close()
            raise

    def _describe(self, file: MediaFile) -> None:
        with decoding(self.path):
            scan = scan_video(file)
        self._can_seek = file.container.format.name not in _SPARSE_TIMES and not (scan and scan.notes)
        self.declared: Declared | None = declared_end(file.container, file.stream, self.path, file.zero)
        self.file_end_seconds = scan.last_end if scan else None
        self.jumped_seconds = scan.jumped_seconds if scan else 0.0
        times = None if scan is None else scan.times if scan.share_timed > _MOSTLY else []
        self.rate = frame_rate(file.stream, times)
        self._start = _start(file, scan)
        self.offset_seconds = self._start - file.zero
        self._delay = 0.0
        if file.container.format.name == "avi" and file.stream.codec_context.has_b_frames:
            self._delay = self._decoder_delay(file)
        self.notes = (*(scan.notes if scan else ()), *_count_notes(file))

    def close(self) -> None:
        """Close the file."""
        self._frames = self._held = self._ahead = None
        if self._file is not None:
            self._file.close()

    def ended_before(self, place: int) -> bool:
        """Whether the video is known to have ended before a place."""
        if self.end_seconds is None:
            return False
        return place >= round((self.end_seconds - self.offset_seconds) * self.rate)

    def shown_at(self, place: int) -> Shown | None:
        """The frame at a place of the grid; None before the first and after the last.

        Raises:
            Rejected: the file is damaged there.
        """
        if self._frames is not None and self._reaches(place):
            try:
                return self._read_to(place)
            except Rejected:  # damage between the spans of two utterances must not cost the second
                self._open()
        if not self._seek(place):
            file = self._file
            if self._frames is not None or not self._is_fresh or file is None:
                file = self._open()
            self._frames, self._is_fresh = self._numbered(file.packets()), False
        return self._read_to(place)

    def _reaches(self, place: int) -> bool:
        if self._held is None:
            return False
        newest = (self._ahead or self._held)[0]
        return self._held[0] <= place and (place <= newest + _NEAR_FRAMES or not self._can_seek)

    def _open(self) -> MediaFile:
        self.close()
        self._is_fresh = True
        file = self._file = MediaFile(self.path, "video")
        context = file.stream.codec_context
        if context.width * context.height > MAX_PIXELS:
            file.close()
            size = f"{context.width}x{context.height}"
            raise Rejected("media_error", f"{self.path.name}: frames of {size} pixels; is the header damaged?")
        self._geometry = Geometry(context.width, context.height, file.stream.sample_aspect_ratio)
        return file

    def _decoder_delay(self, file: MediaFile) -> float:
        """How much later than its place a decoder gives out a frame: AVI tells when frames are decoded, not shown."""
        try:
            with decoding(self.path):
                first = next(_decoded(file.packets()), None)
        except Rejected:
            first = None
        self._is_fresh = False
        if first is None or first.dts is None:
            return 0.0
        return max(0.0, float(first.dts * first.time_base) - self._start)

    def _seek(self, place: int) -> bool:
        """Go to the keyframe before the frame that is shown one place earlier: rounded times then lose none.

        Returns:
            Whether that succeeded. Files without times or index are read from their start instead.
        """
        self._held = self._ahead = None
        file = self._file
        if place == 0 or not self._can_seek or file is None:
            return False
        offset = int(((place - 1) / self.rate + self._start) / file.stream.time_base)
        self._is_fresh = False
        try:
            with decoding(self.path):
                file.container.seek(offset, stream=file.stream, backward=True)
            self._frames = self._numbered(file.packets_here())
            self._ahead = self._next()
        except Rejected:
            return False
        first = self._ahead
        self._can_seek = first is not None and first[1].key_frame and first[1].time is not None and first[0] <= place
        return self._can_seek

    def _read_to(self, place: int) -> Shown | None:
        while self._held is None or self._held[0] < place:
            if self._ahead is None:
                self._ahead = self._next()
            if self._ahead is None:
                self.end_seconds = 0.0 if self._held is None else self._end_of(*self._held)
                if self._held is None or self.ended_before(place):
                    return None
                break
            if self._ahead[0] > place:
                break
            self._held, self._ahead = self._ahead, None
        if self._held is None:
            return None
        with decoding(self.path):
            return self._shown(*self._held)

    def _shown(self, number: int, frame: Any) -> Shown:
        note = None
        if (frame.width, frame.height) != self._geometry.coded:
            usual = "x".join(map(str, self._geometry.coded))
            message = f"frames of another size ({frame.width}x{frame.height}) are scaled to the stream's {usual}"
            note = Note("size_changes", self.path.name, message)
            if frame.width * frame.height > MAX_PIXELS:
                raise Rejected("media_error", f"{self.path.name}: a frame of {frame.width}x{frame.height} pixels")
        return Shown(shown(frame, self._geometry), number, note)

    def _end_of(self, number: int, frame: Any) -> float:
        stays = float((frame.duration or 0) * (frame.time_base or 0))
        return self.offset_seconds + number / self.rate + max(1 / self.rate, stays)

    def _next(self) -> _Numbered | None:
        assert self._frames is not None
        try:
            with decoding(self.path):
                return next(self._frames, None)
        except Rejected:
            self._frames = None  # a decoder that failed is not asked again
            raise

    def _numbered(self, packets: Iterator[Any]) -> Iterator[_Numbered]:
        """Decoded frames with their place, from where the file stands; frames without times are counted."""
        has_times, before = True, -1
        for count, frame in enumerate(_decoded(packets)):
            has_times = has_times and (count > 0 or frame.time is not None)
            if not has_times:
                yield count, frame
            elif self._delay:  # decoding times run on in the order of the frames; the last have none
                if frame.dts is None:
                    before += 1
                else:
                    before = round((float(frame.dts * frame.time_base) - self._delay - self._start) * self.rate)
                yield before, frame
            elif frame.time is not None:
                yield round((frame.time - self._start) * self.rate), frame


def _decoded(packets: Iterator[Any]) -> Iterator[Any]:
    for packet in packets:
        yield from packet.decode()


def _start(file: MediaFile, scan: Scan | None) -> float:
    """Where the video begins in the container's own time: its frame 0."""
    if (start := start_seconds(file.stream)) is not None:
        return start
    return scan.times[0] if scan and scan.times else file.zero


def _count_notes(file: MediaFile) -> list[Note]:
    """A note where an AVI's header counts more frames than its index reaches, though the index is whole."""
    excess = counted_beyond_index(file.container, file.stream, file.path)
    return [] if excess is None else [Note("header_count", file.path.name, excess)]
