"""Weight files that ship with mmpipe, and hashes of weight files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from mmpipe.core.errors import StorageError, WeightsError
from mmpipe.core.files import cache_folder, write_json
from mmpipe.core.reading import check_regular, read_json

__all__ = ["FERPLUS_DENSENET", "SHA256", "bundled", "known_files", "sha256"]

FERPLUS_DENSENET = "ferplus_densenet.safetensors"
"""The expression network that ships with mmpipe."""

SHA256 = {FERPLUS_DENSENET: "bdd7b1a85600ed322cb1d8316b4b7fad33e91463edbca257c6906cb987ce4f86"}
"""Hashes of the weight files that ship with mmpipe."""


def bundled(name: str) -> Path:
    """Path of a weight file that ships with mmpipe.

    Raises:
        WeightsError: the installation lacks it, or it is not the file that was shipped.
    """
    path = Path(str(files("mmpipe.extractors.weights") / name))
    if not path.is_file():
        raise WeightsError(f"the bundled weights {name} are missing at {path}: reinstall mmpipe")
    if (got := sha256(path)) != SHA256[name]:
        raise WeightsError(f"{path} is damaged: expected SHA-256 {SHA256[name]}, got {got}: reinstall mmpipe")
    return path


def known_files(folder: Path, hashes: Mapping[str, str], remedy: Callable[[], str]) -> dict[str, Path]:
    """Paths of files of another package, by name, after a check that they are those that mmpipe knows.

    Args:
        folder: where they lie.
        hashes: SHA-256 by name.
        remedy: the end of the message, asked for only where a file differs.

    Raises:
        WeightsError: a file is missing, or is another one.
    """
    for name, expected in hashes.items():
        if (got := sha256(folder / name)) != expected:
            raise WeightsError(
                f"{folder / name} is not the file that mmpipe knows: expected SHA-256 {expected}, got {got}{remedy()}"
            )
    return {name: folder / name for name in hashes}


_REMEMBERED_BYTES = 1 << 24
"""Hashes of files from this size on are kept between runs: a BERT-large takes seconds to hash."""


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex.

    Within a process it is computed once for a file's path, size, modification time and inode. Those of large files are
    kept between runs too, in `weight_hashes.json` in the cache folder.

    Raises:
        WeightsError: the file does not exist, or cannot be read.
    """
    try:
        check_regular(path)
        status = path.stat()
        return _sha256(str(path.absolute()), status.st_size, status.st_mtime_ns, status.st_ino)
    except OSError as error:
        raise WeightsError(f"the weights file {path} cannot be read: {error.strerror}") from error


@lru_cache(maxsize=64)
def _sha256(path: str, size: int, mtime_ns: int, inode: int) -> str:
    state, cache = [size, mtime_ns, inode], cache_folder() / "weight_hashes.json"
    if size >= _REMEMBERED_BYTES and (known := _read_cache(cache).get(path)) and known[:-1] == state:
        return str(known[-1])
    with Path(path).open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if size >= _REMEMBERED_BYTES:
        with suppress(StorageError):  # without a cache folder, as in a container, files are hashed each time
            write_json(cache, _read_cache(cache) | {path: [*state, digest]})
    return digest


def _read_cache(path: Path) -> dict[str, list[Any]]:
    try:
        entries = read_json(path)
    except (OSError, ValueError):
        return {}
    valid = isinstance(entries, dict)
    return {k: v for k, v in entries.items() if isinstance(v, list) and len(v) == 4} if valid else {}
