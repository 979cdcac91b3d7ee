"""One clock a media file: an open file, its chosen streams, and packets whose timestamps run on.

The zero is the earliest start of the chosen streams. Where a container's timestamps can jump (a stream that was
restarted, joined recordings), they are joined as FFmpeg's tool does: when a packet's decoding time lies more than
0.1 s before the time at which its predecessor ends, or more than ten seconds after it while no other stream has gone
on, the file's clock is shifted so that the packet follows its predecessor. MP4 and AVI cannot jump: their index gives
each sample a duration.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

import av

from mmpipe.pipeline.media.containers import open_media
from mmpipe.pipeline.media.notes import Note
from mmpipe.pipeline.media.streams import Kind, Streams, choose_streams

__all__ = ["COUNTED", "MediaFile", "Scan", "clock_zero", "scan_video", "start_seconds"]

_JUMP_AHEAD_SECONDS = 10.0
"""As FFmpeg's `-dts_delta_threshold`."""

_JUMP_BACK_SECONDS = 0.1

_SMALL_SHIFT_SECONDS = 1.0
"""Shifts of a file's clock by no more than this hold for all its streams at once."""

COUNTED = ("aac", "ac3", "adts", "aiff", "amr", "au", "avi", "caf", "eac3", "flac", "mp3", "nistsphere", "w64", "wav")
"""Containers without timestamps, or with a constant rate: a packet's time is its place."""


class MediaFile:
    """An open media file.

    Args:
        path: the file.
        kind: the stream that is wanted of it.

    Attributes:
        path: the file.
        container: the open container.
        streams: the chosen streams.
        stream: the chosen stream of the kind.
        zero: time of the file's clock zero in the container's own time, in seconds.
        can_jump: whether timestamps may jump.
        notes: what was odd with the packets read until now.
        last_end: end of the last packet of any stream read from the start, in seconds of the file's clock.
        jumped_seconds: sum of the jumps met until now.

    Raises:
        Rejected: the file is missing, damaged, or has no such stream.
    """

    def __init__(self, path: Path, kind: Kind) -> None:
        self._opened = ExitStack()
        self.path = path
        self.notes: list[Note] = []
        self.last_end = self.jumped_seconds = 0.0
        self.container = self._opened.enter_context(open_media(path))
        try:
            self.streams = choose_streams(self.container, path)
            self.stream = self.streams.require(kind)
        except BaseException:
            self._opened.close()
            raise
        self.zero = clock_zero(self.streams)
        self.can_jump = _can_jump(self.container, self.streams)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._opened.close()

    def packets(self) -> Iterator[Any]:
        """The packets of the wanted stream from the file's start, with joined timestamps."""
        if not self.can_jump:
            yield from self.packets_here()
            return
        joiner, wanted = _Joiner(self), self.stream.index
        for packet in self.container.demux():
            index = packet.stream_index
            joiner.join(packet, index)
            if index == wanted and not _is_repeat(packet):
                yield packet

    def packets_here(self) -> Iterator[Any]:
        """The packets of the wanted stream from where the file stands, with the container's own timestamps."""
        for packet in self.container.demux(self.stream):
            if not _is_repeat(packet):
                yield packet


def _is_repeat(packet: Any) -> bool:
    """Whether a packet only says that the last frame stays; the empty packet that ends a stream has no time."""
    return bool(packet.size == 0 and packet.dts is not None)


def start_seconds(stream: Any) -> float | None:
    """Where a stream starts by its file's header, in the container's own time; None where it is unknown."""
    return None if stream.start_time is None else float(stream.start_time * stream.time_base)


def clock_zero(streams: Streams) -> float:
    """The zero of a file's clock in the container's own time: the earliest start of the chosen streams."""
    starts = (start_seconds(stream) for stream in (streams.audio, streams.video) if stream is not None)
    return min((start for start in starts if start is not None), default=0.0)


def _can_jump(container: Any, streams: Streams) -> bool:
    """Whether a container's timestamps may jump; those of an MP4 in fragments may, those with one index may not."""
    if container.format.name == "mov,mp4,m4a,3gp,3g2,mj2":
        return any(stream.frames == 0 for stream in (streams.audio, streams.video) if stream is not None)
    return container.format.name not in COUNTED


