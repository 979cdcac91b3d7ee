"""Content hashes of media. Size and modification time are only the key of a local cache in the store's logs."""

from __future__ import annotations

import hashlib
import stat
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mmpipe.core.errors import Rejected
from mmpipe.core.files import write_json
from mmpipe.core.reading import read_object
from mmpipe.manifests.io import resolve_media

__all__ = ["MediaHashes", "hash_media"]

_CACHE = "media_hashes.json"

_MISSING = "missing"
"""Stands for the hash of a file that is not there: when it appears, its shards become due."""

_UNREADABLE = "unreadable"
"""Stands for the hash of what cannot be read: no permission, no regular file, a disk error."""

_NOT_HASHED = "not hashed yet"

_MOST_CACHE_BYTES = 256 << 20
"""Of the cache: a million files have 150 MB."""

_CHUNK_BYTES = 1 << 22


@dataclass(frozen=True)
class MediaHashes:
    """Content hashes of media.

    Attributes:
        by_uri: SHA-256 of each file, or why there is none.
        new: entries that the cache lacks: uri -> [size and modification time, hash].
    """

    by_uri: dict[str, str]
    new: dict[str, list[str]]

    def remember(self, logs: Path) -> None:
        """Add the new entries to the cache.

        Raises:
            StorageError: it cannot be written.
        """
        if self.new:
            write_json(logs / _CACHE, _known(logs / _CACHE) | self.new)


def hash_media(root: Path, uris: Iterable[str], logs: Path, threads: int, *, only_known: bool = False) -> MediaHashes:
    """SHA-256 of each media file, by its uri. Nothing is written.

    Args:
        root: the corpus root.
        uris: paths relative to it.
        logs: the folder of the cache, which remembers hashes by uri, size and modification time.
        threads: files hashed at once.
        only_known: hash nothing: what the cache does not know stays `not hashed yet`.
    """
    known = _known(logs / _CACHE)
    hashes, due = {}, {}
    for uri in sorted(set(uris)):
        try:
            path = resolve_media(root, uri)
            status = path.stat()
        except FileNotFoundError:
            hashes[uri] = _MISSING
            continue
        except (Rejected, OSError):
            hashes[uri] = _UNREADABLE
            continue
        key = f"{status.st_size}:{status.st_mtime_ns}"
        if not stat.S_ISREG(status.st_mode):
            hashes[uri] = _UNREADABLE  # opening a pipe would wait for ever
        elif known.get(uri, [None])[0] == key:
            hashes[uri] = known[uri][1]
        else:
            due[uri] = (path, key)
            hashes[uri] = _NOT_HASHED
    new: dict[str, list[str]] = {}
    if due and not only_known:
        made = _hash_all([path for path, _ in due.values()], threads)
        hashes |= dict(zip(due, made, strict=True))
        new = {uri: [due[uri][1], hashes[uri]] for uri in due if hashes[uri] != _UNREADABLE}
    return MediaHashes(hashes, new)


def _known(cache: Path) -> dict[str, list[str]]:
    try:
        entries = read_object(cache, _MOST_CACHE_BYTES)
    except (OSError, ValueError):
        return {}
    return {k: v for k, v in entries.items() if isinstance(v, list) and len(v) == 2 and isinstance(v[1], str)}


def _hash_all(paths: list[Path], threads: int) -> list[str]:
    stopped = threading.Event()
    pool = ThreadPoolExecutor(threads)
    try:
        return list(pool.map(partial(_hash, stopped), paths))
    finally:
        stopped.set()  # Ctrl-C must not wait for large files
        pool.shutdown(cancel_futures=True)


def _hash(stopped: threading.Event, path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while (chunk := stream.read(_CHUNK_BYTES)) and not stopped.is_set():
                digest.update(chunk)
    except OSError:
        return _UNREADABLE
    return digest.hexdigest()
