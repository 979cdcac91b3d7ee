"""Lists of marks: utterances that are bad, and corrected labels, as `mmpipe browse` keeps them in a CSV file.

    utterance_id,mark,label,note
    meld/train/dia0_utt0,bad,,two people speak
    meld/train/dia0_utt1,,joy,

`mmpipe extract` and `mmpipe train` leave out what such a list marks as bad.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mmpipe.core.errors import UsageError
from mmpipe.core.files import write_bytes
from mmpipe.core.reading import read_limited
from mmpipe.core.text import clean
from mmpipe.pipeline.outputs import MARK_COLUMNS

__all__ = ["Mark", "list_text", "read_marks", "write_marks"]

_BAD = "bad"
"""What the column `mark` holds of an utterance that is to be left out; it is empty for others."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What is said of one utterance.

    Attributes:
        is_bad: leave it out.
        label: its label is this; None keeps the corpus's own.
        note: any text.
    """

    is_bad: bool = False
    label: str | None = None
    note: str = ""

    def __bool__(self) -> bool:
        return self.is_bad or self.label is not None or bool(self.note)


def read_marks(path: Path) -> dict[str, Mark]:
    """The marks of a list, by utterance.

    Raises:
        UsageError: it cannot be read, has other columns, an unknown mark, or an utterance twice.
    """
    try:
        return _parsed(read_limited(path))
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"the list of marks {path} cannot be read: {reason}; `mmpipe browse` writes one, with the columns "
            f"{', '.join(MARK_COLUMNS)}"
        ) from error


def _parsed(data: bytes) -> dict[str, Mark]:
    rows = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
    header = next(rows, [])
    if tuple(header) != MARK_COLUMNS:
        raise ValueError(f"its columns are {','.join(header)[:80] or 'none'}")
    marks: dict[str, Mark] = {}
    for cells in rows:
        where = f"line {rows.line_num}"
        if not cells:
            continue
        if len(cells) != len(MARK_COLUMNS):
            raise ValueError(f"{where} has {len(cells)} cells, expected {len(MARK_COLUMNS)}")
        utterance_id, mark, label, note = cells
        if mark not in ("", _BAD):
            raise ValueError(f"{where} has the mark {mark[:40]!r}, expected {_BAD!r} or none")
        if not utterance_id or utterance_id in marks:
            raise ValueError(f"{where} names {'the utterance again' if utterance_id else 'no utterance'}")
        marks[utterance_id] = Mark(mark == _BAD, clean(label) or None, note)
    return marks


def list_text(marks: Mapping[str, Mark]) -> str:
    """The text of a list, sorted by utterance.

    Example:
        >>> print(list_text({"a/1": Mark(is_bad=True, note="noise")}), end="")
        utterance_id,mark,label,note
        a/1,bad,,noise
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(MARK_COLUMNS)
    for utterance_id, mark in sorted(marks.items()):
        writer.writerow((utterance_id, _BAD if mark.is_bad else "", mark.label or "", mark.note))
    return out.getvalue()


def write_marks(path: Path, marks: Mapping[str, Mark]) -> None:
    """Write a list atomically.

    Raises:
        StorageError: it cannot be written.
    """
    write_bytes(path, list_text(marks).encode())
