"""Checks of the machine: processor, disk, memory."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import tempfile
from pathlib import Path

from mmpipe.core.errors import BusyError, MmpipeError
from mmpipe.core.files import is_local, write_bytes
from mmpipe.core.locks import writing_alone
from mmpipe.core.scratch import NO_LOCKS
from mmpipe.pipeline.doctor.finding import Finding, State

__all__ = [
    "available_memory",
    "check_folder",
    "check_locks",
    "check_memory",
    "check_processor",
    "check_shared_memory",
    "check_temporary_folder",
    "existing",
    "read_or_empty",
]

_GIB = 1 << 30

_WORKER_BYTES = 2 * _GIB
"""What a worker takes with the default models loaded."""

_FREE_BYTES = _GIB
"""Less free disk than this is worth a warning."""

_SHARED_BYTES = 64 << 20
"""What a container has in /dev/shm unless it asks for more."""


def read_or_empty(path: str) -> str:
    """The text of a file; empty if it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def check_processor(cpuinfo: str, machine: str) -> Finding:
    """Whether the processor has the vector instructions that wheels for x86-64 are built for.

    Args:
        cpuinfo: the text of /proc/cpuinfo.
        machine: as `platform.machine()` gives it.
    """
    fields = [line.partition(":") for line in cpuinfo.splitlines()]
    flags = next((set(value.split()) for name, _, value in fields if name.strip() == "flags"), set())
    model = next((value.strip() for name, _, value in fields if name.strip() == "model name"), machine)
    if machine not in ("x86_64", "AMD64"):
        return Finding("processor", State.OK, f"{model}: AVX is a matter of x86-64")
    if not flags:
        return Finding("processor", State.WARNING, f"{model}: /proc/cpuinfo names no flags", "mount /proc")
    if "avx2" in flags:
        return Finding("processor", State.OK, f"{model}: AVX2")
    have = "AVX, but no AVX2" if "avx" in flags else "no AVX"
    remedy = "run on another machine (a virtual one: let it pass the host's processor through, `-cpu host`)"
    return Finding("processor", State.WARNING, f"{model}: {have}, so models are several times slower", remedy)


def existing(path: Path) -> Path:
    """A folder, or the nearest one above it that is there; of an object store the bucket."""
    if not is_local(path):
        return [path, *path.parents][-1]
    return next((folder for folder in (path, *path.absolute().parents) if folder.is_dir()), Path("/"))


def check_folder(folder: Path) -> Finding:
    """Whether a run can write into a folder, and the free disk there."""
    path = folder.resolve()
    try:
        with tempfile.NamedTemporaryFile(dir=path, prefix=".mmpipe-doctor.") as stream:
            stream.write(b"\0")
            stream.flush()
    except OSError as error:
        remedy = (
            f"give user {os.getuid()} write permission there (in a container: start it with --user and an id that has "
            "it, or mount a volume), or work in another folder"
        )
        return Finding("folder", State.MISSING, f"{path} cannot be written: {error.strerror}", remedy)
    free = shutil.disk_usage(path).free
    text = f"{path}: can be written, {free / _GIB:.1f} GiB free"
    if free < _FREE_BYTES:
        return Finding("folder", State.WARNING, text, "`mmpipe extract --dry-run` estimates what a store takes")
    return Finding("folder", State.OK, text)


def check_temporary_folder() -> Finding:
    """Whether there is a folder for temporary files beside the working folder, and the free disk there.

    Trainings keep arrays there; repaired media and long waveforms are there while they are read.
    """
    named = os.environ.get("TMPDIR") or "/tmp"
    found = check_folder(Path(named))
    if found.state is State.MISSING:
        remedy = "set TMPDIR to one that can; in a container with a read-only root: --tmpfs /tmp"
        return Finding("temporary", State.WARNING, f"{named} cannot be written", remedy)
    remedy = "free some, or set TMPDIR to a folder with more" if found.state is State.WARNING else ""
    return Finding("temporary", found.state, found.text, remedy)


def check_locks(folder: Path) -> Finding:
    """Whether files of a folder are replaced at once, and whether its file system has the locks of runs.

    Args:
        folder: one that can be written.
    """
    folder = folder.resolve()
    target = folder / f".mmpipe-doctor.{secrets.token_hex(6)}"
    try:
        for data in (b"first", b"second"):
            write_bytes(target, data)
        if target.read_bytes() != b"second":
            raise OSError(f"{target} still has its first content after it was written again")
        with writing_alone(target, "mmpipe doctor"):
            try:
                with writing_alone(target, "mmpipe doctor"):
                    remedy = "write to a file system of this machine, or to NFS 4 or Lustre with locks"
                    return Finding("locks", State.MISSING, f"{folder}: two runs would write one output", remedy)
            except BusyError:
                has_locks = _has_locks(target)
    except (MmpipeError, OSError) as error:
        remedy = "write to another file system: a run replaces files, and flushes them to the disk"
        return Finding("locks", State.MISSING, str(error), remedy)
    finally:
        target.unlink(missing_ok=True)
    if not has_locks:
        text = f"the file system of {folder} has no locks (flock): after a crash, a run may wait a minute"
        return Finding("locks", State.WARNING, text, "mount it with locks, or write to another file system")
    return Finding(
        "locks", State.OK, f"{folder}: files are replaced at once, and one run is kept from another's output"
    )


def _has_locks(path: Path) -> bool:
    with path.open("rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in NO_LOCKS:
                return False
            raise
    return True


def available_memory() -> int | None:
    """Bytes of memory that this process can still get: the machine's, within the limit of its control group."""
    machine = [line.split() for line in read_or_empty("/proc/meminfo").splitlines() if line.startswith("MemAvailable")]
    limits = [int(words[1]) * 1024 for words in machine]
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        if (allowed := read_or_empty(limit).strip()).isdecimal():
            limits.append(int(allowed) - int(read_or_empty(used).strip() or 0))
    return min(limits, default=None)


def check_memory(available: int | None, workers: int) -> Finding:
    """Whether memory suffices for as many workers as there are cores."""
    if available is None:
        return Finding("memory", State.WARNING, "it is unknown: /proc/meminfo cannot be read", "mount /proc")
    text = f"{available / _GIB:.1f} GiB available for {workers} workers of about {_WORKER_BYTES / _GIB:.0f} GiB"
    fitting = available // _WORKER_BYTES
    if fitting >= workers:
        return Finding("memory", State.OK, text)
    if fitting:
        return Finding("memory", State.WARNING, text, f"`mmpipe extract --workers {fitting}`")
    return Finding("memory", State.MISSING, text, "end other programs, or give the container or job more memory")


def check_shared_memory(folder: Path, size: int | None = None) -> Finding:
    """Whether shared memory is there. mmpipe's own commands hand arrays over by pipes and do without it.

    Args:
        folder: where it is mounted.
        size: of the file system, in bytes; None asks.
    """
    users = "extraction does not need it; NCCL (several GPUs) and data loaders with processes of their own do"
    remedy = "in a container: --shm-size 1g (Kubernetes: an emptyDir with medium Memory at /dev/shm)"
    if check_folder(folder).state is State.MISSING:
        return Finding("shared memory", State.WARNING, f"{folder} cannot be written: {users}", remedy)
    size = shutil.disk_usage(folder).total if size is None else size
    if size < _SHARED_BYTES:
        text = f"{folder} has {size / (1 << 20):.0f} MiB: {users}"
        return Finding("shared memory", State.WARNING, text, remedy)
    return Finding("shared memory", State.OK, f"{folder}: {size / _GIB:.1f} GiB")
