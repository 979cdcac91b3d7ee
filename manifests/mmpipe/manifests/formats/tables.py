"""Rows of CSV, TSV and JSONL files. What cannot be read is noted with its line and skipped."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmpipe.manifests.contract import Prepared
from mmpipe.manifests.formats.text import read_text

__all__ = ["read_rows"]


def read_rows(root: Path, path: Path, prepared: Prepared) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number (that of a row's first line) and values by column of every row.

    A cell of more than 131,072 characters is malformed: an unclosed quote swallows the rest of a file.

    Args:
        root: the corpus root, which contains `path`.
        path: a file that ends in .jsonl (one object a line), .tsv, or anything else (CSV with a header).
        prepared: takes the problems.
    """
    text = read_text(root, path, prepared)
    if text is None:
        return
    where = path.relative_to(root).as_posix()
    if path.suffix.lower() == ".jsonl":
        yield from _json_rows(where, text, prepared)
    else:
        yield from _csv_rows(where, text, "\t" if path.suffix.lower() == ".tsv" else ",", prepared)


def _json_rows(where: str, text: str, prepared: Prepared) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            prepared.problem("malformed_line", f"{where}:{number}", f"no JSON, skipped: {error}", lost=1)
            continue
        if isinstance(row, dict):
            yield number, row
        else:
            kind = type(row).__name__
            prepared.problem("malformed_line", f"{where}:{number}", f"expected an object, got {kind}: skipped", lost=1)


def _csv_rows(where: str, text: str, delimiter: str, prepared: Prepared) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.reader((f"{line}\n" for line in text.split("\n")), delimiter=delimiter)
    header: list[str] = []
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            prepared.problem("malformed_line", f"{where}:{number}", f"skipped: {error}", lost=1)
            continue
        if not any(cell.strip() for cell in cells):
            continue
        if not header:
            header = [cell.strip() for cell in cells]
            if twice := sorted({name for name in header if header.count(name) > 1}):
                prepared.problem("malformed_line", f"{where}:{number}", f"columns {twice} stand twice: the last counts")
        elif len(cells) > len(header):
            message = f"{len(cells)} cells for {len(header)} columns: skipped"
            prepared.problem("malformed_line", f"{where}:{number}", message, lost=1)
        else:
            yield number, dict(zip(header, cells + [""] * (len(header) - len(cells)), strict=True))
