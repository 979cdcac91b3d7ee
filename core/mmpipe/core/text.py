"""Text from data: cleaned for a table, or made safe to print on a terminal."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

__all__ = ["clean", "nearest", "printable"]

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def clean(text: str) -> str:
    r"""A text as one line of valid Unicode without control characters.

    Example:
        >>> clean(" I\tsaid\n so\x00 ")
        'I said so'
    """
    if text.isprintable() and " " not in text:
        return text
    return " ".join(_CONTROL.sub(" ", text.encode("utf-8", "replace").decode("utf-8")).split())


def printable(value: Any) -> str:
    r"""A text that is safe for any terminal and any Arrow table: one line, valid Unicode.

    Example:
        >>> printable("bad \udcff name\n")
        'bad \\udcff name\\n'
    """
    text = str(value).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def nearest(name: str, names: Iterable[str]) -> str:
    """The end of a message about a name that does not exist: the most similar valid one, or nothing.

    Example:
        >>> nearest("expresion", ["audio", "faces", "expression"]), nearest("x", ["audio"])
        (' (did you mean expression?)', '')
    """
    found = difflib.get_close_matches(name[:100], list(names), 1)
    return f" (did you mean {found[0]}?)" if found else ""
