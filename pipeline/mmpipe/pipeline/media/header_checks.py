"""Check the media of a manifest by their headers: durations, streams, sampling rates, frame sizes.

Everything odd becomes a `Problem` of `mmpipe.manifests.contract`, beside those that the reader of the corpus noted.
"""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmpipe.core.files import write_bytes
from mmpipe.core.statuses import CATEGORIES, Category
from mmpipe.core.text import printable
from mmpipe.extractors.contract import SAMPLING_RATE_HZ
from mmpipe.manifests.contract import Problem
from mmpipe.manifests.schema import Utterance
from mmpipe.pipeline.media.headers import MediaHeader, read_headers
from mmpipe.pipeline.media.readers import END_TOLERANCE_SECONDS, VIDEO_END_TOLERANCE_SECONDS
from mmpipe.pipeline.outputs import PROBLEM_COLUMNS

__all__ = ["check_headers", "media_uses", "read_headers", "write_problems"]

_LENGTH_TOLERANCE_SECONDS = 1.0
"""A clip may differ so much from the length that its corpus gives: cuts lie on frames and on keyframes."""


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
    elif header.lost_bytes:
        yield "cut_off", f"{header.lost_bytes} bytes are missing by the file's own count: copy it again"
    odd = [oddity for oddity in header.odd if oddity.kind in use.kinds]
    unread = {oddity.kind for oddity in odd if oddity.category in ("no_decoder", "cover_only")}
    kinds: tuple[tuple[str, Category, Any, float | None, float], ...] = (
        ("audio", "no_audio_stream", header.audio, header.audio_seconds, END_TOLERANCE_SECONDS),
        ("video", "no_video_stream", header.video, header.video_seconds, VIDEO_END_TOLERANCE_SECONDS),
    )
    for kind, missing, stream, seconds, tolerance in kinds:
        if kind not in use.kinds or kind in unread:
            continue
        if stream is None:
            yield missing, f"expected a stream of {kind}, found none"
        elif seconds is None:
            yield "no_duration", f"the length of its {kind} is unknown: spans are not compared with it"
        else:
            yield from _check_spans(kind, seconds, tolerance, use)
    if header.audio_seconds is not None:
        yield from _check_lengths(header.audio_seconds, use)
    yield from ((oddity.category, oddity.message) for oddity in odd)
    yield from _check_form(header, use, usual_audio, usual_video)


def _check_spans(kind: str, seconds: float, tolerance: float, use: _Use) -> Iterator[tuple[Category, str]]:
    late = [(end, name) for end, name in use.ends[kind] if end > seconds + tolerance]
    if late:
        end, name = max(late)
        message = f"{len(late)} utterances end after its {kind} of {seconds:.2f} s, the last at {end:.2f} s ({name})"
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
    writer.writerow(PROBLEM_COLUMNS)
    for problem in sorted(problems, key=lambda problem: order[problem.category]):
        writer.writerow([problem.category, problem.where, problem.message, problem.lost])
    write_bytes(path, text.getvalue().encode())
