"""Options that a run of some stages would not use: refused where they are typed, named where they are configured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mmpipe.core.errors import UsageError
from mmpipe.pipeline.cli.console import console

if TYPE_CHECKING:
    from mmpipe.pipeline.extraction.stages import StageSpec

__all__ = ["name_idle", "refuse_idle"]


def refuse_idle(specs: Sequence[StageSpec], assigned: Iterable[str]) -> None:
    """Refuse options of `--set` for stages that do not run.

    Raises:
        UsageError: there is one; the message names the stages that run.
    """
    running = [spec.name for spec in specs]
    if idle := [stage for stage in assigned if stage not in running]:
        raise UsageError(
            f"--set {idle[0]}.OPTION has no effect: the stages that run are {','.join(running)}; leave it out, or name "
            f"{idle[0]} in --stages"
        )


def name_idle(
    specs: Sequence[StageSpec],
    configured: Mapping[str, Any],
    *,
    device: str | None = None,
    precision: str | None = None,
    repair: bool = False,
) -> None:
    """Print a line for what these stages do not use.

    Args:
        specs: the stages that run.
        configured: options of stages in the configuration file.
        device: the device that was typed.
        precision: the precision that was typed.
        repair: whether media are to be repaired.
    """
    running = ",".join(spec.name for spec in specs)
    if idle := [name for name in configured if name not in running.split(",")]:
        console.print(f"The options of {', '.join(idle)} in the configuration are not used: the stages are {running}")
    typed = {"--device": None if device == "auto" else device, "--precision": precision}
    if not any(spec.kind.runs_on_device for spec in specs):
        for option, value in typed.items():
            if value is not None:
                console.print(f"{option} {value} is not used: none of the stages {running} runs a model on a device")
    if repair and not any(spec.transcode_fallback for spec in specs):
        console.print(f"--transcode-fallback is not used: none of the stages {running} reads media")
