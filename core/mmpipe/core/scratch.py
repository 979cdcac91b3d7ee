"""Private folders for files that are not finished, and the removal of those that killed processes left.

A scratch folder lies beside what it will become, is called `.NAME.MACHINE.RANDOM.part`, and holds a file that its owner
keeps locked. The kernel drops the lock when the owner dies, so a folder whose lock is free is a leftover.
"""

from __future__ import annotations

import errno
import fcntl
import glob
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

_LOCK = ".lock"

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
    """A path to write to, in a private folder beside `target`, from which the result is renamed to `target`.

    The folder, with what is still in it, is removed at the end of the block.

    Raises:
        OSError: it cannot be made.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    while (made := _locked_folder(target)) is None:
        continue  # a sweeper took it for a leftover before it was locked
    folder, descriptor = made
    try:
        yield folder / target.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _locked_folder(target: Path) -> tuple[Path, int] | None:
    folder = target.parent / f".{target.name}.{machine()}.{secrets.token_hex(4)}.part"
    folder.mkdir()  # exclusive
    try:
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    except FileNotFoundError:
        return None
    except OSError:
        folder.rmdir()
        raise
    if _lock(descriptor) is not False and os.fstat(descriptor).st_nlink:
        return folder, descriptor
    os.close(descriptor)
    return None


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
    patterns = [".*.part", ".part-*"] if name is None else [f".{glob.escape(name)}.*.part"]
    for pattern in patterns:
        for part in list(folder.rglob(pattern) if deep else folder.glob(pattern)):
            with suppress(OSError):  # another sweeper was faster, or it is not ours to remove
                _sweep(part)


def _sweep(part: Path) -> None:
    if not part.is_dir() or part.is_symlink():
        if _age_seconds(part) > _OLD_SECONDS:
            part.unlink()
        return
    ours = f".{machine()}." in part.name
    try:
        descriptor = os.open(part / _LOCK, os.O_RDWR)
    except FileNotFoundError:
        if _age_seconds(part) > _OLD_SECONDS:
            shutil.rmtree(part)
        elif ours:
            part.rmdir()  # its maker died, or makes another one; with something in it, it is left
        return
    try:
        free = _lock(descriptor)
        if (free and ours) or (free is not False and _age_seconds(part) > _OLD_SECONDS):
            shutil.rmtree(part)
    finally:
        os.close(descriptor)


def _age_seconds(part: Path) -> float:
    """Time since anything in it changed, by the clock of this machine."""
    changes = [path.lstat().st_mtime for path in (part, *part.rglob("*"))]
    return time.time() - max(changes)
