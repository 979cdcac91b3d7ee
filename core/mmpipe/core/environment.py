"""Failures of the environment (memory, file handles, disks, networks), told from failures of one file's bytes."""

from __future__ import annotations

import errno
import mmap
from collections.abc import Iterator

from mmpipe.core.errors import Rejected
from mmpipe.core.refusals import Refusal, refusal

__all__ = ["MAX_EQUAL_FAILURES", "causes", "exhausted", "refused", "storage_remedy", "unavailable"]

MAX_EQUAL_FAILURES = 3
"""So many equal failures of storage end a task: one may be a damaged sector, three are a lost disk or network."""

_EXHAUSTED = frozenset({errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT})

_UNAVAILABLE = frozenset(
    {
        errno.EIO,
        errno.ESTALE,
        errno.ENODEV,
        errno.ENXIO,
        errno.EBUSY,
        errno.EPIPE,
        errno.ENOTCONN,
        errno.ESHUTDOWN,
        errno.ETIMEDOUT,
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETRESET,
        errno.ENETUNREACH,
    }
)

_OPENCV_NO_MEMORY = -4

_PROBE_BYTES = 256 << 20


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, and the errors that led to it."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        # A `Rejected` without a cause is a finding of its own, whatever was handled when it was raised.
        current = current.__cause__ or (None if isinstance(current, Rejected) else current.__context__)


def exhausted(error: BaseException) -> str | None:
    """What is used up (memory, file handles, disk), if that is the error; None for any other error.

    FFmpeg also says that memory is short where a damaged header asks for too much of it, so its word counts only if
    a further allocation fails as well.

    Example:
        >>> exhausted(MemoryError()), exhausted(OSError(errno.ENOENT, "No such file"))
        ('memory is used up', None)
    """
    if _is_ffmpegs(error):
        short = getattr(error, "errno", None) == errno.ENOMEM and not _memory_is_free()
        return "memory is used up" if short else None
    text, kind = str(error), type(error).__name__
    torch_says = isinstance(error, RuntimeError) and ("can't allocate memory" in text or "not enough memory" in text)
    opencv_says = getattr(error, "code", None) == _OPENCV_NO_MEMORY and _package(error) == "cv2"
    if isinstance(error, MemoryError) or kind == "OutOfMemoryError" or torch_says or opencv_says:
        return f"memory is used up ({text})" if text else "memory is used up"
    if isinstance(error, OSError) and error.errno in _EXHAUSTED:
        return f"{error.strerror or error}{_file(error)}"
    return None


def unavailable(error: BaseException) -> str | None:
    """How storage failed, if that is the error; None for any other error.

    It is an I/O error, a lost mount or connection, or an object store that refuses or does not answer.

    Example:
        >>> unavailable(OSError(errno.EIO, "Input/output error")), unavailable(ValueError("no number"))
        ('Input/output error', None)
    """
    if _is_ffmpegs(error):
        return None
    if (answer := refusal(error)) is not None:
        return answer.reason
    if isinstance(error, OSError):
        known = error.errno in _UNAVAILABLE or (
            error.errno is None and isinstance(error, ConnectionError | TimeoutError)
        )
        return (error.strerror or type(error).__name__) if known else None
    return type(error).__name__ if isinstance(error, TimeoutError) else None


def refused(error: BaseException) -> Refusal | None:
    """What an object store refused, by the error and those that led to it; None if it refused nothing."""
    return next(filter(None, map(refusal, causes(error))), None)


def storage_remedy(error: BaseException) -> str:
    """What to do about storage that fails, by the error and those that led to it."""
    return found.remedy if (found := refused(error)) else "check the disk, the mount or the network"


def _package(error: BaseException) -> str:
    return type(error).__module__.partition(".")[0]


def _is_ffmpegs(error: BaseException) -> bool:
    return _package(error) == "av"


def _file(error: OSError) -> str:
    return f": {error.filename}" if error.filename else ""


def _memory_is_free() -> bool:
    try:
        mmap.mmap(-1, _PROBE_BYTES).close()
    except (MemoryError, OSError):
        return False
    return True
