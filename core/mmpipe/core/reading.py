"""Reading files that somebody else may have made: regular files alone, with limits on bytes, depth and numbers.

Everything that is wrong with what a file holds is a `ValueError`, everything that is wrong with the file an `OSError`,
so that readers turn both into a message of their own.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from pathlib import Path
from typing import Any, NoReturn

from mmpipe.core.files import is_local
from mmpipe.core.objects import read_object_bytes

__all__ = ["check_regular", "parse_json", "parse_object", "read_json", "read_limited", "read_object"]

_MOST_BYTES = 64 << 20
"""Of a JSON file: the fold.json of 100,000 utterances has 20 MB."""

_MOST_DEPTH = 40
"""Objects and lists inside each other; mmpipe's own files have 6."""


def check_regular(path: Path) -> None:
    """Make sure that a local path is a regular file: opening a pipe waits for ever, a device never ends.

    Raises:
        OSError: there is no such file, or it is not a regular one.
    """
    if is_local(path) and not stat.S_ISREG(path.stat().st_mode):
        raise _irregular(path)


def _irregular(path: Path) -> OSError:
    if path.is_dir():
        return IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return OSError(errno.EINVAL, "it is not a regular file", str(path))


def read_limited(path: Path, most: int = _MOST_BYTES) -> bytes:
    """The bytes of a regular file of at most `most` bytes, or of an object of that size.

    Raises:
        OSError: it is not there, cannot be read, or is not a regular file.
        ValueError: it is larger.
    """
    if is_local(path):
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a pipe without a writer must not wait
        with os.fdopen(handle, "rb") as stream:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise _irregular(path)
            data = stream.read(most + 1)
    else:
        return read_object_bytes(path, most)
    if len(data) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return data


def read_json(path: Path, most: int = _MOST_BYTES) -> Any:
    """What a JSON file holds.

    Raises:
        OSError: see `read_limited`.
        ValueError: see `read_limited` and `parse_json`.
    """
    return parse_json(read_limited(path, most))


def read_object(path: Path, most: int = _MOST_BYTES) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        OSError: see `read_limited`.
        ValueError: see `read_limited` and `parse_object`.
    """
    return parse_object(read_limited(path, most))


def parse_object(text: str | bytes) -> dict[str, Any]:
    """The object that a JSON text holds.

    Raises:
        ValueError: see `parse_json`; or it holds something else.

    Example:
        >>> parse_object("[1]")
        Traceback (most recent call last):
        ...
        ValueError: a JSON object is expected, not a list
    """
    value = parse_json(text)
    if not isinstance(value, dict):
        raise ValueError(f"a JSON object is expected, not a {type(value).__name__}")
    return value


def parse_json(text: str | bytes, *, nan_is_null: bool = False) -> Any:
    """What a JSON text holds: whole numbers of 64 bits, finite floats, valid Unicode, at most 40 levels.

    Args:
        text: the text.
        nan_is_null: NaN and Infinity, which pandas writes for missing values, are None instead of an error.

    Raises:
        ValueError: it is not such a text.

    Example:
        >>> parse_json(b'{"fold": [1, 2.5, null]}')
        {'fold': [1, 2.5, None]}
        >>> parse_json("1e999")
        Traceback (most recent call last):
        ...
        ValueError: the number 1e999 is not finite
    """
    written = text if isinstance(text, str) else text.decode("utf-8")
    try:
        value = (_LENIENT_DECODER if nan_is_null else _DECODER).decode(written)
    except RecursionError:
        raise ValueError(f"it is nested deeper than {_MOST_DEPTH} levels") from None
    _check_depth(value)
    if "\\u" in written:  # an escape may be half of a character, which no file and no terminal takes
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _check_depth(value: Any) -> None:
    level = [value] if isinstance(value, dict | list) else []
    depth = 0
    while level:
        depth += 1
        if depth > _MOST_DEPTH:
            raise ValueError(f"it is nested deeper than {_MOST_DEPTH} levels")
        inside = [entry for part in level for entry in (part.values() if isinstance(part, dict) else part)]
        level = [entry for entry in inside if isinstance(entry, dict | list)]


def _integer(text: str) -> int:
    if len(text) > 20 or not -(1 << 63) <= int(text) < 1 << 63:
        raise ValueError(f"the number {text[:24]} does not fit 64 bits")
    return int(text)


def _float(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"the number {text[:24]} is not finite")
    return value


def _constant(text: str) -> NoReturn:
    raise ValueError(f"the number {text} is not finite")


_DECODER = json.JSONDecoder(parse_int=_integer, parse_float=_float, parse_constant=_constant)
_LENIENT_DECODER = json.JSONDecoder(parse_int=_integer, parse_float=_float, parse_constant=lambda text: None)
