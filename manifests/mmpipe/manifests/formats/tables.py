"""Rows of CSV, TSV and JSONL files. What cannot be read is reported with its line and skipped."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmpipe.core.reading import parse_json
from mmpipe.manifests.contract import Prepared
from mmpipe.manifests.formats.text import read_text

__all__ = ["TABLE_ENDINGS", "read_rows"]

TABLE_ENDINGS = (".csv", ".tsv", ".jsonl")

_LINES_OF_A_ROW = 100
"""A quote that is open for more lines than this was never meant to open a cell."""


def read_rows(root: Path, path: Path, prepared: Prepared) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number (that of a row's first line) and values by column of every row.

    The header decides between comma, semicolon and tab. Cells of a table with tabs are not quoted (those of speech
    corpora are not), unless the whole header is. In other tables a quote that is not closed is reported, and its line
    is read without quotes.

    Args:
        root: the corpus root, which contains `path`.
        path: a file that ends in .jsonl (one object a line), or anything else (a table with a header).
        prepared: takes the problems.
    """
    text = read_text(root, path, prepared)
    if text is None:
        return
    where = path.relative_to(root).as_posix()
    if path.suffix.lower() == ".jsonl":
        yield from _json_rows(where, text, prepared)
    else:
        yield from _table_rows(where, text.split("\n"), prepared)


def _json_rows(where: str, text: str, prepared: Prepared) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line, nan_is_null=True)
        except ValueError as error:
            prepared.problem("malformed_line", f"{where}:{number}", f"not JSON, skipped: {error}", lost=1)
            continue
        if isinstance(row, dict):
            yield number, row
        else:
            kind = type(row).__name__
            prepared.problem("malformed_line", f"{where}:{number}", f"expected an object, got {kind}: skipped", lost=1)


def _delimiter(header: str) -> str:
    """The delimiter that the header has most often outside quotes.

    Example:
        >>> _delimiter("file;text, as spoken;label"), _delimiter("text"), _delimiter('"a;b;c;d",e')
        (';', ',', ',')
    """
    bare = re.sub(r'"[^"]*"', "", header)
    return max((",", ";", "\t"), key=bare.count)


def _table_rows(where: str, lines: Sequence[str], prepared: Prepared) -> Iterator[tuple[int, dict[str, Any]]]:
    first = next((n for n, line in enumerate(lines) if line.strip()), 0)
    # Excel writes `sep=;` above the header.
    separator = re.fullmatch(r"sep=([,;\t])", lines[first].strip("\ufeff"))
    first += 1 if separator else 0
    delimiter = separator[1] if separator else _delimiter(lines[first] if first < len(lines) else "")
    names = (name.strip() for name in lines[first].split("\t")) if first < len(lines) else ()
    is_quoted = delimiter != "\t" or all(len(name) > 1 and name[0] == name[-1] == '"' for name in names)
    header: list[str] = []
    for number, cells in _cells(where, lines, first, delimiter, is_quoted, prepared):
        at = f"{where}:{number}"
        if not any(cell.strip() for cell in cells):
            continue
        if not header:
            header = [cell.strip() for cell in cells]
            if twice := sorted({name for name in header if header.count(name) > 1}):
                prepared.problem("malformed_line", at, f"columns {twice} occur twice: the last counts")
        elif len(cells) > len(header):
            prepared.problem("malformed_line", at, f"{len(cells)} cells for {len(header)} columns: skipped", lost=1)
        else:
            yield number, dict(zip(header, cells + [""] * (len(header) - len(cells)), strict=True))


def _cells(
    where: str, lines: Sequence[str], first: int, delimiter: str, is_quoted: bool, prepared: Prepared
) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every row, the header included."""
    at = first
    while at < len(lines):
        number, line = at + 1, lines[at]
        if not is_quoted or '"' not in line:
            at += 1
            yield number, line.split(delimiter)
            continue
        taken = iter(f"{line}\n" for line in lines[at : at + _LINES_OF_A_ROW])
        reader = csv.reader(taken, delimiter=delimiter, strict=True)
        try:
            cells = next(reader)
            at += reader.line_num
        except (csv.Error, StopIteration) as error:
            prepared.problem("malformed_line", f"{where}:{number}", f"read without quotes: {error}")
            cells = line.split(delimiter)
            at += 1
        yield number, cells
