"""Errors that end a command, as one line with the remedy."""

from __future__ import annotations

import errno
import os

from mmpipe.core.environment import causes, refused
from mmpipe.core.errors import MmpipeError
from mmpipe.core.text import printable

__all__ = ["TRACEBACK", "in_one_line"]

TRACEBACK = "MMPIPE_TRACEBACK"
"""The environment variable that, set to 1, shows where an unexpected error happened."""

_REMEDIES = {
    errno.EMFILE: "the process may not open more files: raise the limit with `ulimit -n 4096`, or take fewer --workers",
    errno.ENFILE: "the machine has no more files to open: end other programs, or take fewer --workers",
    errno.ENOMEM: "memory is used up: take fewer --workers, or end other programs",
    errno.ENOSPC: "free space, then run the same command again",
    errno.EDQUOT: "free space or lift the quota, then run the same command again",
    errno.EIO: "the disk or the network gave an error: check it, then run the same command again",
    **dict.fromkeys(
        (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.EINVAL), "correct the path"
    ),
    errno.ELOOP: "links point to each other in a circle: name the folder itself",
    errno.ENAMETOOLONG: "name it shorter",
}

_OBJECT_STORES = ("botocore", "aiobotocore", "s3fs", "fsspec", "gcsfs", "adlfs", "aiohttp", "urllib3")


def in_one_line(error: BaseException) -> str:
    """What happened and what to do, for an error that no command has a better sentence for.

    Example:
        >>> in_one_line(OSError(28, "No space left on device", "x.parquet"))
        'x.parquet: No space left on device: free space, then run the same command again'
    """
    if isinstance(error, MmpipeError):
        return str(error)
    if answer := refused(error):
        said = _first_line(error)
        return f"{answer.reason}: {said}: {answer.remedy}, then run the same command again"
    module = type(error).__module__.partition(".")[0]
    if module in _OBJECT_STORES or (isinstance(error, OSError) and _from_object_store(error)):
        return (
            f"the object store refused or broke off ({_first_line(error)}): check address, credentials and rights "
            "(`mmpipe doctor`), then run the same command again"
        )
    if isinstance(error, OSError):
        where = f"{printable(error.filename)}: " if error.filename else ""
        denied = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
        remedy = f"let user {os.getuid()} read or write there; `mmpipe doctor` checks folders and corpora"
        other = _REMEDIES.get(error.errno or 0, "check the file, then run the same command again")
        return f"{where}{error.strerror or _first_line(error)}: {remedy if denied else other}"
    if isinstance(error, MemoryError):
        return f"memory is used up ({_first_line(error)}): take fewer --workers, or a machine with more memory"
    return (
        f"unexpected {type(error).__name__}: {_first_line(error)}: this is a fault of mmpipe or a damaged file; set "
        f"{TRACEBACK}=1 to see where it happened, and report it"
    )


def _from_object_store(error: OSError) -> bool:
    """Whether a library that talks to an object store raised it, or raised what it comes from."""
    return any(type(cause).__module__.partition(".")[0] in _OBJECT_STORES for cause in causes(error))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:500]
