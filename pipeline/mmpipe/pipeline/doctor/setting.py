"""Checks of what surrounds a run: variables of the environment, encodings, open files, caches."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mmpipe.core.files import cache_folder
from mmpipe.core.text import nearest
from mmpipe.pipeline.doctor.finding import Finding, State
from mmpipe.pipeline.doctor.machine import check_folder, existing

__all__ = ["check_cache", "check_encoding", "check_environment", "check_open_files"]

_FILES, _FILES_OF_WORKER = 64, 4
"""Files that a command has open, and those of a worker: its pipe and process. Two workers were seen to run with 40."""

_GIB = 1 << 30

_MODEL_BYTES = 2 * _GIB
"""What the cache of models needs for the default text model, which is 1.3 GiB, while it is downloaded."""


def check_environment(environment: Mapping[str, str], datasets: Iterable[str], switches: Sequence[str]) -> Finding:
    """Whether the variables that begin with MMPIPE_ are ones that mmpipe reads; roots of corpora are checked elsewhere.

    Args:
        environment: variables with their values.
        datasets: names of corpora.
        switches: variables that are 1, or have no effect.
    """
    roots = [f"MMPIPE_{name.upper()}_ROOT" for name in datasets]
    ours = sorted(name for name in environment if name.startswith("MMPIPE_") and not name.startswith("MMPIPE_TEST_"))
    unread = [name for name in ours if name not in (*switches, *roots) and not name.endswith("_ROOT")]
    off = [name for name in switches if environment.get(name, "") not in ("", "0", "1")]
    problems = [f"{name} is not read{nearest(name, [*switches, *roots])}" for name in unread]
    problems += [f"{name}={environment[name]} has no effect, only {name}=1 has" for name in off]
    timeout = "HF_HUB_ETAG_TIMEOUT"
    if not environment.get(timeout, "1").isdecimal():
        problems.append(f"{timeout}={environment[timeout]} is not a number of seconds")
    if problems:
        return Finding("environment", State.WARNING, "; ".join(problems), "correct or unset them")
    return Finding("environment", State.OK, f"set: {', '.join(ours)}" if ours else "no variable MMPIPE_... is set")


def check_encoding(files: str, output: str) -> Finding:
    """Whether names of files and what is printed may hold any letter.

    Args:
        files: the encoding of names of files, as `sys.getfilesystemencoding` gives it.
        output: that of the terminal.
    """
    remedy = "set LANG=C.UTF-8 and unset LC_ALL, PYTHONIOENCODING and PYTHONUTF8"
    if not _is_utf8(files):
        text = f"names of files are read as {files}: those with letters beyond it are misread"
        return Finding("encoding", State.WARNING, text, remedy)
    if not _is_utf8(output):
        text = f"the terminal takes {output}: letters beyond it are printed as escapes such as \\xe9"
        return Finding("encoding", State.WARNING, text, remedy)
    return Finding("encoding", State.OK, "UTF-8")


def _is_utf8(name: str) -> bool:
    return name.lower().replace("-", "").replace("_", "") == "utf8"


def check_open_files(workers: int, limit: int | None = None) -> Finding:
    """Whether a command with so many workers may open the files that it needs.

    Args:
        workers: processes.
        limit: files that a process may open; None asks the system.
    """
    if limit is None:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return Finding("open files", State.OK, "no limit")
    needed = _FILES + _FILES_OF_WORKER * workers
    text = f"{limit} for each process; {needed} suffice for {workers} workers"
    if limit < needed:
        return Finding("open files", State.WARNING, text, f"`ulimit -n {max(1024, needed)}`")
    return Finding("open files", State.OK, text)


def check_cache() -> Finding:
    """Whether models can be downloaded into the hub's cache and hashes be kept in mmpipe's, and the free disk there."""
    import huggingface_hub.constants as hub

    models, kept = Path(hub.HF_HUB_CACHE), cache_folder()
    closed = [str(path) for path in (models, kept) if check_folder(existing(path)).state is State.MISSING]
    remedy = "name folders that this user can write in HF_HOME (models) and XDG_CACHE_HOME (hashes)"
    if closed:
        text = f"{' and '.join(closed)} cannot be written: models are not downloaded, files are hashed in every run"
        return Finding("cache", State.WARNING, text, remedy)
    free = shutil.disk_usage(existing(models)).free
    text = f"{models} has {free / _GIB:.1f} GiB free for models; hashes are in {kept}"
    if free < _MODEL_BYTES:
        return Finding("cache", State.WARNING, text, "free 2 GiB for the default text model, or name another HF_HOME")
    return Finding("cache", State.OK, text)
