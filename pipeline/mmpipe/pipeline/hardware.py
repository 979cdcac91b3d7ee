"""Cores, devices, precisions and threads: one place, used by every command."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from mmpipe.core.errors import UsageError

__all__ = ["available_cores", "in_threads", "one_thread", "pick_device", "use_threads"]

_S = TypeVar("_S")
_T = TypeVar("_T")


def available_cores() -> int:
    """Cores that this process may use (a job's share, not the machine's)."""
    return len(os.sched_getaffinity(0))


def _has_cuda() -> bool:
    """Whether torch finds a GPU. Where no driver is installed, torch is not imported to ask it."""
    if not _has_driver():
        return False
    import torch

    return torch.cuda.is_available()


def _has_driver() -> bool:
    """Whether a driver is there that torch's builds for NVIDIA or AMD can use."""
    if Path("/dev/kfd").exists():
        return True
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def pick_device(name: str) -> str:
    """`cpu` or `cuda`; `auto` is the GPU where there is one.

    Raises:
        UsageError: the device does not exist here.
    """
    if name == "cpu":
        return "cpu"
    available = ["cpu", *(["cuda"] if _has_cuda() else [])]
    if name not in ("auto", *available):
        raise UsageError(f"--device {name!r}: valid values on this machine are auto, {', '.join(available)}")
    return available[-1] if name == "auto" else name


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch, if this process has imported it, compute on one thread in the block.

    Small networks gain little by more, and beside another job several threads are many times slower than one.
    """
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 0
    try:
        if torch:
            torch.set_num_threads(1)
        yield
    finally:
        if torch:
            torch.set_num_threads(before)


def use_threads(number: int) -> None:
    """Let torch use this many threads in this process."""
    import torch

    torch.set_num_threads(number)


def in_threads(function: Callable[[_S], _T], items: Sequence[_S]) -> list[_T]:
    """What a function of NumPy or scikit-learn gives for some items, in their order.

    As many run at once as there are cores. Each computes on one thread: beside another job, several threads of a small
    matrix product wait for each other. A single item is computed in the thread of the caller.

    Example:
        >>> in_threads(abs, [-1, 2])
        [1, 2]
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        if len(items) == 1:
            return [function(items[0])]
        with ThreadPoolExecutor(available_cores()) as pool:
            return list(pool.map(function, items))
