"""Opening media files: every way in which a file can be damaged becomes a `Rejected` that names it."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av

from mmpipe.core.errors import Rejected, ResourceError
from mmpipe.core.files import open_binary

__all__ = ["MAX_PIXELS", "cut_off", "decoding", "open_media"]

_FORMATS = (
    "3dostr,aa,aac,ac3,adts,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dv,eac3,flac,flv,gxf,ivf,live_flv,matroska,webm,mov,"
    "mp4,m4a,3gp,3g2,mj2,mp3,mpc,mpc8,mpeg,mpegts,mxf,nistsphere,nut,ogg,ogv,rm,sox,swf,tta,voc,w64,wav,wtv,wv"
)
"""The containers that are read. Left out are playlists, which would open other files and addresses, and formats that
find an image in any text or noise: bare streams without a container among them."""

MAX_PIXELS = 1 << 26
"""A larger frame (eight times 4K) is a damaged header, and would take the memory of the machine."""

_FAILURES = (av.FFmpegError, OSError, ValueError, ArithmeticError, RuntimeError, MemoryError, ResourceError)
"""What PyAV raises on hostile bytes, beside its own errors; the last is an object store's, which a run counts."""


@contextmanager
def decoding(path: Path) -> Iterator[None]:
    """Turn what goes wrong with the bytes of `path` into a `Rejected` with status `media_error`."""
    try:
        yield
    except _FAILURES as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise Rejected("media_error", f"{path.name}: cannot be decoded ({reason}); is the file complete?") from error


@contextmanager
def open_media(path: Path) -> Iterator[Any]:
    """An open container.

    Raises:
        Rejected: `media_missing` where there is no such file; `media_error` where it cannot be read or decoded, also
            if that shows within the block.
    """
    with decoding(path):
        _check(path)
        # A bare path could be read as an FFmpeg protocol string; a file object cannot.
        options = {"format_whitelist": _FORMATS}
        with open_binary(path) as stream, av.open(stream, metadata_errors="replace", options=options) as container:
            if not any(stream.type in ("audio", "video") for stream in container.streams):
                raise Rejected("media_error", f"{path.name}: holds neither audio nor video; is the file complete?")
            yield container


def _check(path: Path) -> None:
    try:
        status = path.stat()
    except FileNotFoundError:
        raise Rejected("media_missing", f"{path.name}: the file does not exist") from None
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
        raise Rejected("media_error", f"{path.name}: is not a regular file but a {_kind(status.st_mode)}")
    if status.st_size == 0:
        raise Rejected("media_error", f"{path.name}: the file is empty; copy it again")


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
    return kinds.get(stat.S_IFMT(mode), "device")


def cut_off(what: str, ends: float, expected: float, why: str) -> Rejected:
    """The error of a stream that ends too early.

    Args:
        what: file and stream.
        ends: where it ends, in seconds.
        expected: where it should end, in seconds.
        why: who says so.
    """
    return Rejected("media_error", f"{what} ends at {ends:.2f} s, {why} at {expected:.2f} s; is the file complete?")
