"""Weight files: where they lie, what they hash to."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from mmpipe.manifests.errors import WeightsError

__all__ = ["FERPLUS_DENSENET", "SHA256", "bundled", "sha256"]

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


@lru_cache(maxsize=64)
def _sha256(path: str, size: int, mtime_ns: int) -> str:
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex; cached by path, size and modification time within the process.

    Raises:
        WeightsError: the file does not exist.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise WeightsError(f"the weights file {path} cannot be read: {error.strerror}") from error
    return _sha256(str(path), stat.st_size, stat.st_mtime_ns)
