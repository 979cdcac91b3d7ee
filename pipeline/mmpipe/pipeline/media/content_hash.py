"""Content hashes of media. The state of a file (size, times, inode) is only the key of a cache in the store's logs."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from mmpipe.core.environment import MAX_EQUAL_FAILURES, causes, exhausted, storage_remedy, unavailable
from mmpipe.core.errors import Rejected, ResourceError
from mmpipe.core.files import is_local, open_binary, write_json
from mmpipe.core.object_cache import ObjectCache
from mmpipe.core.objects import list_objects, object_info, object_state
from mmpipe.core.reading import read_object
from mmpipe.core.seals import file_state
from mmpipe.manifests.io import resolve_media

__all__ = [
    "MISSING",
    "UNREADABLE",
    "MediaHashes",
    "hash_file",
    "hash_media",
    "is_hash",
    "media_identities",
    "media_state",
]

_CACHE = "media_hashes.json"

MISSING = "missing"
"""Stands for the hash of a file that is not there: when it appears, its shards become due."""

UNREADABLE = "unreadable"
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
        The state; `missing` where there is no file, `unreadable` for what is not a regular one.

    Raises:
        Rejected: the file is outside the root.
        OSError: it cannot be looked at; an object store's client may raise errors of its own.
    """
    try:
        path = resolve_media(root, uri)
        if is_local(path):
            if not stat.S_ISREG(path.stat().st_mode):
                return UNREADABLE  # opening a pipe would wait for ever
            return ":".join(map(str, file_state(path)))
        return object_state(object_info(path))
    except FileNotFoundError:
        return MISSING


def hash_media(
    root: Path,
    uris: Iterable[str],
    logs: Path | None,
    threads: int,
    *,
    only_known: bool = False,
    cache: ObjectCache | None = None,
) -> MediaHashes:
    """SHA-256 of each media file, by its uri. Nothing is written.

    Args:
        root: the corpus root.
        uris: paths relative to it.
        logs: the folder of the cache, which remembers hashes by uri and state; None for no cache.
        threads: files hashed at once.
        only_known: hash nothing: what the cache does not know stays `not hashed yet`.
        cache: keeps the media of an object store on a local disk; None reads them by ranges.

    Raises:
        ResourceError: file handles or memory are used up, or several files fail alike, as on a lost disk.
    """
    known, wanted = {} if logs is None else _known(logs / _CACHE), sorted(set(uris))
    failures = _Failures.of(root, len(wanted))
    states = _states(root, wanted, failures)
    hashes, due = {}, []
    for uri, state in states.items():
        if state in (MISSING, UNREADABLE):
            hashes[uri] = state
        elif known.get(uri, [None])[0] == state:
            hashes[uri] = known[uri][1]
        else:
            due.append(uri)
            hashes[uri] = _NOT_HASHED
    new: dict[str, list[str]] = {}
    if due and not only_known:
        made = _hash_all({uri: resolve_media(root, uri) for uri in due}, threads, failures, cache)
        hashes |= dict(zip(due, made, strict=True))
        new = {uri: [states[uri], hashes[uri]] for uri in due if hashes[uri] != UNREADABLE}
    return MediaHashes(hashes, states, new)


def media_identities(root: Path, uris: Iterable[str], threads: int) -> dict[str, tuple[int, str]]:
    """The size in bytes of each media file that can be looked at, and the file that its name leads to.

    Hard links, and links that are followed, have the same file under several names. On an object store each name is a
    file of its own.

    Args:
        root: the corpus root.
        uris: paths relative to it.
        threads: files looked at at once.

    Raises:
        ResourceError: file handles or memory are used up, or several files fail alike, as on a lost disk.
    """
    names = list(uris)
    failures = _Failures.of(root, len(names))

    def look(uri: str) -> tuple[int, str] | None:
        try:
            path = resolve_media(root, uri)
            found = path.stat()
        except FileNotFoundError:
            return None
        except Exception as error:
            failures.see(uri, error)
            return None
        if not is_local(path):
            return found.st_size, uri
        return (found.st_size, f"{found.st_dev}:{found.st_ino}") if stat.S_ISREG(found.st_mode) else None

    with ThreadPoolExecutor(threads) as pool:
        return {uri: found for uri, found in zip(names, pool.map(look, names), strict=True) if found is not None}


