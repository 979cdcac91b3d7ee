"""The lock that says who writes an output, where and since when.

It is a file `NAME.RANDOM.lock` with JSON whose modification time is its owner's sign of life. It is made and judged
under the short lock of `exclusive`, so two that start at the same moment see each other. Its owner is dead if its
process is not there any more (on the same machine: number and start of the process), or if it has not given a sign of
life for a minute (on another machine).
"""

from __future__ import annotations

import glob
import json
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmpipe.core.errors import BusyError
from mmpipe.core.exclusive import ALIVE_SECONDS, POLL_SECONDS, create, exclusive
from mmpipe.core.files import explained, forget_listings, is_local
from mmpipe.core.scratch import machine, sweep_parts

__all__ = ["Hold", "Holder", "hold", "refuse_others", "writing_alone"]

_BEAT_SECONDS = 10.0


@dataclass(frozen=True)
class Holder:
    """Who writes an output.

    Attributes:
        host: the name of its machine, or container.
        pid: its process.
        started: the process's start, as the kernel counts it; "" where it cannot be known.
        space: machine and namespace in which the number of the process means something.
        since: when it began, in seconds since 1970.
        what: what it does, in words.
        options: hash of what decides the bytes that it writes.
        part: which slice of the output it writes: number and count.
    """

    host: str
    pid: int
    started: str
    space: str
    since: float
    what: str
    options: str
    part: tuple[int, int]

    def __str__(self) -> str:
        age = max(0.0, time.time() - self.since)
        lasted = f"{age:.0f} s" if age < 120 else f"{age / 60:.0f} min" if age < 7200 else f"{age / 3600:.0f} h"
        return f"{self.what} (process {self.pid} on {self.host}, for {lasted})"

    def overlaps(self, part: tuple[int, int]) -> bool:
        """Whether it writes some of what the slice `part` is: slices of one count overlap only with themselves."""
        return self.part[1] != part[1] or self.part[0] == part[0]


class Hold:
    """A long lock that this process has.

    Args:
        path: its file.
        data: what the file holds.
    """

    def __init__(self, path: Path, data: bytes) -> None:
        self._path, self._data = path, data
        self._ended = threading.Event()
        self._beats = threading.Thread(target=self._beat, daemon=True)
        self._beats.start()

    def check(self) -> None:
        """Make sure that nobody has taken this process for dead, as after a long sleep of the machine.

        Raises:
            BusyError: somebody has.
        """
        forget_listings(self._path)
        if not self._path.exists():
            raise BusyError(
                f"{self._path} is gone: this run gave no sign of life for {ALIVE_SECONDS:.0f} s, and another one has "
                "taken its place; what was finished is safe: run the same command again when the other one has ended"
            )

    def release(self) -> None:
        """Give the lock back."""
        self._ended.set()
        self._beats.join()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._ended.wait(_BEAT_SECONDS):
            with suppress(Exception):  # a full disk or a lost network stops the run where it writes, with a message
                os.utime(self._path) if is_local(self._path) else self._path.write_bytes(self._data)


@contextmanager
def hold(
    folder: Path,
    name: str,
    what: str,
    judge: Callable[[Sequence[Holder]], Holder | None],
    *,
    options: str = "",
    part: tuple[int, int] = (1, 1),
    on_wait: Callable[[Holder], None] = lambda holder: None,
) -> Iterator[Hold]:
    """Be known as a writer while the block runs.

    Args:
        folder: where the lock's file is; it is made if need be, and removed again if it stays empty.
        name: of the lock.
        what: what this process does, for messages of others.
        judge: gets the living owners of other locks of this name, and answers with one to wait for, or None to go on;
            or raises `BusyError`.
        options: see `Holder`.
        part: see `Holder`.
        on_wait: called once for each owner that is waited for.

    Raises:
        BusyError: what `judge` raises.
        StorageError: the folder cannot be written.
    """
    mine = Holder(socket.gethostname(), os.getpid(), _start_of(os.getpid()), _space(), time.time(), what, options, part)
    path = folder / f"{name}.{secrets.token_hex(6)}.lock"
    data = (json.dumps(asdict(mine)) + "\n").encode()
    made = _make_folders(folder)
    waited: set[Holder] = set()
    held: Hold | None = None
    try:
        while held is None:
            with exclusive(folder / f"{name}.lock"), explained(path):
                create(path, data)  # first, so that its time tells the clock of the file system
                try:
                    other = judge(_living(folder, name, path))
                except BaseException:
                    path.unlink(missing_ok=True)
                    raise
                if other is None:
                    held = Hold(path, data)
                else:
                    path.unlink(missing_ok=True)
            if other is not None:
                if other not in waited:
                    waited.add(other)
                    on_wait(other)
                time.sleep(POLL_SECONDS)
        yield held
    finally:
        if held is not None:
            held.release()
        with suppress(OSError):
            path.unlink(missing_ok=True)
        for empty in made:
            with suppress(OSError):
                empty.rmdir()


@contextmanager
def writing_alone(output: Path, what: str, *, inside: bool = False) -> Iterator[None]:
    """Write an output that no other process may write meanwhile; leftovers of killed ones are removed first.

    Args:
        output: a file or folder.
        what: what this process does, for messages of others.
        inside: the lock lies in the folder, not beside it.

    Raises:
        BusyError: another process is writing it.
        StorageError: the folder of the lock cannot be written.
    """
    folder, name = (output, ".mmpipe") if inside else (output.parent, f".{output.name}")
    with hold(folder, name, what, refuse_others(output)):
        sweep_parts(folder, None if inside else output.name, deep=inside)
        yield


def refuse_others(folder: Path) -> Callable[[Sequence[Holder]], Holder | None]:
    """A judge for `hold` that lets nobody write `folder` beside another process."""

    def judge(others: Sequence[Holder]) -> None:
        if others:
            raise BusyError(
                f"{folder} is being written by another process: {others[0]}; wait for it to end, or name another output"
            )

    return judge


def _make_folders(folder: Path) -> list[Path]:
    """Make a folder; those that were not there, the innermost first."""
    if not is_local(folder):
        return []
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return missing


def _living(folder: Path, name: str, mine: Path) -> list[Holder]:
    """The owners of the other locks of this name; the files of dead ones are removed."""
    forget_listings(mine)
    now, living = mine.stat().st_mtime, []
    of_this_name = re.compile(rf"{re.escape(name)}\.[0-9a-f]+\.lock")  # that of `out.csv` is not one of `out`
    for path in sorted(folder.glob(f"{glob.escape(name)}.*.lock")):
        if path.name == mine.name or not of_this_name.fullmatch(path.name):
            continue
        try:
            age = now - path.stat().st_mtime
            fields: dict[str, Any] = json.loads(path.read_bytes())
            holder = Holder(**{**fields, "part": (fields["part"][0], fields["part"][1])})
            alive = _is_alive(holder, age)
        except FileNotFoundError:
            continue
        except (ValueError, KeyError, TypeError, IndexError):  # cut off by a full disk: it tells nothing but its age
            holder, alive = None, age < ALIVE_SECONDS
        if not alive:
            path.unlink(missing_ok=True)
        elif holder is not None:
            living.append(holder)
    return living


def _is_alive(holder: Holder, silent_seconds: float) -> bool:
    if holder.space != _space():
        return silent_seconds < ALIVE_SECONDS
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it belongs to another user
    return not holder.started or _start_of(holder.pid) == holder.started


def _start_of(pid: int) -> str:
    """When a process started, in ticks since the machine did (proc(5)); "" where it cannot be known."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _space() -> str:
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = socket.gethostname()
    return f"{machine()} {namespace}"
