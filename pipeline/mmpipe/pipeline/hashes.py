"""Content hashes of media. Size and modification time are only the key of a local cache in the store's logs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mmpipe.manifests.errors import Rejected
from mmpipe.manifests.files import write_json
from mmpipe.manifests.io import resolve_media

__all__ = ["MISSING", "hash_media"]

MISSING = "missing"
"""Stands for the hash of a file that is not there: when it appears, its shards become due."""

UNREADABLE = "unreadable"


def _key(path: Path) -> str:
    stat = path.stat()
    return f"{stat.st_size}:{stat.st_mtime_ns}"


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return UNREADABLE


def hash_media(root: Path, uris: Iterable[str], cache: Path, threads: int) -> dict[str, str]:
    """SHA-256 of each media file, by its uri.

    Args:
        root: the corpus root.
        uris: paths relative to it.
        cache: a JSON file that remembers hashes by uri, size and modification time.
        threads: files hashed at once.
    """
    known: dict[str, list[str]] = {}
    if cache.is_file():
        try:
            known = json.loads(cache.read_text(encoding="utf-8"))
        except ValueError:
            known = {}
    hashes, due = {}, {}
    for uri in sorted(set(uris)):
        try:
            path = resolve_media(root, uri)
            key = _key(path)
        except (Rejected, OSError):
            hashes[uri] = MISSING
            continue
        if known.get(uri, [None])[0] == key:
            hashes[uri] = known[uri][1]
        else:
            due[uri] = (path, key)
    with ThreadPoolExecutor(threads) as pool:
        for uri, value in zip(due, pool.map(_hash, (path for path, _ in due.values())), strict=True):
            hashes[uri] = value
            known[uri] = [due[uri][1], value]
    if due:
        write_json(cache, known)
    return hashes
