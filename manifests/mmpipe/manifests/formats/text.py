"""Text files of corpora: whatever bytes they contain, reading them gives lines and problems, never an exception."""

from __future__ import annotations

import codecs
import math
import re
from pathlib import Path

from mmpipe.core.reading import read_limited
from mmpipe.manifests.contract import Prepared

__all__ = ["decode", "format_seconds", "parse_seconds", "read_bytes", "read_lines", "read_text"]

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins with the mark of UTF-16-LE
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WIDE = ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
_CONTROL_BYTES = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1a\x1b"))
_CONTROL = re.compile("[\x00-\x08\x0e-\x19\x1c-\x1f]")
_PLAIN_BYTES = bytes([*range(32, 127), *b"\t\n\v\f\r\0"])

_NUMBER = re.compile(r"[+-]?(\d{1,18}(\.\d{0,40})?|\.\d{1,40})([eE][+-]?\d{1,3})?", re.ASCII)

_MOST_BYTES = 1 << 28
"""Of a table or a transcript."""

_LINE_END = re.compile("\r+\n|\r")
"""CR CR LF is what a text file becomes that was copied twice in text mode."""

_C1 = re.compile("[\x80-\x9f]")


def read_bytes(root: Path, path: Path, prepared: Prepared) -> bytes | None:
    """The bytes of a file; None, with a problem noted, if it cannot be read."""
    try:
        return read_limited(path, _MOST_BYTES)
    except FileNotFoundError:
        prepared.problem("file_missing", path.relative_to(root), "the file does not exist")
    except OSError as error:
        prepared.problem("file_damaged", path.relative_to(root), f"the file cannot be read: {error.strerror}")
    except ValueError as error:
        prepared.problem("file_damaged", path.relative_to(root), f"the file is not read: {error}")
    return None


def decode(data: bytes) -> tuple[str, list[int]]:
    r"""Text of bytes in UTF-8, UTF-16, UTF-32, or (line by line) Windows-1252.

    Corpora of English speech mix UTF-8 with curly quotes and dashes of Windows-1252, and with such text that was once
    decoded as Latin-1 (control characters U+0080 to U+009F). All three are decoded to the intended character.

    UTF-16 and UTF-32 are recognised by their mark; without one, by the control bytes that they contain as UTF-8.

    Returns:
        The text, with \n at the ends of lines, and the numbers of the lines that were not in the encoding.

    Example:
        >>> decode("I\u2019m\n".encode() + b"I\x92m\n")
        ('I’m\nI’m\n', [2])
        >>> decode("Hello there\n".encode("utf-16-le"))
        ('Hello there\n', [])
    """
    for mark, name in _BOMS:
        if data.startswith(mark):
            data, encoding = data[len(mark) :], name
            break
    else:
        encoding = _wide_encoding(data) or "utf-8"
    try:
        text, wrong = data.decode(encoding), []
    except UnicodeDecodeError:
        if encoding != "utf-8":
            text, wrong = data.decode(encoding, "replace"), [1]
        else:
            text, wrong = _line_by_line(data)
    if "\r" in text:
        text = _LINE_END.sub("\n", text)
    return _C1.sub(lambda match: match[0].encode("latin-1").decode("cp1252", "replace"), text), wrong


def _wide_encoding(data: bytes) -> str | None:
    """UTF-16 or UTF-32 without a mark: the one whose text is printable and has the most characters of ASCII."""
    controls = len(data) - len(data.translate(None, _CONTROL_BYTES))
    if not controls or len(data) % 2 or (controls < len(data) / 10 and _is_utf8(data)):
        return None
    is_plain = not data.translate(None, _PLAIN_BYTES)
    best: tuple[float, str] | None = None
    for encoding in _WIDE:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        ascii_share = sum(c < "\x80" for c in text) / len(text)
        printable_share = sum(c.isprintable() or c in "\t\r\n\u3000" for c in text) / len(text)
        if _CONTROL.search(text) or printable_share < 0.95 or not ascii_share or (is_plain and ascii_share < 1):
            continue
        if best is None or printable_share + ascii_share > best[0]:
            best = (printable_share + ascii_share, encoding)
    return best and best[1]


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


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
    text, wrong = decode(data)
    if wrong:
        shown = ", ".join(map(str, wrong[:5])) + (" ..." if len(wrong) > 5 else "")
        prepared.problem("wrong_encoding", f"{where}:{wrong[0]}", f"lines {shown} are not UTF-8: read as Windows-1252")
    elif match := _CONTROL.search(text):
        line = text.count("\n", 0, match.start()) + 1
        message = f"the control character {match[0]!r} is not text, and is read as a blank: save the file as UTF-8"
        prepared.problem("wrong_encoding", f"{where}:{line}", message)
    return text


def read_lines(root: Path, path: Path, prepared: Prepared) -> list[str]:
    """The lines of a file; empty if it cannot be read."""
    text = read_text(root, path, prepared)
    return [] if text is None else text.removesuffix("\n").split("\n")


def format_seconds(seconds: float) -> str:
    """A time as ids have it: to the microsecond, without zeros at its end.

    Example:
        >>> format_seconds(1.50), format_seconds(0.1 + 0.2), format_seconds(10.0)
        ('1.5', '0.3', '10')
    """
    return f"{seconds:.6f}".rstrip("0").rstrip(".")


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