def hash_file(root: Path, uri: str) -> str:
    """SHA-256 of one media file, or `missing` or `unreadable`.

    Raises:
        Rejected: the file is outside the root.
        OSError: it cannot be read; an object store's client may raise errors of its own.
    """
    state = media_state(root, uri)
    return state if state in (MISSING, UNREADABLE) else _digest(resolve_media(root, uri), threading.Event())


_FEW = 32
"""So many objects are asked for one by one; for more, all that lie beside them are listed, 1,000 a request."""


def _states(root: Path, uris: Sequence[str], failures: _Failures) -> dict[str, str]:
    """The state of each media file, see `media_state`."""
    if is_local(root) or len(uris) <= _FEW:
        return {uri: _state(root, uri, failures) for uri in uris}
    folder = os.path.commonpath([f"/{uri}" for uri in uris]).strip("/")
    start = f"{folder}/" if folder else ""
    listed = {start + name: found.state for name, found in list_objects(root / folder if folder else root).items()}
    plain = {uri for uri in uris if uri == os.path.normpath(uri)}  # others may mean a name that is listed
    return {uri: listed.get(uri, MISSING) if uri in plain else _state(root, uri, failures) for uri in uris}


def _state(root: Path, uri: str, failures: _Failures) -> str:
    try:
        return media_state(root, uri)
    except Exception as error:
        failures.see(uri, error)
        return UNREADABLE


def _known(cache: Path) -> dict[str, list[str]]:
    try:
        entries = read_object(cache, _MOST_CACHE_BYTES)
    except (OSError, ValueError):
        return {}
    return {k: v for k, v in entries.items() if isinstance(v, list) and len(v) == 2 and isinstance(v[1], str)}


class _Failures:
    """Tells files that cannot be read from a disk or network that fails: `most` equal failures are one of those."""

    def __init__(self, most: int) -> None:
        self._failed: Counter[str] = Counter()
        self._most = most

    @classmethod
    def of(cls, root: Path, files: int) -> Self:
        """Those of so many files: an object store that refuses all of them fails, however few they are."""
        return cls(MAX_EQUAL_FAILURES if is_local(root) else min(MAX_EQUAL_FAILURES, files))

    def see(self, uri: str, error: Exception) -> None:
        """Look at the error of a file that cannot be hashed.

        Raises:
            ResourceError: the machine failed, not the file.
        """
        for one in causes(error):
            if cause := exhausted(one):
                raise ResourceError(f"{uri} cannot be read: {cause}: then run the same command again") from error
            if cause := unavailable(one):
                self._failed[cause] += 1
                if self._failed[cause] >= self._most:
                    raise ResourceError(
                        f"{self._failed[cause]} media files cannot be read, the last {uri}: {cause}: "
                        f"{storage_remedy(error)}, then run the same command again"
                    ) from error
                return
        if not isinstance(error, Rejected | OSError):
            raise error


def is_hash(value: object) -> bool:
    """Whether this is the content hash of a file that was read, not a word that stands for one.

    Example:
        >>> is_hash("missing"), is_hash(hashlib.sha256(b"").hexdigest())
        (False, True)
    """
    return isinstance(value, str) and len(value) == hashlib.sha256().digest_size * 2


def _hash_all(paths: Mapping[str, Path], threads: int, failures: _Failures, cache: ObjectCache | None) -> list[str]:
    stopped = threading.Event()
    pool = ThreadPoolExecutor(threads)
    try:
        return list(pool.map(partial(_hash, stopped, failures, cache), paths, paths.values()))
    finally:
        stopped.set()  # Ctrl-C must not wait for large files
        pool.shutdown(cancel_futures=True)


def _hash(stopped: threading.Event, failures: _Failures, cache: ObjectCache | None, uri: str, path: Path) -> str:
    try:
        if cache is None or is_local(path):
            return _digest(path, stopped)
        with cache.hold(path) as held:
            return _digest(held.path, stopped)
    except Exception as error:
        failures.see(uri, error)
        return UNREADABLE


def _digest(path: Path, stopped: threading.Event) -> str:
    digest = hashlib.sha256()
    with open_binary(path) as stream:
        while (chunk := stream.read(_CHUNK_BYTES)) and not stopped.is_set():
            digest.update(chunk)
    return digest.hexdigest()
