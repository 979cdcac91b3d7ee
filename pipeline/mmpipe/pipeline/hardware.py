"""Cores, devices, precisions and threads: one place, used by every command."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmpipe.core.errors import UsageError

__all__ = ["available_cores", "one_thread", "pick_device", "use_threads"]


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
