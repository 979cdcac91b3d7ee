"""Text files of corpora: whatever bytes they contain, reading them gives lines and problems, never an exception."""

from __future__ import annotations

import codecs
import math
import re
from pathlib import Path

from mmpipe.manifests.contract import Prepared

__all__ = ["parse_seconds", "read_bytes", "read_lines", "read_text"]

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))

_NUMBER = re.compile(r"[+-]?(\d{1,18}(\.\d{0,40})?|\.\d{1,40})([eE][+-]?\d{1,3})?", re.ASCII)

_C1 = re.compile("[\x80-\x9f]")


def read_bytes(root: Path, path: Path, prepared: Prepared) -> bytes | None:
    """The bytes of a file; None, with a problem noted, if it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        prepared.problem("file_missing", path.relative_to(root), "the file does not exist")
    except OSError as error:
        prepared.problem("file_damaged", path.relative_to(root), f"the file cannot be read: {error.strerror}")
    return None


def _decode(data: bytes) -> tuple[str, list[int]]:
    r"""Text of bytes in UTF-8, UTF-16 with a byte order mark, or (line by line) Windows-1252.

    Corpora of English speech mix UTF-8 with curly quotes and dashes of Windows-1252, and with such text that was once
    decoded as Latin-1 (control characters U+0080 to U+009F). All three are decoded to the intended character.

    Returns:
        The text, with \n at the ends of lines, and the numbers of the lines that were not in the encoding.

    Example:
        >>> _decode("I\u2019m\n".encode() + b"I\x92m\n")
        ('I’m\nI’m\n', [2])
    """
    for mark, name in _BOMS:
        if data.startswith(mark):
            data, encoding = data[len(mark) :], name
            break
    else:
        encoding = "utf-8"
    try:
        text, wrong = data.decode(encoding), []
    except UnicodeDecodeError:
        if encoding != "utf-8":
            text, wrong = data.decode(encoding, "replace"), [1]
        else:
            text, wrong = _line_by_line(data)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _C1.sub(lambda match: match[0].encode("latin-1").decode("cp1252", "replace"), text), wrong


def _line_by_line(data: bytes) -> tuple[str, list[int]]:
    lines, wrong = [], []
    for number, line in enumerate(data.split(b"\n"), 1):
        try:
            lines.append(line.decode("utf-8"))
        except UnicodeDecodeError:
            lines.append(line.decode("cp1252", "replace"))
            wrong.append(number)
    return "\n".join(lines), wrong


def read_text(root: Path, path: Path, prepared: Prepared) -> str | None:
    """The text of a file; None if it cannot be read. Wrong bytes and empty files are noted."""
    data = read_bytes(root, path, prepared)
    if data is None:
        return None
    where = path.relative_to(root)
    if not data.strip():
        prepared.problem("file_empty", where, "the file is empty")
    text, wrong = _decode(data)
    if wrong:
        shown = ", ".join(map(str, wrong[:5])) + (" ..." if len(wrong) > 5 else "")
        prepared.problem("wrong_encoding", f"{where}:{wrong[0]}", f"lines {shown} are not UTF-8: read as Windows-1252")
    return text


def read_lines(root: Path, path: Path, prepared: Prepared) -> list[str]:
    """The lines of a file; empty if it cannot be read."""
    text = read_text(root, path, prepared)
    return [] if text is None else text.removesuffix("\n").split("\n")


def parse_seconds(text: str | None) -> float | None:
    """A time in seconds, from 0 to a million; None if the text is not one.

    Example:
        >>> parse_seconds("6.2901"), parse_seconds("-1"), parse_seconds("nan"), parse_seconds(None)
        (6.2901, None, None, None)
    """
    if text is None:
        return None
    # Nearly every time of a corpus has this form, which is ten times cheaper to check than the general one.
    is_plain = len(text) < 16 and text.isascii() and text.replace(".", "", 1).isdigit()
    if not is_plain and not _NUMBER.fullmatch(text.strip()):
        return None
    value = float(text)
    return value + 0.0 if math.isfinite(value) and 0 <= value <= 1e6 else None
