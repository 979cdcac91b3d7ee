"""Content hashes of media. Size and modification time are only the key of a local cache in the store's logs."""

from __future__ import annotations

import hashlib
import json
import stat
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mmpipe.core.environment import MAX_EQUAL_FAILURES, causes, exhausted, unavailable
from mmpipe.core.errors import Rejected, ResourceError
from mmpipe.core.files import write_json
from mmpipe.manifests.io import resolve_media

__all__ = ["MediaHashes", "hash_media", "is_hash"]

_CACHE = "media_hashes.json"

_MISSING = "missing"
"""Stands for the hash of a file that is not there: when it appears, its shards become due."""

_UNREADABLE = "unreadable"
"""Stands for the hash of what cannot be read: no permission, no regular file, a disk error."""

_NOT_HASHED = "not hashed yet"

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

    Raises:
        ResourceError: file handles or memory are used up, or several files fail alike, as on a lost disk.
    """
    known, failures = _known(logs / _CACHE), _Failures()
    hashes, due = {}, {}
    for uri in sorted(set(uris)):
        try:
            path = resolve_media(root, uri)
            status = path.stat()
        except FileNotFoundError:
            hashes[uri] = _MISSING
            continue
        except Exception as error:
            failures.see(uri, error)
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
        made = _hash_all({uri: path for uri, (path, _) in due.items()}, threads, failures)
        hashes |= dict(zip(due, made, strict=True))
        new = {uri: [due[uri][1], hashes[uri]] for uri in due if hashes[uri] != _UNREADABLE}
    return MediaHashes(hashes, new)


def _known(cache: Path) -> dict[str, list[str]]:
    try:
        return dict(json.loads(cache.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


class _Failures:
    """Tells files that cannot be read from a disk or network that fails."""

    def __init__(self) -> None:
        self._failed: Counter[str] = Counter()

    def see(self, uri: str, error: Exception) -> None:
        """Look at the error of a file that cannot be hashed.

        Raises:
            ResourceError: it is no fault of the file.
        """
        for one in causes(error):
            if cause := exhausted(one):
                raise ResourceError(f"{uri} cannot be read: {cause}: then run the same command again") from error
            if cause := unavailable(one):
                self._failed[cause] += 1
                if self._failed[cause] >= MAX_EQUAL_FAILURES:
                    raise ResourceError(
                        f"{self._failed[cause]} media files cannot be read, the last {uri}: {cause}: check the disk, "
                        "the mount or the network, then run the same command again"
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


def _hash_all(paths: Mapping[str, Path], threads: int, failures: _Failures) -> list[str]:
    stopped = threading.Event()
    pool = ThreadPoolExecutor(threads)
    try:
        return list(pool.map(partial(_hash, stopped, failures), paths, paths.values()))
    finally:
        stopped.set()  # Ctrl-C must not wait for large files
        pool.shutdown(cancel_futures=True)


def _hash(stopped: threading.Event, failures: _Failures, uri: str, path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while (chunk := stream.read(_CHUNK_BYTES)) and not stopped.is_set():
                digest.update(chunk)
    except Exception as error:
        failures.see(uri, error)
        return _UNREADABLE
    return digest.hexdigest()
