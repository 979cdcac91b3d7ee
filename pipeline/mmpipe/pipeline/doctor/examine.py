"""All checks of a machine, one finding each.

Those that load torch, decoders and weights run in a process of their own (some seconds), so that a library that
kills its process, on a processor that lacks an instruction for example, costs one finding and not the answer.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mmpipe.pipeline.doctor.finding import Finding, State
from mmpipe.pipeline.doctor.inputs import NamedRoot, check_corpora, check_text_model
from mmpipe.pipeline.doctor.machine import (
    available_memory,
    check_folder,
    check_memory,
    check_processor,
    check_shared_memory,
    check_temporary_folder,
    read_or_empty,
)
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
from mmpipe.pipeline.extraction.engines.worker import Worker, WorkerDied
from mmpipe.pipeline.hardware import available_cores

__all__ = ["apart", "examine"]


def examine(text: Mapping[str, Any], roots: Sequence[NamedRoot], folder: Path = Path()) -> list[Finding]:
    """Every check, for a run in `folder`.

    Args:
        text: options of the stage `text`.
        roots: the corpus roots that the environment or the configuration names.
        folder: where the run will write.
    """
    return [
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
                "text model": partial(check_text_model, text),
            }
        ),
        *check_corpora(roots),
        check_folder(folder),
        check_temporary_folder(),
        check_memory(available_memory(), available_cores()),
        check_shared_memory(Path("/dev/shm")),
    ]


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
