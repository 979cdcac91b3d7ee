"""Seals: hashes by which a reader knows that a file is, to the last byte, what was written."""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from mmpipe.core.files import write_bytes
from mmpipe.core.reading import check_regular, parse_object, read_limited

__all__ = [
    "Bytes",
    "chunks",
    "crc32",
    "crc32_of",
    "file_state",
    "read_sealed_json",
    "sha256",
    "sha256_of",
    "write_sealed_json",
]

Bytes = bytes | bytearray | memoryview

_CHUNK_BYTES = 1 << 19
"""What the caches of a core hold while it is hashed."""

_SEAL = b'"seal": "'
"""What is before the seal of a sealed JSON file: its last key."""

_HASH = re.compile("[0-9a-f]{64}")


def sha256(parts: Iterable[Bytes]) -> str:
    """SHA-256 (hex) of bytes that follow one another."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def crc32(parts: Iterable[Bytes]) -> str:
    """CRC-32 (hex) of bytes that follow one another. It finds every flipped bit, at several times SHA-256's speed.

    Example:
        >>> crc32([b"1234", b"56789"])
        'cbf43926'
    """
    value = 0
    for part in parts:
        value = zlib.crc32(part, value)
    return f"{value:08x}"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        OSError: it cannot be read, or is not a regular file.
    """
    return _of_file(sha256, path)


def crc32_of(path: Path) -> str:
    """CRC-32 of a file.

    Raises:
        OSError: it cannot be read, or is not a regular file.
    """
    return _of_file(crc32, path)


def _of_file(hash_: Callable[[Iterable[Bytes]], str], path: Path) -> str:
    check_regular(path)
    with path.open("rb") as stream:
        return hash_(chunks(stream))


def chunks(stream: BinaryIO, length: int | None = None) -> Iterator[memoryview]:
    """The next bytes of a stream, all or `length`; each piece is valid until the next one is asked for."""
    buffer = memoryview(bytearray(_CHUNK_BYTES))
    while length is None or length > 0:
        piece = buffer if length is None else buffer[:length]
        if not (read := stream.readinto(piece)):  # type: ignore[attr-defined]  # every binary stream has it
            return
        length = None if length is None else length - read
        yield buffer[:read]


def file_state(path: Path) -> tuple[int, ...]:
    """Size, times of change in nanoseconds, and inode: a file that is written or replaced gets another state.

    Raises:
        OSError: it is not there.
    """
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def write_sealed_json(path: Path, value: Mapping[str, Any]) -> str:
    """Write indented JSON atomically, with the SHA-256 of its bytes as its last key, `seal`.

    Returns:
        The seal.

    Raises:
        StorageError: it cannot be written.
    """
    text = json.dumps({**value, "seal": "0" * 64}, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    data = text.encode()
    seal = sha256([data])
    place = data.rindex(_SEAL) + len(_SEAL)
    write_bytes(path, data[:place] + seal.encode() + data[place + 64 :])
    return seal


def read_sealed_json(path: Path) -> dict[str, Any]:
    """What `write_sealed_json` was given; a file without a seal, as earlier versions wrote, is read as it is.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not a JSON object within the limits of `parse_json`, or its bytes do not give its seal.
    """
    data = read_limited(path)
    value = parse_object(data)
    if (seal := value.pop("seal", None)) is not None:
        place = data.rfind(_SEAL) + len(_SEAL)
        if sha256([data[:place], b"0" * 64, data[place + 64 :]]) != seal:
            raise ValueError("its bytes do not give the hash that it holds of itself")
    elif (last := next(reversed(value), "")) and len(last) == len("seal") and _HASH.fullmatch(str(value[last])):
        raise ValueError("the name of its seal is damaged")
    return value
