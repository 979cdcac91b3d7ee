"""Check the media of a manifest by their headers: durations, streams, sampling rates, frame sizes.

No frame and no sample is decoded, beyond what FFmpeg looks at to find the streams. Everything odd becomes a `Problem`
of `mmpipe.manifests.contract`, beside those that the reader of the corpus noted.
"""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from mmpipe.core.errors import Rejected
from mmpipe.core.files import write_bytes
from mmpipe.core.statuses import CATEGORIES, Category
from mmpipe.core.text import printable
from mmpipe.extractors.contract import SAMPLING_RATE_HZ
from mmpipe.manifests.contract import Problem
from mmpipe.manifests.io import resolve_media
from mmpipe.manifests.schema import Utterance
from mmpipe.pipeline.hardware import available_cores
from mmpipe.pipeline.media.containers import declared_seconds, open_media
from mmpipe.pipeline.media.readers import END_TOLERANCE_SECONDS, VIDEO_END_TOLERANCE_SECONDS

__all__ = ["MediaHeader", "check_headers", "media_uses", "read_headers", "write_problems"]

_LENGTH_TOLERANCE_SECONDS = 1.0
"""A clip may differ so much from the length that its corpus gives: cuts lie on frames and on keyframes."""

_CUT_OFF_SHARE = 0.02
"""A file that holds less than its header says by this share, and by 0.25 s, is cut off."""


@dataclass(frozen=True, slots=True)
class MediaHeader:
    """What a media file's header says.

    Attributes:
        uri: relative to the corpus root.
        error: why it could not be read; None where it could.
        missing: whether the file is not there.
        audio_seconds: length of the first audio stream; None where there is none, or no length is told.
        video_seconds: the same of the first video stream.
        declared_seconds: the longest length that the header claims, if it claims more than is there.
        audio: sampling rate in Hz and number of channels; None without an audio stream.
        video: width, height and frames a second; None without a video stream.
    """

    uri: str
    error: str | None = None
    missing: bool = False
    audio_seconds: float | None = None
    video_seconds: float | None = None
    declared_seconds: float | None = None
    audio: tuple[int, int] | None = None
    video: tuple[int, int, float] | None = None


@dataclass(slots=True)
class _Use:
    """What a manifest wants of one file.

    Attributes:
        kinds: "audio", "video" or both.
        ends: end of each utterance's span, with its id, by kind.
        lengths: length of the whole file by the corpus's own times, with the utterance's id.
    """

    kinds: set[str] = field(default_factory=set)
    ends: dict[str, list[tuple[float, str]]] = field(default_factory=lambda: defaultdict(list))
    lengths: list[tuple[float, str]] = field(default_factory=list)


def media_uses(utterances: Iterable[Utterance]) -> dict[str, _Use]:
    """What is wanted of each media file, in the order of the manifest."""
    uses: dict[str, _Use] = defaultdict(_Use)
    for row in utterances:
        for kind, span in (("audio", row.audio), ("video", row.video)):
            if span is not None:
                uses[span.uri].kinds.add(kind)
                if span.end_seconds is not None:
                    uses[span.uri].ends[kind].append((span.end_seconds, row.utterance_id))
        if (length := _told_seconds(row)) is not None and row.audio is not None:
            uses[row.audio.uri].lengths.append((length, row.utterance_id))
    return dict(uses)


def _told_seconds(row: Utterance) -> float | None:
    """How long the utterance's own sound file should be by the corpus's tables; None where they do not tell."""
    if row.audio is None or row.audio.start_seconds or row.audio.end_seconds is not None:
        return None
    if isinstance(told := row.annotations.get("duration_seconds"), int | float):
        return float(told)
    if row.video is not None and row.video.end_seconds is not None and row.video.uri != row.audio.uri:
        return row.video.end_seconds - row.video.start_seconds
    return None


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
    audio, video = (next(iter(streams), None) for streams in (container.streams.audio, container.streams.video))
    lengths = [None if s is None else _stream_seconds(s, whole) for s in (audio, video)]
    claims = [declared_seconds(container, stream, path) for stream in (audio, video) if stream is not None]
    there, claimed = max((n for n in lengths if n), default=0.0), max((n for n in claims if n), default=0.0)
    is_cut = claimed - there > max(END_TOLERANCE_SECONDS, _CUT_OFF_SHARE * claimed)
    rate = float((video.average_rate or video.guessed_rate or 0) if video is not None else 0)
    return MediaHeader(
        uri,
        audio_seconds=lengths[0],
        video_seconds=lengths[1],
        declared_seconds=claimed if is_cut else None,
        audio=audio and (int(audio.rate or 0), int(audio.channels or 0)),
        video=video and (int(video.width or 0), int(video.height or 0), round(rate, 2)),
    )


