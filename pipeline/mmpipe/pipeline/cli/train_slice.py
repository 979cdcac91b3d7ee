"""What `mmpipe train --slice` prints: what the slice did, and which folds are still missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mmpipe.pipeline.cli.console import console
from mmpipe.pipeline.cli.console import result as show

if TYPE_CHECKING:
    from mmpipe.pipeline.training.fold import FoldReport
    from mmpipe.pipeline.training.requests import TrainRequest
    from mmpipe.pipeline.training.results import RunResult
    from mmpipe.pipeline.training.run import TrainRun
    from mmpipe.pipeline.training.slices import SliceResult

__all__ = ["show_slice", "show_slice_of_run"]

_SHOWN_FOLDS = 8

_Work = Callable[[tuple[int, int], "FoldReport", Callable[[str], None]], "SliceResult"]


def show_slice_of_run(request: TrainRequest, part: tuple[int, int]) -> bool:
    """Train a slice of one run; whether the run is finished now."""
    from mmpipe.pipeline.hardware import use_threads
    from mmpipe.pipeline.training.run import plan_run
    from mmpipe.pipeline.training.slices import train_slice

    console.print(f"{request.sources.labeled} -> {request.out}", markup=False)
    use_threads(request.config.threads)
    run = plan_run(request)
    return show_slice([run], part, lambda *given: train_slice([run], *given)) is not None


def show_slice(runs: Sequence[TrainRun], part: tuple[int, int], work: _Work) -> list[RunResult] | None:
    """Train a slice of some runs; show progress, what it did and what is missing. The runs, if all are finished."""
    from mmpipe.pipeline.cli.progress import progress
    from mmpipe.pipeline.training.slices import jobs_of_slice

    (number, count), mine = part, jobs_of_slice(runs, part)
    total, epochs = sum(len(run.jobs) for run in runs), sum(job.config.epochs for _, job in mine)
    if not mine:
        console.print(f"Slice {number} of {count} has no fold: there are {total}, so {total} slices are enough")
    with progress("epoch") as bars:
        bar = bars.add_task(f"slice {number}/{count}", total=epochs)

        def report(fold: str, row: dict[str, float]) -> None:
            bars.update(bar, advance=1, description=f"{fold} {row['train_loss']:.2f}")

        done = work(part, report, bars.console.print)
        bars.update(bar, completed=epochs)
    console.print(f"Slice {number} of {count}: {_named('trained', done.trained)}; {_named('reused', done.reused)}")
    if done.missing:
        folds = [f"{name} (slice {own})" for name, own in done.missing.items()]
        show(f"{len(folds)} of {done.total} folds are still missing: {_some(folds)}")
    else:
        show(f"All {done.total} folds are finished: written to {_some([str(run.request.out) for run in runs])}")
    return done.results


def _named(what: str, folds: Sequence[str]) -> str:
    return f"{what} {len(folds)} folds" + (f" ({_some(folds)})" if folds else "")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN_FOLDS} more" if len(names) > _SHOWN_FOLDS else ""
    return ", ".join(names[:_SHOWN_FOLDS]) + more
