"""Objects of object stores: their bytes within limits, their versions, whole trees of them in one listing."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from mmpipe.core.environment import refused
from mmpipe.core.errors import ResourceError

__all__ = [
    "Listed",
    "ObjectReader",
    "fetch_object",
    "list_objects",
    "object_info",
    "object_state",
    "open_object",
    "read_object_bytes",
    "write_object_bytes",
]

_STATE = ("size", "ETag", "etag", "generation", "md5Hash", "LastModified", "last_modified", "mtime", "created")
"""What object stores say of a version of an object, in listings too, by the names that their file systems give it."""

_ONE_PUT_BYTES = 5 << 30
"""S3 takes so many in one request."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An object in a listing.

    Attributes:
        size: in bytes.
        state: see `object_state`.
    """

    size: int
    state: str


@contextmanager
def _asked(path: Path) -> Iterator[None]:
    """Turn what says nothing of an object, but of the object store, into a `ResourceError` with the remedy."""
    try:
        yield
    except Exception as error:
        if answer := refused(error):
            raise ResourceError(
                f"{path} cannot be read: {answer.reason}: {answer.remedy}, then run the same command again"
            ) from error
        raise


def object_info(path: Path) -> dict[str, Any]:
    """What the object store says of an object now: one request, whatever was listed before.

    Raises:
        FileNotFoundError: there is no such object.
        ResourceError: the object store refuses, or does not answer.
    """
    remote: Any = path
    remote.fs.invalidate_cache(remote.path)
    with _asked(path):
        info: dict[str, Any] = remote.fs.info(remote.path)
    if info.get("type") != "file":
        raise FileNotFoundError(errno.ENOENT, "there is no such object", str(path))
    return info


def object_state(info: dict[str, Any]) -> str:
    """What tells an object from the same object before a change: size, ETag and the like.

    Example:
        >>> object_state({"name": "corpus/a.wav", "size": 5, "ETag": '"5d41"', "StorageClass": "STANDARD"})
        'size=5 ETag="5d41"'
    """
    return " ".join(f"{name}={info[name]}" for name in _STATE if info.get(name) is not None)


def list_objects(root: Path) -> dict[str, Listed]:
    """The objects below a place by their paths relative to it: one request for each 1,000 of them.

    Raises:
        ResourceError: the object store refuses, or does not answer.
    """
    remote: Any = root
    remote.fs.invalidate_cache(remote.path)
    start = remote.fs._strip_protocol(remote.path).rstrip("/") + "/"
    with _asked(root):
        found = remote.fs.find(remote.path, detail=True)
    return {
        name.removeprefix(start): Listed(int(info["size"] or 0), object_state(info))
        for name, info in sorted(found.items())
        if info.get("type") == "file" and name.startswith(start) and not name.endswith("/")
    }


def fetch_object(path: Path, target: Path) -> None:
    """Copy an object to a local file.

    Raises:
        OSError: it is not there, or the file cannot be written.
        ResourceError: the object store refuses, or does not answer.
    """
    remote: Any = path
    with _asked(path):
        remote.fs.get_file(remote.path, str(target))


def read_object_bytes(path: Path, most: int, size: int | None = None) -> bytes:
    """The bytes of an object of at most `most` bytes; its size is looked at before any of them is fetched.

    Args:
        path: the object.
        most: see above.
        size: of the object, where a listing says it; else it is asked for.

    Raises:
        OSError: it is not there, or cannot be read.
        ResourceError: the object store refuses, or does not answer.
        ValueError: it is larger.
    """
    size = int(object_info(path)["size"]) if size is None else size
    if size > most:
        raise ValueError(f"it has {size:,} bytes, more than {most:,}")
    remote: Any = path
    with _asked(path):
        return bytes(remote.fs.cat_file(remote.path, start=0, end=size)) if size else b""


def write_object_bytes(path: Path, data: bytes) -> None:
    """Write an object by one PUT.

    Raises:
        OSError: it cannot be written; the store's client may raise errors of its own.
    """
    remote: Any = path
    one_put = {"chunksize": _ONE_PUT_BYTES} if "s3" in remote.protocol else {}
    remote.fs.pipe_file(remote.path, data, **one_put)


_TAIL_BYTES = 256 << 10
"""What `ObjectReader` fetches of the end of an object: the footer of nearly every shard, which names its columns."""


class ObjectReader(io.RawIOBase):
    """The bytes of an object as a file that is read by ranges: one request for the end, one for each other reading.

    Args:
        path: the object.
        size: of it, where a listing says it; else it is asked for.

    Raises:
        OSError: it is not there, or cannot be read.
        ResourceError: the object store refuses, or does not answer.
    """

    def __init__(self, path: Path, size: int | None = None) -> None:
        self._path = path
        self.size = int(object_info(path)["size"]) if size is None else size
        self._at = 0
        self._tail = self._last = (0, b"")

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place; nothing is fetched."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fetch the next bytes."""
        end = min(self._at + len(buffer), self.size)
        data = self._fetched(self._at, end) if end > self._at else b""
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _fetched(self, start: int, end: int) -> bytes:
        for first, data in (self._tail, self._last):
            if first <= start and end <= first + len(data):
                return data[start - first : end - first]
        first = max(0, self.size - _TAIL_BYTES)
        if start >= first:
            self._tail = first, self._get(first, self.size)
            return self._tail[1][start - first : end - first]
        self._last = start, self._get(start, end)
        return self._last[1]

    def _get(self, start: int, end: int) -> bytes:
        remote: Any = self._path
        with _asked(self._path):
            return bytes(remote.fs.cat_file(remote.path, start=start, end=end))


_BLOCK_BYTES = 4 << 20
"""What `open_object` fetches at once: a header of media is smaller, and a whole file takes few requests."""


def open_object(path: Path) -> BinaryIO:
    """An object as a file that is read by ranges of 4 MiB; errors as in `ObjectReader`."""
    return io.BufferedReader(ObjectReader(path), _BLOCK_BYTES)
