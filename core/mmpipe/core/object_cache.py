"""Objects kept on a local disk within a size: the least recently used is removed first, never one that is in use.

An object of a state (size and ETag, or what its store has instead) lies at `KEY/NAME`, with KEY from its address and
state, so a changed object is another entry. Beside it is the file `KEY/.use`: who reads the object holds it locked, its
size is that of the object from before the first byte is fetched, and its modification time is the last use. Several
processes may share a cache, and what a killed one leaves is removed with its entry.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from mmpipe.core.errors import ResourceError, UsageError
from mmpipe.core.exclusive import exclusive
from mmpipe.core.files import cache_folder, explained
from mmpipe.core.objects import fetch_object, object_info, object_state

__all__ = ["Held", "ObjectCache", "media_cache_of"]

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
_SIZE = re.compile(r"(\d{1,12}(?:\.\d{1,6})?) ?([KMGT]I?)?B?", re.ASCII)

_LONGEST_NAME = 240
"""Bytes that the name of a kept object may have; longer ones are not kept."""

_USE, _PART = ".use", ".part"


def _parse_size(text: str) -> int:
    """A size such as 50GB or 1.5TiB in bytes.

    Raises:
        UsageError: it is not one.

    Example:
        >>> _parse_size("50GB"), _parse_size("64 MiB"), _parse_size("0")
        (50000000000, 67108864, 0)
    """
    match = _SIZE.fullmatch(text.strip().upper())
    if match is None:
        raise UsageError(f"{text!r} is not a size: expected such as 50GB, 500MB or 1TiB")
    return round(float(match[1]) * _UNITS[match[2] or ""])


def media_cache_of(size: str, folder: Path | None = None) -> ObjectCache:
    """A cache of media of at most `size`, such as 50GB, in a folder; None takes `media` in mmpipe's cache folder.

    Raises:
        UsageError: that is not a size.
    """
    return ObjectCache((folder or cache_folder() / "media").absolute(), _parse_size(size))


class Held:
    """An object that is read, as a local file of its own name, or as itself where it cannot be kept.

    Attributes:
        path: what to read.
    """

    def __init__(self, path: Path, use: int | None = None) -> None:
        self.path, self._use = path, use

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """It is not read any more, and may be removed to make room."""
        if self._use is not None:
            os.close(self._use)
            self._use = None


@dataclass(frozen=True)
class ObjectCache:
    """A folder of kept objects.

    Attributes:
        folder: where they are.
        most_bytes: of all of them. What is larger, or finds no room beside what is in use, is not kept.
    """

    folder: Path
    most_bytes: int

    def hold(self, path: Path) -> Held:
        """Fetch an object, unless it is kept already, and keep it as long as it is held.

        An object that is not there is held as itself: who opens it finds that out.

        Raises:
            ResourceError: the object store refuses, or does not answer.
            StorageError: the folder cannot be written.
        """
        try:
            info = object_info(path)
        except FileNotFoundError:
            return Held(path)
        size, name = int(info["size"]), path.name
        if size > self.most_bytes or not size or len(os.fsencode(name)) > _LONGEST_NAME or name in (_USE, _PART):
            return Held(path)
        entry = self.folder / hashlib.sha256(f"{path} {object_state(info)}".encode()).hexdigest()[:32]
        with explained(entry):
            use = _use(entry)
        try:
            if self._is_kept(entry / name, size) or self._fetch(path, entry / name, size, use):
                os.utime(use, ns=(time.time_ns(),) * 2)  # the kernel's own clock of files is coarser
                return Held(entry / name, use)
        except BaseException:
            os.close(use)
            raise
        os.close(use)
        return Held(path)

    @staticmethod
    def _is_kept(file: Path, size: int) -> bool:
        try:
            return file.stat().st_size == size
        except FileNotFoundError:
            return False

    def _fetch(self, path: Path, file: Path, size: int, use: int) -> bool:
        """Fetch an object into its entry, which is locked; False if there is no room for it."""
        with exclusive(file.parent.with_suffix(".fetch")):
            if self._is_kept(file, size):  # another process was faster
                return True
            with exclusive(self.folder / "room"):
                if not self._make_room(size, file.parent):
                    return False
                os.truncate(use, size)  # the room is taken before it is used
            part = file.with_name(_PART)
            with explained(file):
                try:
                    fetch_object(path, part)
                except FileNotFoundError:  # it was removed meanwhile
                    return False
                if part.stat().st_size != size:
                    raise ResourceError(
                        f"{path} has {part.stat().st_size:,} bytes, its object store said {size:,}: was it replaced "
                        "meanwhile? Run the same command again"
                    )
                part.replace(file)
        return True

    def _make_room(self, size: int, own: Path) -> bool:
        """Remove the entries that were used least recently, until an object of `size` bytes fits."""
        entries = []
        for entry in self.folder.iterdir():
            with suppress(FileNotFoundError, NotADirectoryError):
                status = (entry / _USE).stat()
                entries.append((status.st_mtime_ns, status.st_size, entry))
        used = sum(length for _, length, entry in entries if entry != own)
        for _, length, entry in sorted(entries):
            if used + size <= self.most_bytes:
                break
            if entry != own and _remove(entry):
                used -= length
        return used + size <= self.most_bytes


def _use(entry: Path) -> int:
    """The open file of an entry that says that it is in use; it is made if need be."""
    while True:
        with suppress(FileExistsError):  # `exist_ok` asks again whether it is there, and another process may remove it
            entry.mkdir(parents=True)
        try:
            descriptor = os.open(entry / _USE, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            continue  # another process removes it
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), (entry / _USE).stat()):
                return descriptor
        os.close(descriptor)


def _remove(entry: Path) -> bool:
    """Remove an entry, unless it is in use."""
    try:
        descriptor = os.open(entry / _USE, os.O_RDWR)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(entry)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
