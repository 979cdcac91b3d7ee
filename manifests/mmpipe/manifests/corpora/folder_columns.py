"""Columns of a table of clips: their names and aliases, and the values that mean nothing.

A name is matched without case, spaces and punctuation (`Utterance_ID`, `utterance id`). Where several columns of a
table could be meant, the column's own name counts first, then the aliases in the order given here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmpipe.core.errors import CorpusError, UsageError
from mmpipe.core.text import clean, printable
from mmpipe.manifests.contract import Prepared
from mmpipe.manifests.formats.text import parse_seconds

__all__ = ["ALIASES", "ATTRIBUTES", "choose_columns", "json_value", "parse_columns", "plain_value"]

ATTRIBUTES = ("label", "speaker", "split", "session", "dialogue", "gender")
"""Columns of a table that become columns of the manifest."""

ALIASES: dict[str, tuple[str, ...]] = {
    "file": ("filename", "file_path", "path", "clip", "clip_path", "wav", "wav_file", "wav_path", "audio", "audio_file",
             "audio_path", "video", "video_file", "video_path", "media"),
    "utterance_id": ("utt_id", "id", "uid", "segment_id"),
    "start_seconds": ("start", "start_time", "start_sec", "begin", "onset"),
    "end_seconds": ("end", "end_time", "end_sec", "stop", "offset"),
    "duration_seconds": ("duration", "duration_sec", "length_seconds"),
    "text": ("utterance", "transcript", "transcription", "sentence", "utterance_text"),
    "label": ("emotion", "emotion_label", "emo"),
    "speaker": ("speaker_id", "speaker_name", "spk", "spk_id", "actor", "client_id"),
    "split": ("partition", "subset"),
    "session": ("session_id",),
    "dialogue": ("dialogue_id", "dialog", "dialog_id", "conversation_id"),
    "gender": ("sex",),
}  # fmt: skip
"""Every column of a table, and the names that mean the same."""

_TIMES = ("start_seconds", "end_seconds", "duration_seconds")
_MISSING = frozenset(("nan", "NaN", "NAN", "-nan", "<NA>", "NaT"))
_DEEPEST = 50


def _key(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold())


def parse_columns(assignments: Iterable[str]) -> dict[str, str]:
    """`label=Emotion` texts as the table's column by known column.

    Raises:
        UsageError: a text is not of that form, or the known column does not exist.

    Example:
        >>> parse_columns(["label=Emotion"])
        {'label': 'Emotion'}
    """
    chosen: dict[str, str] = {}
    for text in assignments:
        known, equals, name = (part.strip() for part in text.partition("="))
        if not equals or not name or known not in ALIASES:
            valid = ", ".join(ALIASES)
            raise UsageError(f"column {text!r}: expected KNOWN=NAME, such as label=Emotion; known columns: {valid}")
        chosen[known] = name
    return chosen


def choose_columns(
    where: str, rows: Sequence[Mapping[str, Any]], chosen: Mapping[str, str], prepared: Prepared
) -> dict[str, str]:
    """The known column of each column of a table, by its name; all others are annotations.

    An alias of a time counts only where all its values are seconds, and a column of ids only where most of them differ:
    numbers that begin again in every dialogue are not ids.

    Args:
        where: the table, for problems.
        rows: its rows.
        chosen: the table's column by known column, where the user names it.
        prepared: takes the problems.

    Raises:
        CorpusError: a chosen column is not in the table.
    """
    names = list(dict.fromkeys(str(name) for row in rows for name in row))
    known: dict[str, str] = {}
    for column, wanted in chosen.items():
        exact = [name for name in names if name == wanted] or [name for name in names if _key(name) == _key(wanted)]
        if not exact:
            found = printable(", ".join(names))
            raise CorpusError(f"{printable(where)}: there is no column {wanted!r} for {column}; columns: {found}")
        known[exact[0]] = column
    for column, aliases in ALIASES.items():
        if column in known.values():
            continue
        by_rank = [
            [name for name in names if name not in known and _key(name) == _key(alias)] for alias in (column, *aliases)
        ]
        fitting = [name for ranked in by_rank for name in ranked]
        if column in _TIMES:
            fitting = [name for name in fitting if name == column or _is_seconds(where, name, column, rows, prepared)]
        if column == "utterance_id":
            fitting = [name for name in fitting if _is_id(where, name, rows, prepared)]
        if fitting:
            known[fitting[0]] = column
        if len(fitting) > 1:
            message = f"column {fitting[0]!r} is the {column}; {', '.join(map(repr, fitting[1:]))} become annotations"
            prepared.problem("ambiguous_column", where, f"{message}; choose by column={column}=NAME")
    return known


def _is_seconds(where: str, name: str, column: str, rows: Sequence[Mapping[str, Any]], prepared: Prepared) -> bool:
    for row in rows:
        value = plain_value(row.get(name))
        if value is not None and parse_seconds(value) is None:
            message = f"column {name!r} is not the {column}: {value[:40]!r} is not a number of seconds; an annotation"
            prepared.problem("ambiguous_column", where, message)
            return False
    return True


def _is_id(where: str, name: str, rows: Sequence[Mapping[str, Any]], prepared: Prepared) -> bool:
    values = [str(row[name]) for row in rows if row.get(name) not in (None, "")]
    differ = len(set(values))
    if 2 * differ >= len(values):
        return True
    message = f"column {name!r} has {differ} values in {len(values)} rows: not the utterance_id; an annotation"
    prepared.problem("ambiguous_column", where, f"{message}; choose it by column=utterance_id={name}")
    return False


def plain_value(value: Any) -> str | None:
    r"""A value of a known column as one line; None where it is missing (empty, null or NaN).

    Raises:
        TypeError: the value is an object, a list or a truth value.

    Example:
        >>> plain_value(" so\n"), plain_value(7), plain_value(float("nan")), plain_value("NaN"), plain_value("")
        ('so', '7', None, None, None)
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool | dict | list):
        raise TypeError(f"{'true or false' if isinstance(value, bool) else 'an object or a list'}")
    text = clean(str(value))
    return None if not text or text in _MISSING else text


def json_value(value: Any, depth: int = 0) -> Any:
    """A value of another column, as JSON can hold it: texts in one line, NaN and infinities as null.

    Raises:
        TypeError: objects and lists are nested too deeply.
    """
    if depth > _DEEPEST:
        raise TypeError(f"more than {_DEEPEST} objects and lists inside each other")
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {clean(str(name)): json_value(item, depth + 1) for name, item in value.items()}
    return [json_value(item, depth + 1) for item in value] if isinstance(value, list) else value
