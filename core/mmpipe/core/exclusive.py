"""A short lock around a few writes.

It is the kernel's (`flock`). On an object store it is an object that is made by a conditional PUT, and on a file system
without locks a file that is made exclusively; these two are taken from a dead owner after a minute without a change.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mmpipe.core.files import explained, forget_listings, is_local
from mmpipe.core.scratch import NO_LOCKS

__all__ = ["ALIVE_SECONDS", "POLL_SECONDS", "create", "exclusive"]

ALIVE_SECONDS = 60.0
"""An owner on another machine counts as alive for so long after its last sign of life."""

POLL_SECONDS = 0.2
"""Between two looks at a lock that is waited for."""


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Wait for the short lock at `path` and have it while the block runs; its file is removed afterwards.

    Raises:
        StorageError: the lock cannot be made.
    """
    if is_local(path):
        with explained(path):
            descriptor = _locked(path)
        if descriptor is not None:
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
                os.close(descriptor)
            return
        path = path.with_name(f"{path.name}-claim")
    token = secrets.token_hex(8).encode()
    with explained(path):
        _claim(path, token)
    try:
        yield
    finally:
        with suppress(OSError):
            if path.read_bytes() == token:
                path.unlink(missing_ok=True)


def _locked(path: Path) -> int | None:
    """An open file with the kernel's lock on it, or None where the file system has no locks."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    return descriptor  # else its last owner has removed it meanwhile
        except OSError as error:
            if error.errno in NO_LOCKS:
                os.close(descriptor)
                path.unlink(missing_ok=True)
                return None
            os.close(descriptor)
            raise
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _claim(path: Path, token: bytes) -> None:
    """Make the lock object; one that does not change for a minute belongs to a dead process and is removed."""
    seen, since = b"", time.monotonic()
    while not create(path, token):
        try:
            forget_listings(path)
            present = path.read_bytes()
        except FileNotFoundError:
            continue
        if present != seen:
            seen, since = present, time.monotonic()
        elif time.monotonic() - since > ALIVE_SECONDS:
            with suppress(FileNotFoundError):
                if path.read_bytes() == seen:
                    path.unlink()
        time.sleep(POLL_SECONDS)


def create(path: Path, data: bytes) -> bool:
    """Make a file that is not there yet; False if it is."""
    if is_local(path):
        try:
            with path.open("xb") as stream:
                stream.write(data)
        except FileExistsError:
            return False
        return True
    system: Any = path.fs  # type: ignore[attr-defined]
    try:
        system.pipe_file(path.path, data, mode="create")  # type: ignore[attr-defined]
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno == errno.EEXIST or "PreconditionFailed" in str(error) or "pre-conditions" in str(error):
            return False
        if "ConditionalRequestConflict" in str(error):  # another PUT of the same object was faster
            return False
        raise
    return True
