"""A video file read forwards: which frame does it show at place n of its own grid?

The grid is the file's numbering at its average rate, counted from its first frame. Where the rate varies, a place shows
the last frame that has come up by then, as a player does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmpipe.core.errors import Rejected
from mmpipe.pipeline.media.containers import MAX_PIXELS, declared_seconds, decoding, open_media

__all__ = ["Film"]

_Image = npt.NDArray[np.uint8]
_Numbered = tuple[int, Any]

_NEAR_FRAMES = 48
"""Within so many frames it is shorter to decode on than to seek back to a keyframe."""


_SPARSE_TIMES = ("mpeg",)
"""Containers that time some frames only: the others' times are guessed, and differently after a seek."""


class Film:
    """An open video file.

    Args:
        path: the file.

    Attributes:
        path: the file.
        rate: places of the grid in a second.
        declared_seconds: duration in the file's header; None where it tells none.
        end_seconds: where the last frame ends; None until it has been decoded.

    Raises:
        Rejected: the file is missing or damaged, or has no video stream.
    """

    def __init__(self, path: Path) -> None:
        self._opened = ExitStack()
        self.path = path
        self.end_seconds: float | None = None
        self._frames: Iterator[_Numbered] | None = None
        self._held: _Numbered | None = None
        self._ahead: _Numbered | None = None
        self._is_fresh = True
        self._open()
        self._can_seek = self._container.format.name not in _SPARSE_TIMES
        self.declared_seconds = declared_seconds(self._container, self._stream, path)
        self.rate = float(self._stream.average_rate or self._stream.guessed_rate or 25)

    def close(self) -> None:
        """Close the file."""
        self._frames = self._held = self._ahead = None
        self._opened.close()

    def __del__(self) -> None:
        self.close()

    def ended_before(self, place: int) -> bool:
        """Whether the film is known to have ended before a place."""
        return self.end_seconds is not None and place >= round(self.end_seconds * self.rate)

    def shown_at(self, place: int) -> _Image | None:
        """The frame at a place of the grid as RGB uint8 [H, W, 3], upright; None before the first and after the last.

        Raises:
            Rejected: the file is damaged there.
        """
        if self._frames is not None and self._reaches(place):
            try:
                return self._read_to(place)
            except Rejected:  # damage between the spans of two utterances must not cost the second
                self._open()
        if not self._seek(place):
            if self._frames is not None or not self._is_fresh:
                self._open()
            self._frames, self._is_fresh = _numbered(self._container, self._stream, self.rate), False
        return self._read_to(place)

    def _reaches(self, place: int) -> bool:
        if self._held is None:
            return False
        newest = (self._ahead or self._held)[0]
        return self._held[0] <= place and (place <= newest + _NEAR_FRAMES or not self._can_seek)

    def _open(self) -> None:
        self.close()
        self._opened, self._is_fresh = ExitStack(), True
        container = self._opened.enter_context(open_media(self.path))
        if not container.streams.video:
            self._opened.close()
            raise Rejected("no_video", f"{self.path.name}: the file has no video stream")
        self._container, self._stream = container, container.streams.video[0]
        context = self._stream.codec_context
        context.thread_count = 1
        if context.width * context.height > MAX_PIXELS:
            self._opened.close()
            size = f"{context.width}x{context.height}"
            raise Rejected("media_error", f"{self.path.name}: frames of {size} pixels; is the header damaged?")

    def _seek(self, place: int) -> bool:
        """Go to the keyframe before the frame that is shown one place earlier: rounded times then lose none.

        Returns:
            Whether that succeeded. Files without times or index are read from their start instead.
        """
        self._held = self._ahead = None
        if place == 0 or not self._can_seek:
            return False
        start = float((self._stream.start_time or 0) * self._stream.time_base)
        offset = int(((place - 1) / self.rate + start) / self._stream.time_base)
        self._is_fresh = False
        try:
            with decoding(self.path):
                self._container.seek(offset, stream=self._stream, backward=True)
            self._frames = _numbered(self._container, self._stream, self.rate)
            self._ahead = self._next()
        except Rejected:
            return False
        first = self._ahead
        self._can_seek = first is not None and first[1].key_frame and first[1].time is not None and first[0] <= place
        return self._can_seek

    def _read_to(self, place: int) -> _Image | None:
        while self._held is None or self._held[0] < place:
            if self._ahead is None:
                self._ahead = self._next()
            if self._ahead is None:
                self.end_seconds = 0.0 if self._held is None else self._end_of(*self._held)
                return None
            if self._ahead[0] > place:
                break
            self._held, self._ahead = self._ahead, None
        if self._held is None:
            return None
        with decoding(self.path):
            return _upright(self._held[1])

    def _end_of(self, place: int, frame: Any) -> float:
        shown = float((frame.duration or 0) * (frame.time_base or 0))
        return place / self.rate + max(1 / self.rate, shown)

    def _next(self) -> _Numbered | None:
        assert self._frames is not None
        try:
            with decoding(self.path):
                return next(self._frames, None)
        except Rejected:
            self._frames = None  # a decoder that failed is not asked again
            raise


def _numbered(container: Any, stream: Any, rate: float) -> Iterator[_Numbered]:
    """Decoded frames with their place, from where the file stands; frames without times are counted."""
    zero = float((stream.start_time or 0) * stream.time_base)
    has_times = True
    for count, frame in enumerate(container.decode(stream)):
        has_times = has_times and (count > 0 or frame.time is not None)
        if not has_times:
            yield count, frame
        elif frame.time is not None:
            yield round((frame.time - zero) * rate), frame


def _upright(frame: Any) -> _Image:
    """The frame as RGB, turned as its rotation flag says; of an interlaced frame the first field, lines filled in."""
    image: _Image = frame.to_ndarray(format="rgb24")
    if frame.interlaced_frame and len(image) > 2:
        above = image[0::2][: len(image[1::2])].astype(np.uint16)
        below = np.concatenate([image[2::2], image[-2:-1]])[: len(above)]
        image[1::2] = ((above + below + 1) // 2).astype(np.uint8)
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image
