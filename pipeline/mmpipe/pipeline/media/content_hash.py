"""Content hashes of media. The state of a file (size, times, inode) is only the key of a cache in the store's logs."""

from __future__ import annotations

import hashlib
import stat
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mmpipe.core.errors import Rejected
from mmpipe.core.files import canonical_json, forget_listings, is_local, write_json
from mmpipe.core.reading import read_object
from mmpipe.core.seals import file_state
from mmpipe.manifests.io import resolve_media

__all__ = ["MediaHashes", "hash_file", "hash_media", "media_state"]

_CACHE = "media_hashes.json"

_MISSING = "missing"
"""Stands for the hash of a file that is not there: when it appears, its shards become due."""

_UNREADABLE = "unreadable"
"""Stands for the hash of what cannot be read: no permission, no regular file, a disk error."""

_NOT_HASHED = "not hashed yet"

_MOST_CACHE_BYTES = 256 << 20
"""Of the cache: a million files have 150 MB."""

_CHUNK_BYTES = 1 << 22

_REMOTE_STATE = ("size", "ETag", "etag", "generation", "VersionId", "md5Hash", "LastModified", "mtime", "created")
"""What object stores say of a version of a file, by the names that their file systems give it."""


@dataclass(frozen=True)
class MediaHashes:
    """Content hashes of media.

    Attributes:
        by_uri: SHA-256 of each file, or why there is none.
        states: the state of each file before it was hashed, see `media_state`.
        new: entries that the cache lacks: uri -> [state, hash].
    """

    by_uri: dict[str, str]
    states: dict[str, str]
    new: dict[str, list[str]]

    def remember(self, logs: Path) -> None:
        """Add the new entries to the cache.

        Raises:
            StorageError: it cannot be written.
        """
        if self.new:
            write_json(logs / _CACHE, _known(logs / _CACHE) | self.new)


def media_state(root: Path, uri: str) -> str:
    """What tells a media file from the same file before a change, without its content.

    For a local file: size, times of change and inode. On an object store: size, ETag and the like.

    Args:
        root: the corpus root.
        uri: a path relative to it.

    Returns:
        The state; `missing` or `unreadable` where there is no file that can be read.
    """
    try:
        path = resolve_media(root, uri)
        if is_local(path):
            if not stat.S_ISREG(path.stat().st_mode):
                return _UNREADABLE  # opening a pipe would wait for ever
            return ":".join(map(str, file_state(path)))
        forget_listings(path)
        remote: Any = path
        found = remote.fs.info(remote.path)
    except FileNotFoundError:
        return _MISSING
    except (Rejected, OSError):
        return _UNREADABLE
    return canonical_json({name: str(found[name]) for name in _REMOTE_STATE if name in found})


def hash_media(root: Path, uris: Iterable[str], logs: Path, threads: int, *, only_known: bool = False) -> MediaHashes:
    """SHA-256 of each media file, by its uri. Nothing is written.

    Args:
        root: the corpus root.
        uris: paths relative to it.
        logs: the folder of the cache, which remembers hashes by uri and state.
        threads: files hashed at once.
        only_known: hash nothing: what the cache does not know stays `not hashed yet`.
    """
    known = _known(logs / _CACHE)
    states = {uri: media_state(root, uri) for uri in sorted(set(uris))}
    hashes, due = {}, []
    for uri, state in states.items():
        if state in (_MISSING, _UNREADABLE):
            hashes[uri] = state
        elif known.get(uri, [None])[0] == state:
            hashes[uri] = known[uri][1]
        else:
            due.append(uri)
            hashes[uri] = _NOT_HASHED
    new: dict[str, list[str]] = {}
    if due and not only_known:
        made = _hash_all([resolve_media(root, uri) for uri in due], threads)
        hashes |= dict(zip(due, made, strict=True))
        new = {uri: [states[uri], hashes[uri]] for uri in due if hashes[uri] != _UNREADABLE}
    return MediaHashes(hashes, states, new)


def hash_file(root: Path, uri: str) -> str:
    """SHA-256 of one media file, or `missing` or `unreadable`."""
    state = media_state(root, uri)
    return state if state in (_MISSING, _UNREADABLE) else _hash(threading.Event(), resolve_media(root, uri))


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
