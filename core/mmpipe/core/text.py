"""Text from data: cleaned for a table, made safe to print on a terminal, or made the name of a file."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["clean", "is_safe_name", "nearest", "printable", "safe_name", "safe_names"]

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+=-]{0,79}(?<!\.)")
"""Names of files that every system takes as they are."""

_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names that Windows keeps for devices, with any ending."""

_KEPT = 48
"""Characters of a text that stay readable in a name that is made of it."""


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


def is_safe_name(text: object) -> bool:
    """Whether a text names a file or folder inside its folder, on every system.

    Example:
        >>> [is_safe_name(name) for name in ("Ses01F", "..", "a/b", "nul.txt", "x" * 300)]
        [True, False, False, False, False]
    """
    return isinstance(text, str) and bool(_NAME.fullmatch(text)) and not _RESERVED.fullmatch(text)


def safe_name(text: str) -> str:
    """The text as the name of a file or folder: as it is where it is one, else its letters and a hash of it.

    Example:
        >>> safe_name("Ses01F"), safe_name("../../x")
        ('Ses01F', 'x-9cdf6a50')
    """
    return text if is_safe_name(text) else _hashed(text)


def safe_names(texts: Sequence[str]) -> list[str]:
    """A name for each of some different texts (see `safe_name`); they differ where case does not count, too.

    Example:
        >>> safe_names(["Ann", "ann", "Bo"])
        ['Ann-17239b6e', 'ann-49915e0d', 'Bo']
    """
    names = [safe_name(text) for text in texts]
    times = Counter(name.casefold() for name in names)
    return [_hashed(t) if times[n.casefold()] > 1 else n for t, n in zip(texts, names, strict=True)]


def _hashed(text: str) -> str:
    data = text.encode("utf-8", "backslashreplace")
    kept = re.sub(r"[^A-Za-z0-9_-]+", "_", text)[:_KEPT].strip("_-") or "name"
    return f"{kept}-{hashlib.sha256(data).hexdigest()[:8]}"
