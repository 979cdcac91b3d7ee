"""What the headers of media files say: streams, lengths, rates, sizes. No frame and no sample is decoded."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mmpipe.core.errors import Rejected
from mmpipe.core.statuses import Category
from mmpipe.manifests.io import resolve_media
from mmpipe.pipeline.hardware import available_cores
from mmpipe.pipeline.media.clock import clock_zero, start_seconds
from mmpipe.pipeline.media.containers import open_media
from mmpipe.pipeline.media.declared import bytes_missing, counted_beyond_index, declared_end, is_cut_off
from mmpipe.pipeline.media.frame_rate import FEWEST_TIMES, frame_rate, index_times
from mmpipe.pipeline.media.streams import Kind, Streams, attached_pictures, choose_streams, usable_streams

__all__ = ["MediaHeader", "Oddity", "read_headers"]

_STEADY_SHARE = 0.9
"""Where fewer frame intervals than this share are alike, the frame rate varies."""


@dataclass(frozen=True, slots=True)
class Oddity:
    """Something odd that the header of one file shows.

    Attributes:
        kind: the kind of stream.
        category: one of `CATEGORIES`.
        message: what, and what an extraction makes of it.
    """

    kind: Kind
    category: Category
    message: str


@dataclass(frozen=True, slots=True)
class MediaHeader:
    """What a media file's header says. Times are on the clock of the file, which audio and video share.

    Attributes:
        uri: relative to the corpus root.
        error: why it could not be read; None where it could.
        missing: whether the file is not there.
        audio_seconds: end of the chosen audio stream; None where there is none, or the header tells no length.
        video_seconds: the same of the chosen video stream.
        declared_seconds: the longest length that the header claims, if it claims more than is there.
        lost_bytes: bytes that are missing by the file's own count.
        audio: sampling rate in Hz and number of channels; None without an audio stream.
        video: width, height and frames a second; None without a video stream.
        odd: what else is odd.
    """

    uri: str
    error: str | None = None
    missing: bool = False
    audio_seconds: float | None = None
    video_seconds: float | None = None
    declared_seconds: float | None = None
    lost_bytes: int = 0
    audio: tuple[int, int] | None = None
    video: tuple[int, int, float] | None = None
    odd: tuple[Oddity, ...] = ()


def read_headers(root: Path, uris: Sequence[str], on_done: Callable[[], None] | None = None) -> list[MediaHeader]:
    """Read the headers of media files in parallel, several a core, as most of the time is waiting for the disk.

    Args:
        root: the corpus root.
        uris: the files, relative to it.
        on_done: called after each file.
    """
    headers = []
    with ThreadPoolExecutor(min(32, 4 * available_cores())) as pool:
        for header in pool.map(partial(_read_header, root), uris):
            headers.append(header)
            if on_done is not None:
                on_done()
    return headers


def _read_header(root: Path, uri: str) -> MediaHeader:
    try:
        path = resolve_media(root, uri)
        with open_media(path) as container:
            return _describe(uri, container, path)
    except Rejected as error:
        return MediaHeader(uri, error.message, missing=error.status == "media_missing")


def _describe(uri: str, container: Any, path: Path) -> MediaHeader:
    whole = None if container.duration is None else container.duration / 1_000_000
    streams = choose_streams(container, path)
    zero, audio, video = clock_zero(streams), streams.audio, streams.video
    ends = [None if s is None else _end_seconds(s, whole, zero) for s in (audio, video)]
    declared = [declared_end(container, s, path, zero) for s in (audio, video) if s is not None]
    there = max((end for end in ends if end), default=0.0)
    claimed = max((d.end_seconds for d in declared if d is not None), default=0.0)
    rate = frame_rate(video, None if video.frames else []) if video is not None else 0.0
    return MediaHeader(
        uri,
        audio_seconds=ends[0],
        video_seconds=ends[1],
        declared_seconds=claimed if is_cut_off(claimed, there) else None,
        lost_bytes=bytes_missing(path),
        audio=audio and (int(audio.rate or 0), int(audio.channels or 0)),
        video=video and (int(video.width or 0), int(video.height or 0), round(rate, 2)),
        odd=tuple(_oddities(container, streams, path)),
    )


def _end_seconds(stream: Any, whole: float | None, zero: float) -> float | None:
    if stream.duration is None:
        return whole if whole and whole > 0 else None
    seconds = float(stream.duration * stream.time_base)
    return (start_seconds(stream) or 0.0) - zero + seconds if seconds > 0 else None


def _oddities(container: Any, streams: Streams, path: Path) -> Iterator[Oddity]:
    kinds: tuple[Kind, ...] = ("audio", "video")
    for kind in kinds:
        if kind in streams.has_undecodable:
            try:
                streams.require(kind)
            except Rejected as error:
                yield Oddity(kind, "no_decoder", error.message)
        elif (tracks := len(usable_streams(container, kind))) > 1:
            chosen = streams.require(kind).index
            yield Oddity(kind, "several_tracks", f"{tracks} tracks of {kind}: the one with index {chosen} is read")
    if streams.audio is not None and (layout := streams.audio.layout).nb_channels > 2:
        yield Oddity("audio", "many_channels", f"{layout.nb_channels} channels ({layout.name}) are mixed to one")
    if streams.video is None and attached_pictures(container):
        yield Oddity("video", "cover_only", "its only image is cover art, which is not taken for a video")
    if streams.video is not None:
        yield from _video_oddities(container, streams.video, path)


def _video_oddities(container: Any, video: Any, path: Path) -> Iterator[Oddity]:
    pixel = video.sample_aspect_ratio
    if pixel and pixel != 1:
        yield Oddity("video", "odd_pixels", f"pixels of {pixel.numerator}:{pixel.denominator} are made square")
    if (excess := counted_beyond_index(container, video, path)) is not None:
        yield Oddity("video", "header_count", excess)
    times = index_times(video) if video.frames else []
    intervals = sorted(after - before for before, after in itertools.pairwise(times))
    if len(intervals) >= FEWEST_TIMES:
        usual = intervals[len(intervals) // 2]
        steady = sum(abs(interval - usual) <= usual / 4 for interval in intervals) / len(intervals)
        if steady < _STEADY_SHARE or intervals[-1] > 10 * usual:
            longest = f"the longest frame lasts {intervals[-1]:.2f} s"
            yield Oddity(
                "video", "variable_rate", f"frames come at varying intervals, usually {usual:.3f} s; {longest}"
            )
