"""Names for files and folders that are not finished, and the removal of those that killed processes left.

What is not finished lies beside what it will become and is called `.NAME.MACHINE.RANDOM.part`. Its owner keeps the
file `.NAME.MACHINE.RANDOM.part-lock` locked, which is made before it and removed after it. The kernel drops the lock
when the owner dies, so what has no lock, or one that is free, is a leftover.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path, PurePath

__all__ = ["NO_LOCKS", "machine", "scratch_beside", "sweep_parts"]

_LOCK = "-lock"

NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})
"""What `flock` answers on file systems that have no locks."""

_OLD_SECONDS = 3600.0
"""What another machine may be writing, or what has no lock, is a leftover when nothing in it changed for so long."""


@cache
def machine() -> str:
    """A short name of this kernel: equal in all containers of a machine, another one after a restart."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = socket.gethostname()
    return hashlib.sha256(boot.encode()).hexdigest()[:8]


@contextmanager
def scratch_beside(target: Path) -> Iterator[Path]:
    """A path beside `target` that nobody else writes to, from which the result is renamed to `target`.

    What is still there at the end of the block, a file or a folder, is removed.

    Raises:
        OSError: the folder of `target` cannot be made or written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    while True:
        part = target.parent / f".{target.name}.{machine()}.{secrets.token_hex(4)}.part"
        lock = part.with_name(part.name + _LOCK)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        if _lock(descriptor) is not False and os.fstat(descriptor).st_nlink:
            break
        os.close(descriptor)  # a sweeper took it for a leftover before it was locked
    try:
        yield part
    finally:
        _remove(part)
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def _remove(part: Path) -> None:
    if part.is_dir() and not part.is_symlink():
        shutil.rmtree(part, ignore_errors=True)
    else:
        part.unlink(missing_ok=True)


def _lock(descriptor: int) -> bool | None:
    """Lock a file: whether that worked, None where the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in NO_LOCKS:
            return None
        raise
    return True


def sweep_parts(folder: Path, name: str | None = None, *, deep: bool = True) -> None:
    """Remove unfinished files and folders that nobody is writing any more.

    What this machine's processes left is removed at once, what may be another machine's (or was written by an earlier
    version) when nothing in it has changed for an hour.

    Args:
        folder: where to look.
        name: what the unfinished files would have become; None takes all.
        deep: look in all folders below as well.
    """
    if not (isinstance(folder, PurePath) and folder.is_dir()):
        return
    start = "." if name is None else f".{name}."
    for where, folders, files in os.walk(folder):  # which does not mind that others remove what it has listed
        for found in (*folders, *files):
            unfinished = found.startswith(start) and found.endswith((".part", ".part" + _LOCK))
            if unfinished or (name is None and found.startswith(".part-")):
                with suppress(OSError):  # another sweeper was faster, or it is not ours to remove
                    _sweep(Path(where, found.removesuffix(_LOCK)))
        folders[:] = [kept for kept in folders if deep and not kept.endswith(".part")]


def _sweep(part: Path) -> None:
    ours, lock = f".{machine()}." in part.name, part.with_name(part.name + _LOCK)
    try:
        descriptor = os.open(lock, os.O_RDWR)
    except FileNotFoundError:
        if ours or _age_seconds(part) > _OLD_SECONDS:
            _remove(part)
        return
    try:
        free = _lock(descriptor)
        if free is not False and ((free and ours) or _age_seconds(part, lock) > _OLD_SECONDS):
            _remove(part)
            lock.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _age_seconds(*parts: Path) -> float:
    """Time since anything in them changed, by the clock of this machine."""
    changes = [path.lstat().st_mtime for part in parts if part.exists() for path in (part, *part.rglob("*"))]
    return time.time() - max(changes, default=time.time())