class _Joiner:
    """Joins the timestamps of a file's packets, in the order of the file, after FFmpeg's tool.

    Packets of two streams are interleaved, so one stream may jump some packets before the other. A stream follows the
    newest shift of the file's clock as soon as that fits its packets better than its own; a small shift at once.
    """

    def __init__(self, file: MediaFile) -> None:
        self._file = file
        self._chosen = {stream.index for stream in (file.streams.audio, file.streams.video) if stream is not None}
        self._bases = {
            stream.index: float(stream.time_base) for stream in file.container.streams if stream.time_base is not None
        }
        self._newest_shift = 0.0
        self._shifts: dict[int, float] = {}
        self._ends: dict[int, float] = {}
        """Where the next packet of a stream should start."""
        self._newest: dict[int, float] = {}

    def join(self, packet: Any, index: int) -> None:
        """Shift the packet's timestamps where the file's clock has jumped."""
        dts, pts, base = packet.dts, packet.pts, self._bases.get(index)
        if base is None:
            return
        length = (packet.duration or 0) * base
        if dts is not None and index in self._chosen:
            self._follow(index, dts * base, length)
        shift = self._shifts.get(index, self._newest_shift)
        if shift:
            if dts is not None:
                packet.dts = dts + round(shift / base)
            if pts is not None:
                packet.pts = pts = pts + round(shift / base)
        if pts is not None and pts * base + length - self._file.zero > self._file.last_end:
            self._file.last_end = pts * base + length - self._file.zero

    def _follow(self, index: int, raw: float, length: float) -> None:
        shift = self._shifts.get(index, self._newest_shift)
        if shift != self._newest_shift:
            if abs(shift - self._newest_shift) <= _SMALL_SHIFT_SECONDS:
                shift = self._newest_shift
            else:
                expected = self._ends[index]
                shift = min(shift, self._newest_shift, key=lambda one: abs(raw + one - expected))
        if jump := self._jump(index, raw + shift):
            shift -= jump
            self._newest_shift = shift
            self._file.jumped_seconds += jump
            where = raw + shift - self._file.zero
            message = f"the timestamps jump by {jump:+.2f} s at {where:.2f} s; what follows is joined there"
            self._file.notes.append(Note("clock_jump", self._file.path.name, message))
        self._shifts[index] = shift
        self._newest[index] = raw + shift
        self._ends[index] = raw + shift + length

    def _jump(self, index: int, time: float) -> float:
        end = self._ends.get(index)
        if end is not None and -_JUMP_BACK_SECONDS <= time - end <= _JUMP_AHEAD_SECONDS:
            return 0.0
        others = [newest for other, newest in self._newest.items() if other != index]
        if end is None:
            distance = min((time - newest for newest in others), key=abs, default=0.0)
            return distance if abs(distance) > _JUMP_AHEAD_SECONDS else 0.0
        gone_on = any(time - newest <= _JUMP_AHEAD_SECONDS for newest in others)
        return 0.0 if time > end and gone_on else time - end


class Scan:
    """What the packets of a video say before one of them is decoded.

    Attributes:
        times: presentation times of the video's packets, of those that have one, in the container's time, sorted.
        share_timed: share of the packets that have a time.
        notes: jumps that were joined.
        last_end: end of the last packet of any stream, on the clock of the file.
        jumped_seconds: sum of the jumps that were joined.
    """

    def __init__(self, path: Path) -> None:
        packets: list[float | None] = []
        with MediaFile(path, "video") as file:
            base = float(file.stream.time_base)
            with suppress(av.FFmpegError):  # damage costs the spans that need what is damaged, when they are read
                packets.extend(None if p.pts is None else p.pts * base for p in file.packets() if p.size)
            self.notes, self.last_end, self.jumped_seconds = file.notes, file.last_end, file.jumped_seconds
        self.times = sorted(time for time in packets if time is not None)
        self.share_timed = len(self.times) / max(1, len(packets))


def scan_video(file: MediaFile) -> Scan | None:
    """Scan the packets of an open file's video; None for containers that cannot jump."""
    return Scan(file.path) if file.can_jump else None
