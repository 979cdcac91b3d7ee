"""Atomic writes, locations (local paths or URLs), temporary files: equal content gives equal bytes."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, BinaryIO, cast

from mmpipe.core.environment import causes, storage_remedy, unavailable
from mmpipe.core.errors import MmpipeError, StorageError
from mmpipe.core.objects import open_object, read_object_bytes, write_object_bytes
from mmpipe.core.scratch import scratch_beside

__all__ = [
    "append_line",
    "cache_folder",
    "canonical_json",
    "explained",
    "forget_listings",
    "is_local",
    "location",
    "open_binary",
    "sync",
    "write_atomic",
    "write_bytes",
    "write_json",
]

_MOST_LOG_BYTES = 1 << 30
"""Of a log on an object store."""


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text.

    Example:
        >>> canonical_json({"b": 1, "a": [1.5, None]})
        '{"a":[1.5,null],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def location(text: str | Path) -> Path:
    """A local path, or the same kind of object for a URL that fsspec knows (s3://, gs://, ...).

    Example:
        >>> location("memory://corpus/a.wav").name, location("corpus/a.wav").name
        ('a.wav', 'a.wav')
    """
    if isinstance(text, str) and "://" in text:
        from upath import UPath

        if region := os.environ.get("AWS_REGION"):  # the name that AWS's newer tools use; botocore reads the other one
            os.environ.setdefault("AWS_DEFAULT_REGION", region)
        return cast(Path, UPath(text))
    return Path(text) if isinstance(text, str) else text


def is_local(path: Path) -> bool:
    """Whether a path is on a file system of this machine."""
    return isinstance(path, PurePath)


def open_binary(path: Path) -> BinaryIO:
    """A file that is open for reading; an object is read by ranges, see `mmpipe.core.objects.open_object`."""
    return path.open("rb") if is_local(path) else open_object(path)


def forget_listings(path: Path) -> None:
    """Let an object store be asked again for what is at `path` and beside it; other processes write there, too."""
    if not is_local(path):
        remote: Any = path
        remote.fs.invalidate_cache(remote.path)


def cache_folder() -> Path:
    """Where mmpipe keeps what it can make again: `mmpipe` in XDG_CACHE_HOME, else in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmpipe"


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file, flush it to the disk and give it its name.

    The temporary file has a random name that nobody else writes to.

    Raises:
        StorageError: the disk is full, or the folder cannot be written.
    """
    with explained(path), scratch_beside(path) as part:
        write(part)
        sync(part)
        part.replace(path)
        sync(path.parent)


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an `OSError` of writing `path`, or an error of an object store, into a `StorageError` with the remedy."""
    try:
        yield
    except MmpipeError:
        raise
    except Exception as error:
        away = next(filter(None, map(unavailable, causes(error))), None)
        if not (isinstance(error, OSError) or away):
            raise
        number, reason = getattr(error, "errno", None), getattr(error, "strerror", None) or error
        remedy = "let this user write there (`mmpipe doctor` checks it)"
        if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            remedy = "free space (or lift the quota)"
        elif number in (errno.EMFILE, errno.ENFILE):
            remedy = "allow more open files (`ulimit -n`)"
        elif away:
            reason, remedy = away, storage_remedy(error)
        raise StorageError(
            f"{path} cannot be written: {reason}; what was finished before is safe and no half file "
            f"is left: {remedy}, then run the same command again"
        ) from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically; on an object store, by one PUT."""
    if not is_local(path):
        with explained(path):
            write_object_bytes(path, data)
        return

    def write(part: Path) -> None:
        part.write_bytes(data)

    write_atomic(path, write)


def append_line(path: Path, text: str) -> None:
    """Add a line to a log; object stores cannot append, so there the whole log is written again.

    Raises:
        StorageError: it cannot be written.
    """
    with explained(path):
        if is_local(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as stream:
                stream.write(text + "\n")
        else:
            try:
                before = read_object_bytes(path, _MOST_LOG_BYTES)
            except FileNotFoundError:
                before = b""
            write_object_bytes(path, before + text.encode() + b"\n")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically; keys keep the order that the caller gives them."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())
