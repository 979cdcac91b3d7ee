"""A sign of life in the store's logs, so that a second run can say that another one seems alive.

Two runs on one store do no harm: shards appear whole, and both make the same bytes.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mmpipe.core.files import write_bytes
from mmpipe.core.reading import read_object

__all__ = ["OtherRun", "heartbeat"]

_BEAT_SECONDS = 10.0
_ALIVE_SECONDS = 60.0
"""A run of another host counts as alive for so long after its last sign."""


@dataclass(frozen=True)
class OtherRun:
    """A run that seems alive.

    Attributes:
        host: where it runs.
        pid: its process.
        seconds_ago: how long ago it gave its last sign of life.
    """

    host: str
    pid: int
    seconds_ago: float


@contextmanager
def heartbeat(store: Path, part: tuple[int, int]) -> Iterator[list[OtherRun]]:
    """Give signs of life while the block runs.

    Args:
        store: the feature store's folder.
        part: the slice that this run works on: number and count.

    Yields:
        The runs that seem alive and work on the same shards.

    Raises:
        StorageError: the store cannot be written.
    """
    path = store / "logs" / f"heartbeat.{socket.gethostname()}.{os.getpid()}.json"
    mine = {"host": socket.gethostname(), "pid": os.getpid(), "started": time.time(), "slice": list(part)}
    data = json.dumps(mine).encode()
    write_bytes(path, data)
    ended = threading.Event()
    beats = threading.Thread(target=_beat, args=(path, data, ended), daemon=True)
    beats.start()
    try:
        yield list(_others(path, part))
    finally:
        ended.set()
        beats.join()
        path.unlink(missing_ok=True)


def _beat(path: Path, data: bytes, ended: threading.Event) -> None:
    while not ended.wait(_BEAT_SECONDS):
        try:
            path.write_bytes(data)
        except OSError:  # a full disk stops the run where it writes its shards, with a message
            continue


def _others(path: Path, part: tuple[int, int]) -> Iterator[OtherRun]:
    now = path.stat().st_mtime  # the clock of the file system, which may be another host's
    for other in sorted(path.parent.glob("heartbeat.*.json")):
        if other.name == path.name:
            continue
        try:
            run = read_object(other)
            age = now - other.stat().st_mtime
            theirs = (run["slice"][0], run["slice"][1])
            gone = run["host"] == socket.gethostname() and not Path(f"/proc/{run['pid']}").exists()
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            continue  # it ended just now, or is being written
        if gone:
            other.unlink(missing_ok=True)
        elif age < _ALIVE_SECONDS and _overlap(part, theirs):
            yield OtherRun(str(run["host"]), int(run["pid"]), max(0.0, age))


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two slices share shards: slices of one count only with themselves, others in general."""
    return one[1] != other[1] or one[0] == other[0]
