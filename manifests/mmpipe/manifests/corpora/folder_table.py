"""The rows of a table of clips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from mmpipe.core.errors import CorpusError
from mmpipe.core.text import printable
from mmpipe.manifests.contract import Prepared
from mmpipe.manifests.corpora.folder_clips import AUDIO_ENDINGS, Clip
from mmpipe.manifests.corpora.folder_columns import ATTRIBUTES, choose_columns, json_value, plain_value
from mmpipe.manifests.corpora.folder_ids import span_name, text_name
from mmpipe.manifests.corpora.folder_transcripts import Transcripts
from mmpipe.manifests.formats.tables import read_rows
from mmpipe.manifests.formats.text import parse_seconds
from mmpipe.manifests.io import is_file, lies_inside, unsafe_uri

__all__ = ["Listed", "listed_clips", "table_clips"]


@dataclass(frozen=True, slots=True)
class Listed:
    """A row of a table.

    Attributes:
        name: its `utterance_id`; without one, a name from its file and span, or from its text.
        has_own_id: whether the table gives its name.
        where: the table and the line.
        file: relative to the root; None for text alone.
        start_seconds: start in the file.
        end_seconds: end in the file; None for its end.
        text: what is said, as one line; empty if the table does not give it.
        attributes: values of `ATTRIBUTES` that the row gives.
        annotations: all other columns.
    """

    name: str
    has_own_id: bool
    where: str
    file: str | None
    start_seconds: float = 0.0
    end_seconds: float | None = None
    text: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_video(self) -> bool:
        """Whether the file may have video: its streams decide, unless its ending is one of audio."""
        return self.file is not None and PurePosixPath(self.file).suffix.lower() not in AUDIO_ENDINGS


def table_clips(
    root: Path, table: str, prepared: Prepared, *, columns: Mapping[str, str], follow_links: bool = False
) -> Iterator[Listed]:
    """The rows of a table of clips, in its order; rows that cannot be used are reported and skipped.

    Args:
        root: the corpus root.
        table: the table, relative to it.
        prepared: takes the problems.
        columns: the table's column by known column, where the user names it.
        follow_links: accept files that are links out of the root.

    Raises:
        CorpusError: the table does not exist, is outside the root, or has neither a column of files nor one of texts.
    """
    path = root / table
    if unsafe_uri(table) or not lies_inside(path, root):
        raise CorpusError(f"the table {printable(table)} must lie in {printable(root)}: give a path relative to it")
    if not is_file(path):
        raise CorpusError(f"the table {printable(path)} does not exist")
    where = path.relative_to(root).as_posix()
    rows = list(read_rows(root, path, prepared))
    known = choose_columns(where, [row for _, row in rows], columns, prepared)
    if rows and not {"file", "text"} & set(known.values()):
        found = printable(", ".join(map(str, rows[0][1])))
        raise CorpusError(
            f"{printable(where)}: expected a column `file` or `text`; found {found}. Name one by column=text=NAME"
        )
    seen: set[str] = set()
    for number, row in rows:
        at = f"{where}:{number}"
        listed = _listed(root, at, row, known, prepared)
        if listed is None:
            continue
        if listed.has_own_id and listed.name in seen:
            prepared.problem("repeated_id", at, f"{listed.name} occurs twice: the first row counts; skipped", lost=1)
            continue
        seen.update([listed.name] if listed.has_own_id else [])
        if listed.file and not follow_links and not lies_inside(root / listed.file, root):
            message = f"{listed.file!r} is a link that leaves the root: skipped (--follow-links reads it)"
            prepared.problem("leaves_root", at, message, lost=1)
            continue
        if listed.file and not is_file(root / listed.file):
            prepared.problem("media_missing", listed.file, f"{at} names it: its row gets the status media_missing")
        yield listed


def listed_clips(rows: Iterator[Listed], transcripts: Transcripts, prepared: Prepared) -> list[Clip]:
    """The files that a table names, with what it says of each; rows of texts and of parts of files are reported."""
    clips: dict[str, Listed] = {}
    for listed in rows:
        if listed.file is None or listed.start_seconds or listed.end_seconds is not None:
            message = f"{listed.name} is not a whole file: its cues and words are not known from the others; skipped"
            prepared.problem("malformed_line", listed.where, message, lost=1)
        elif listed.file in clips:
            message = f"{listed.file} occurs twice: the first row counts"
            prepared.problem("duplicate_clip", listed.where, message, lost=1)
        else:
            clips[listed.file] = listed
    return [
        Clip(
            uri,
            uri,
            uri if listed.has_video else None,
            transcripts.beside(uri),
            listed.attributes,
            listed.annotations,
        )
        for uri, listed in clips.items()
    ]


def _listed(
    root: Path, where: str, row: Mapping[str, Any], known: Mapping[str, str], prepared: Prepared
) -> Listed | None:
    try:
        plain = {known[name]: plain_value(row[name]) for name in row if name in known}
        annotations = {name: json_value(row[name]) for name in row if name not in known}
    except TypeError as error:
        column = next((name for name in row if name in known and isinstance(row[name], bool | dict | list)), "row")
        message = f"column {column!r}: expected a text or a number, got {error}: skipped"
        prepared.problem("malformed_line", where, message, lost=1)
        return None
    values = {name: value for name, value in plain.items() if value is not None}
    file = _path(root, values.get("file"))
    if file is not None and (reason := unsafe_uri(file)):
        prepared.problem("leaves_root", where, f"{file!r} is {reason}: skipped", lost=1)
        return None
    file = file and PurePosixPath(file).as_posix()  # `./a.wav` is `a.wav`
    times: dict[str, float | None] = {}
    for name in ("start_seconds", "end_seconds", "duration_seconds"):
        times[name] = parse_seconds(values.get(name))
        if values.get(name) and times[name] is None:
            message = f"{name} {values[name]!r} is not a time of 0 or more: skipped"
            prepared.problem("malformed_line", where, message, lost=1)
            return None
    start, end, length = times["start_seconds"] or 0.0, times["end_seconds"], times["duration_seconds"]
    if end is None and length is not None:
        end = start + length
    if end is not None and end <= start:
        prepared.problem("times_backwards", where, f"from {start} to {end} s: skipped", lost=1)
        return None
    if file is None and not values.get("text"):
        prepared.problem("malformed_line", where, "the row names no file and has no text: skipped", lost=1)
        return None
    text, own = values.get("text", ""), values.get("utterance_id")
    voice = tuple(values.get(name) or "" for name in ("session", "dialogue", "speaker"))
    return Listed(
        name=own or (span_name(file, start, end) if file else text_name(text, voice)),
        has_own_id=own is not None,
        where=where,
        file=file,
        start_seconds=start,
        end_seconds=end,
        text=text,
        attributes={name: values[name] for name in ATTRIBUTES if values.get(name)},
        annotations={str(name): value for name, value in annotations.items() if value not in (None, "")},
    )


def _path(root: Path, file: str | None) -> str | None:
    r"""A file of a table with forward slashes: a table made on Windows has `clips\a.wav`."""
    if file is None or "\\" not in file or is_file(root / file):
        return file
    return PureWindowsPath(file).as_posix()
