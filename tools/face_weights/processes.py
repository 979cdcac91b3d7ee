"""Training in several processes on one machine: each works on its part of a step, gradients are averaged.

Two Python threads hold each other up between the many small passes of a step; processes do not.
"""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["average_over_processes", "joined", "processes", "rank"]


@contextmanager
def joined(number: int, follow: Callable[..., None], *arguments: Any) -> Iterator[None]:
    """Have `number - 1` other processes call `follow(*arguments)` while the block runs as the first one.

    A process that dies breaks the others' next average, so all of them end.

    Raises:
        RuntimeError: in the block, from `average_over_processes`, when another process died.
    """
    if number == 1:
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        meeting = (Path(folder) / "meeting").as_uri()
        context = torch.multiprocessing.get_context("spawn")
        others = [
            context.Process(target=_other, args=(other, number, meeting, follow, arguments), daemon=True)
            for other in range(1, number)
        ]
        for other in others:
            other.start()
        dist.init_process_group("gloo", init_method=meeting, rank=0, world_size=number)
        try:
            yield
        finally:
            for other in others:
                other.kill()
                other.join()
            dist.destroy_process_group()


def _other(own: int, number: int, meeting: str, follow: Callable[..., None], arguments: Sequence[Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the first process, which ends the others
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=meeting, rank=own, world_size=number)
    follow(*arguments)


def processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, 0 for the one that writes."""
    return dist.get_rank() if dist.is_initialized() else 0


@torch.no_grad()
def average_over_processes(tensors: Sequence[Tensor]) -> None:
    """Replace float32 tensors by their mean over all processes, in one exchange; nothing in a single process."""
    if not dist.is_initialized():
        return
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    dist.all_reduce(flat)
    flat /= processes()
    parts = torch.split(flat, [tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view(tensor.shape))
