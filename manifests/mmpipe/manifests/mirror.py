"""A local picture of a corpus on an object store, which corpus readers read as if it were the corpus.

It has every file under its name and with its size. What a reader reads is in it, which of WAV and AVI files is the
header. The rest of these and all other files are holes that take no room on the disk. The picture is kept in the cache
folder, so that the next reading fetches only what has changed since.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from mmpipe.core.exclusive import exclusive
from mmpipe.core.files import cache_folder, explained, write_json
from mmpipe.core.objects import Listed, ObjectReader, list_objects, object_info, read_object_bytes
from mmpipe.core.reading import read_object
from mmpipe.core.text import printable
from mmpipe.manifests.contract import Problem
from mmpipe.manifests.formats.riff import riff_length

__all__ = ["Mirror", "mirrored"]

_THREADS = 32
"""Files fetched at once: nearly all of the time is waiting."""

_MOST_BYTES = 256 << 20
"""Of a file that is fetched: readers refuse larger ones by their size."""

_MOST_INDEX_BYTES = 1 << 30

_LONGEST_NAME = 255
"""Bytes that the name of a file may have on a local disk."""

_HEADER_BYTES = 64 << 10


@dataclass(frozen=True)
class Mirror:
    """A picture of a corpus.

    Attributes:
        path: the folder; it is not there if the corpus is not.
        root: the corpus.
        problems: objects that have no place in a folder.
    """

    path: Path
    root: Path
    problems: list[Problem] = field(default_factory=list)

    def named(self, message: str) -> str:
        """A message about the picture as one about the corpus."""
        return message.replace(printable(self.path), str(self.root).rstrip("/"))


@contextmanager
def mirrored(root: Path, reads: Callable[[str], bool]) -> Iterator[Mirror]:
    """The picture of a corpus as it is now; other processes wait with changes of it until the block ends.

    Args:
        root: the corpus, on an object store.
        reads: see `mmpipe.manifests.contract.Corpus.reads`.

    Raises:
        ResourceError: the object store refuses, or does not answer.
        StorageError: the cache folder cannot be written.
    """
    folder = cache_folder() / "corpora" / hashlib.sha256(str(root).rstrip("/").encode()).hexdigest()[:16]
    mirror = Mirror(folder / "root", root)
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder / "lock"):
        listed = _with_places(list_objects(root), mirror.problems)
        with explained(folder):
            _update(mirror, folder / "index.json", listed, reads)
        yield mirror


def _with_places(listed: Mapping[str, Listed], problems: list[Problem]) -> dict[str, Listed]:
    """The objects that can be files in one folder."""
    folders = {name[:place] for name in listed for place in range(len(name)) if name[place] == "/"}
    placed = {}
    for name, found in listed.items():
        parts = name.split("/")
        if name in folders:
            why = "an object and a folder have this name"
        elif not all(parts) or {".", ".."} & set(parts) or "\0" in name:
            why = "its name is not that of a file"
        elif max(len(os.fsencode(part)) for part in parts) > _LONGEST_NAME:
            why = "its name is too long for a file"
        else:
            placed[name] = found
            continue
        problems.append(Problem("unusable_name", printable(name), f"{why}: rename the object; skipped"))
    return placed


def _update(mirror: Mirror, index: Path, listed: Mapping[str, Listed], reads: Callable[[str], bool]) -> None:
    """Make the picture that of `listed`."""
    known = _known(index)
    index.unlink(missing_ok=True)  # what a killed process leaves is fetched again
    if not listed:
        shutil.rmtree(mirror.path, ignore_errors=True)
        mirror.path.unlink(missing_ok=True)
        if _is_object(mirror.root):
            mirror.path.touch()
        return
    if mirror.path.is_file():
        mirror.path.unlink()
    wanted = {name: [found.state, reads(name) and found.size <= _MOST_BYTES] for name, found in listed.items()}
    _remove_others(mirror.path, wanted)
    due = [n for n, entry in wanted.items() if known.get(n) != entry or not _has_size(mirror.path / n, listed[n].size)]
    for folder in {(mirror.path / name).parent for name in due}:
        folder.mkdir(parents=True, exist_ok=True)
    done = {name: entry for name, entry in wanted.items() if name not in set(due)}

    def make(name: str) -> None:
        _make(mirror, name, listed[name].size, is_read=bool(wanted[name][1]))
        done[name] = wanted[name]

    pool = ThreadPoolExecutor(_THREADS)
    try:
        list(pool.map(make, due))
    finally:
        pool.shutdown(cancel_futures=True)
        os.sync()
        write_json(index, done)


def _known(index: Path) -> dict[str, Any]:
    try:
        return read_object(index, _MOST_INDEX_BYTES)
    except (OSError, ValueError):
        return {}


def _is_object(path: Path) -> bool:
    try:
        return bool(object_info(path))
    except FileNotFoundError:
        return False


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def _remove_others(root: Path, wanted: Mapping[str, Any]) -> None:
    """Remove files that are not wanted, and folders that hold none."""
    for folder, folders, files in os.walk(root, topdown=False):
        for path in (Path(folder, name) for name in files):
            if path.relative_to(root).as_posix() not in wanted:
                path.unlink()
        for path in (Path(folder, name) for name in folders):
            if not any(path.iterdir()):
                path.rmdir()


def _make(mirror: Mirror, name: str, size: int, *, is_read: bool) -> None:
    """Make a file of the picture: as a whole, as a header in a hole, or as a hole."""
    path, source = mirror.path / name, mirror.root / name
    if path.is_dir():  # which is empty, else its name were not that of an object
        path.rmdir()
    if is_read and path.suffix.lower() not in (".wav", ".avi"):
        try:
            path.write_bytes(read_object_bytes(source, _MOST_BYTES, size))
        except FileNotFoundError:
            path.unlink(missing_ok=True)  # removed since the listing
        return
    with path.open("wb") as hole:
        hole.truncate(size)
        if is_read and size:
            header = cast(BinaryIO, io.BufferedReader(_Copied(source, size, hole), _HEADER_BYTES))
            riff_length(header, size)


class _Copied(ObjectReader):
    """An object that copies what is read of it to the same place of a file."""

    def __init__(self, path: Path, size: int, target: BinaryIO) -> None:
        super().__init__(path, size)
        self._target = target

    def readinto(self, buffer: Any) -> int:
        """Fetch the next bytes, and copy them."""
        self._target.seek(place := self.tell())
        count = super().readinto(buffer)
        assert self.tell() == place + count
        self._target.write(bytes(buffer[:count]))
        return count
