"""Utterances of two splits or folds whose media are the same: a model has then seen what it is tested on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmpipe.core.text import printable
from mmpipe.manifests.contract import Problem
from mmpipe.manifests.schema import MediaSpan, Utterance
from mmpipe.manifests.splits import fold_of
from mmpipe.pipeline.hardware import available_cores
from mmpipe.pipeline.media.content_hash import hash_media, is_hash, media_identities
from mmpipe.pipeline.media.headers import MediaHeader

__all__ = ["duplicate_problems"]

_SHOWN_NAMES = 5


@dataclass(frozen=True, slots=True)
class _Use:
    """A span of a file in an utterance of one split or fold.

    Attributes:
        side: "splits" or "folds", and the name of the one.
        uri: the file.
        piece: start, end and region; the end is None at the end of the file.
        utterance_id: whose span it is.
    """

    side: tuple[str, str]
    uri: str
    piece: tuple[Any, ...]
    utterance_id: str


def duplicate_problems(
    root: Path, utterances: Iterable[Utterance], headers: Sequence[MediaHeader], logs: Path | None = None
) -> Iterator[Problem]:
    """Media whose same span is in two splits of the corpus or two folds of its table: one problem for each content.

    Files are compared by size first; only files of equal size in different splits or folds are read.

    Args:
        root: the corpus root.
        utterances: those of its manifest.
        headers: of their media, for the ends of files.
        logs: the folder of a cache of hashes, which is read only; None for no cache.

    Raises:
        ResourceError: the machine fails, see `hash_media`.
    """
    uses = list(_uses(utterances, headers))
    sides: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for use in uses:
        sides[use.uri].add(use.side)
    contents = _contents(root, sides, logs)
    pieces: dict[tuple[Any, ...], list[_Use]] = defaultdict(list)
    for use in uses:
        pieces[(contents.get(use.uri, use.uri), use.side[0], use.piece)].append(use)
    crossing: dict[tuple[str, str], list[_Use]] = defaultdict(list)
    for (content, kind, _), same in pieces.items():
        if _crosses(use.side for use in same):
            crossing[content, kind] += same
    yield from map(_problem, crossing.values())


def _uses(utterances: Iterable[Utterance], headers: Sequence[MediaHeader]) -> Iterator[_Use]:
    lengths = {
        (kind, header.uri): seconds
        for header in headers
        for kind, seconds in (("audio", header.audio_seconds), ("video", header.video_seconds))
    }
    for row in utterances:
        named = (("splits", row.split), ("folds", fold_of(row.annotations)))
        for side in [(kind, name) for kind, name in named if name is not None]:
            for kind, span in (("audio", row.audio), ("video", row.video)):
                if span is not None:
                    yield _Use(side, span.uri, _piece(span, lengths.get((kind, span.uri))), row.utterance_id)


def _piece(span: MediaSpan, length: float | None) -> tuple[Any, ...]:
    """Start, end and region of a span. One that ends with its file, of `length` seconds, is written without an end."""
    at_end = span.end_seconds is not None and length is not None and span.end_seconds >= length
    return span.start_seconds, None if at_end else span.end_seconds, span.region


def _crosses(sides: Iterable[tuple[str, str]]) -> bool:
    """Whether there are two splits, or two folds, among these."""
    names = set(sides)
    return len(names) > len({kind for kind, _ in names})


def _contents(root: Path, sides: Mapping[str, set[tuple[str, str]]], logs: Path | None) -> dict[str, str]:
    """What stands for the content of each file that may be equal to one of another split or fold."""
    if not _crosses(side for found in sides.values() for side in found):
        return {}
    files = media_identities(root, sides, available_cores())
    by_size: dict[int, list[str]] = defaultdict(list)
    for uri, (size, _) in files.items():
        if size:
            by_size[size].append(uri)
    alike = [uris for uris in by_size.values() if _crosses(side for uri in uris for side in sides[uri])]
    read: dict[str, str] = {}
    for uris in alike:
        one_name_each = {files[uri][1]: uri for uri in uris}
        if len(one_name_each) > 1:  # not links to one file alone
            read |= one_name_each
    by_uri = hash_media(root, read.values(), logs, available_cores()).by_uri
    hashes = {file: by_uri[uri] for file, uri in read.items() if is_hash(by_uri[uri])}
    return {uri: hashes.get(files[uri][1], files[uri][1]) for uris in alike for uri in uris}


def _problem(uses: list[_Use]) -> Problem:
    kind = uses[0].side[0]
    names = list(dict.fromkeys(use.side[1] for use in uses))
    where, *others = dict.fromkeys(use.uri for use in uses)
    rows = list(dict.fromkeys(use.utterance_id for use in uses))
    held = f"the same content as {_listed(others)}" if others else "the same span of it"
    message = (
        f"{held}, in the {kind} {_listed(names)} ({len(rows)} utterances: {_listed(rows)}): figures on these {kind} "
        "are too high unless all but one are left out"
    )
    return Problem("duplicate_crosses", printable(where), printable(message))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN_NAMES]) + (" ..." if len(names) > _SHOWN_NAMES else "")