def _stream_seconds(stream: Any, whole: float | None) -> float | None:
    seconds = whole if stream.duration is None else float(stream.duration * stream.time_base)
    return seconds if seconds and seconds > 0 else None


def check_headers(headers: Sequence[MediaHeader], uses: dict[str, _Use]) -> Iterator[Problem]:
    """What is missing or odd, file by file."""
    usual_audio = _most_common(header.audio for header in headers if "audio" in uses[header.uri].kinds)
    usual_video = _most_common(header.video for header in headers if "video" in uses[header.uri].kinds)
    for header in headers:
        use = uses[header.uri]
        for category, message in _check_header(header, use, usual_audio, usual_video):
            yield Problem(category, printable(header.uri), printable(message))


def _most_common(values: Iterable[Any]) -> tuple[Any, int, int]:
    """The value that most files have, how many have it, and how many files have any."""
    counts = Counter(value for value in values if value is not None)
    value, number = counts.most_common(1)[0] if counts else (None, 0)
    return value, number, counts.total()


def _check_header(
    header: MediaHeader, use: _Use, usual_audio: tuple[Any, int, int], usual_video: tuple[Any, int, int]
) -> Iterator[tuple[Category, str]]:
    if header.error is not None:
        yield "media_missing" if header.missing else "media_unreadable", header.error
        return
    if header.declared_seconds is not None:
        yield "cut_off", f"the header tells {header.declared_seconds:.2f} s, the file holds less: copy it again"
    kinds: tuple[tuple[str, Category, Any, float | None, float], ...] = (
        ("audio", "no_audio_stream", header.audio, header.audio_seconds, END_TOLERANCE_SECONDS),
        ("video", "no_video_stream", header.video, header.video_seconds, VIDEO_END_TOLERANCE_SECONDS),
    )
    for kind, missing, stream, seconds, tolerance in kinds:
        if kind not in use.kinds:
            continue
        if stream is None:
            yield missing, f"expected a stream of {kind}, found none"
        elif seconds is None:
            yield "no_duration", f"the length of its {kind} is unknown: spans are not compared with it"
        else:
            yield from _check_spans(kind, seconds, tolerance, use)
    if header.audio_seconds is not None:
        yield from _check_lengths(header.audio_seconds, use)
    yield from _check_form(header, use, usual_audio, usual_video)


def _check_spans(kind: str, seconds: float, tolerance: float, use: _Use) -> Iterator[tuple[Category, str]]:
    late = [(end, name) for end, name in use.ends[kind] if end > seconds + tolerance]
    if late:
        end, name = max(late)
        message = f"{len(late)} utterances end behind its {kind} of {seconds:.2f} s, the last at {end:.2f} s ({name})"
        yield "span_outside", message


def _check_lengths(seconds: float, use: _Use) -> Iterator[tuple[Category, str]]:
    for told, name in use.lengths:
        if abs(told - seconds) > _LENGTH_TOLERANCE_SECONDS:
            yield "length_differs", f"{seconds:.2f} s long, {name} lasts {told:.2f} s by the corpus's own times"


def _check_form(
    header: MediaHeader, use: _Use, usual_audio: tuple[Any, int, int], usual_video: tuple[Any, int, int]
) -> Iterator[tuple[Category, str]]:
    if header.audio and "audio" in use.kinds:
        (rate, channels), (usual, number, files) = header.audio, usual_audio
        if header.audio != usual:
            yield "odd_audio", f"{rate} Hz, {channels} channels; {number} of {files} files: {usual[0]} Hz, {usual[1]}"
        elif rate < SAMPLING_RATE_HZ:
            yield "odd_audio", f"{rate} Hz: extractors want {SAMPLING_RATE_HZ} Hz, nothing fills the upper band"
    if header.video and "video" in use.kinds:
        (width, height, pace), (usual, number, files) = header.video, usual_video
        if header.video != usual:
            others = f"{number} of {files} files: {usual[0]}x{usual[1]}, {usual[2]}"
            yield "odd_video", f"{width}x{height}, {pace} frames a second; {others}"


def write_problems(problems: Iterable[Problem], path: Path) -> None:
    """Write problems as CSV, by category: `category`, `where`, `message`, `utterances_lost`."""
    order = {category: place for place, category in enumerate(CATEGORIES)}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["category", "where", "message", "utterances_lost"])
    for problem in sorted(problems, key=lambda problem: order[problem.category]):
        writer.writerow([problem.category, problem.where, problem.message, problem.lost])
    write_bytes(path, text.getvalue().encode())
