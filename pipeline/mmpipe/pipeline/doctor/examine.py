"""All checks of a machine, one finding each.

Those that load torch, decoders and weights run in a process of their own (some seconds), so that a library that
kills its process, on a processor that lacks an instruction for example, costs one finding and not the answer. The
extras load in a second process meanwhile.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from mmpipe.core.files import is_local
from mmpipe.pipeline.doctor.extras import check_extras
from mmpipe.pipeline.doctor.finding import Finding, State
from mmpipe.pipeline.doctor.inputs import NamedRoot, check_corpora, check_object_store
from mmpipe.pipeline.doctor.machine import (
    available_memory,
    check_folder,
    check_locks,
    check_memory,
    check_processor,
    check_shared_memory,
    check_temporary_folder,
    existing,
    read_or_empty,
)
from mmpipe.pipeline.doctor.setting import check_cache, check_encoding, check_open_files
from mmpipe.pipeline.doctor.software import (
    DECODERS,
    LOADED,
    check_decoders,
    check_device,
    check_ffmpeg,
    check_libraries,
    check_loading,
    check_python,
    check_seetaface,
    check_weights,
    pinned_versions,
)
from mmpipe.pipeline.doctor.stages import stage_checks
from mmpipe.pipeline.extraction.engines.worker import Worker, WorkerDied
from mmpipe.pipeline.extraction.stages import StageSpec
from mmpipe.pipeline.hardware import available_cores

__all__ = ["apart", "examine"]


def examine(specs: Sequence[StageSpec], roots: Sequence[NamedRoot], out: Path = Path()) -> list[Finding]:
    """Every check, for a run that writes to `out`.

    Args:
        specs: the stages of an extraction, with their options.
        roots: the corpus roots that the environment or the configuration names.
        out: where the run will write: a folder, which may have to be made, or a place on an object store.
    """
    extras = Worker()
    try:
        extras.send(check_extras)
        found = [
            check_python(),
            check_libraries(pinned_versions()),
            check_processor(read_or_empty("/proc/cpuinfo"), platform.machine()),
            *apart(
                {
                    "loading": partial(check_loading, LOADED),
                    "device": check_device,
                    "decoders": partial(check_decoders, DECODERS),
                    "ffmpeg": check_ffmpeg,
                    "weights": check_weights,
                    "seetaface": check_seetaface,
                    **stage_checks(specs),
                }
            ),
            *_answered(extras),
        ]
    finally:
        extras.stop()
    return [
        *found,
        *check_corpora(roots),
        *_check_output(out),
        check_temporary_folder(),
        check_cache(),
        check_memory(available_memory(), available_cores()),
        check_shared_memory(Path("/dev/shm")),
        check_open_files(available_cores()),
        check_encoding(sys.getfilesystemencoding(), getattr(sys.stdout, "encoding", None) or "utf-8"),
    ]


def _answered(extras: Worker) -> list[Finding]:
    try:
        found: list[Finding] = extras.answer()
    except WorkerDied as death:
        text = f"the process that loads them died: {death}"
        return [Finding("extras", State.WARNING, text, "reinstall them for this machine's processor")]
    return found


def _check_output(out: Path) -> list[Finding]:
    if not is_local(out):
        return [check_object_store("folder", existing(out), "make the bucket, or name another place")]
    folder = existing(out)
    writable = check_folder(folder)
    return [writable] if writable.state is State.MISSING else [writable, check_locks(folder)]


def apart(checks: Mapping[str, Callable[[], Finding]]) -> Iterator[Finding]:
    """Run checks in another process; one that kills it gives a finding that says so."""
    worker = Worker()
    for name, check in checks.items():
        try:
            yield worker.call(check)
        except WorkerDied as death:
            remedy = "reinstall what it loads for this machine's processor" if name == "loading" else "see `loading`"
            yield Finding(name, State.MISSING, f"the process of this check died: {death}", remedy)
            worker = Worker()
    worker.stop()
