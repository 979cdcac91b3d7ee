"""Ids of the utterances of a folder: from what they are, and never from their line or their number in a file.

So a row or cue that is inserted, removed or moved does not change the id of another one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from mmpipe.manifests.contract import Prepared
from mmpipe.manifests.formats.text import format_seconds
from mmpipe.manifests.schema import Utterance

__all__ = ["name_apart", "span_name", "text_name"]

_WORDS_SHOWN, _LONGEST_SHOWN = 4, 32


def span_name(name: str, start: float, end: float | None) -> str:
    """The name of a part of a clip: the clip's name for the whole of it, else with its times.

    Example:
        >>> span_name("a.mp4", 0.0, None), span_name("a.mp4", 1.5, 3.25), span_name("a.mp4", 1.5, None)
        ('a.mp4', 'a.mp4@1.5-3.25', 'a.mp4@1.5')
    """
    if not start and end is None:
        return name
    return f"{name}@{format_seconds(start)}" + ("" if end is None else f"-{format_seconds(end)}")


def text_name(text: str, voice: Sequence[str]) -> str:
    """The name of a text without media: its first words and a hash of the text and of who says it where.

    Example:
        >>> text_name("So good!", ("", "dia0", "Ann"))
        'text/so-good-f71b1940af87'
    """
    words = "-".join(re.findall(r"\w+", text.casefold())[:_WORDS_SHOWN])[:_LONGEST_SHOWN]
    return "text/" + "-".join(filter(None, (words, _hash([text, *voice]))))


def name_apart(found: Iterable[tuple[str, Utterance]], prepared: Prepared) -> list[Utterance]:
    """The utterances, each with an id of its own, in their order.

    Utterances of one id that differ are distinguished by file, speaker or a hash of what is said. Of those that do not
    differ, the first counts; texts without media may be said twice, so they are numbered.

    Args:
        found: the utterances, each with its place for problems.
        prepared: takes the problems.
    """
    rows = list(found)
    by_id: dict[str, list[int]] = defaultdict(list)
    for place, (_, row) in enumerate(rows):
        by_id[row.utterance_id].append(place)
    taken, names = set(by_id), dict[int, str | None]()
    for utterance_id, places in by_id.items():
        if len(places) == 1:
            continue
        tell = _what_differs([rows[place][1] for place in places])
        equal: dict[str, list[int]] = defaultdict(list)
        for place in places:
            equal[tell(rows[place][1])].append(place)
        for mark, same in equal.items():
            if rows[same[0]][1].audio is None:
                same.sort(key=lambda place: _content(rows[place][1]))
            for count, place in enumerate(same):
                if count and rows[place][1].audio is not None:
                    message = f"{utterance_id} occurs twice, with the same text: the first counts; skipped"
                    prepared.problem("repeated_id", rows[place][0], message, lost=1)
                    names[place] = None
                    continue
                name = utterance_id + mark + (f"~{count + 1}" if count else "")
                while name != utterance_id and name in taken:
                    name += "~"
                taken.add(name)
                names[place] = name
                if name != utterance_id:
                    message = f"{utterance_id} is the id of {len(places)} utterances: this one is {name}"
                    prepared.problem("repeated_id", rows[place][0], message)
    named = ((names.get(place, row.utterance_id), row) for place, (_, row) in enumerate(rows))
    return [replace(row, utterance_id=name) for name, row in named if name is not None]


def _what_differs(rows: Sequence[Utterance]) -> Callable[[Utterance], str]:
    """What tells these utterances apart, as the end of an id; an empty text where nothing does."""
    number = len({_identity(row) for row in rows})
    forms: tuple[Callable[[Utterance], str], ...] = (
        lambda row: "",
        lambda row: f"@{row.audio.uri}" if row.audio else "",
        lambda row: f"#{row.speaker}" if row.speaker else "",
    )
    return next(
        (form for form in forms if len({form(row) for row in rows}) == number), lambda row: "#" + _identity(row)
    )


def _identity(row: Utterance) -> str:
    return _hash([row.audio.uri if row.audio else None, row.session, row.dialogue, row.speaker, row.text])


def _content(row: Utterance) -> str:
    """A text that puts equal texts in an order which their table does not decide."""
    return json.dumps(
        [row.label_source, row.label, row.split, row.gender, row.annotations], sort_keys=True, default=str
    )


def _hash(values: Sequence[str | None]) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:12]
