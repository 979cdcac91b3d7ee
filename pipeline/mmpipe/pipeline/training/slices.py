"""Slices of a training: jobs that share the folds of one run, or of the runs of a table, and write the same folders.

The run folder is the authority: a fold that an equal run has finished is not trained again, whoever trained it. Slice I
of N takes every N-th fold, through all runs. A job locks the fold that it trains. A job that finds every fold finished
at its end writes run.json, the histories and the predictions, so the last one does. Their content follows from the
folds alone, besides the seconds in run.json.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from mmpipe.core.errors import BusyError
from mmpipe.core.exclusive import exclusive
from mmpipe.core.locks import Holder, hold
from mmpipe.core.parquet import fingerprint
from mmpipe.core.scratch import sweep_parts
from mmpipe.pipeline.training.fold import FoldJob, FoldReport
from mmpipe.pipeline.training.results import RunResult
from mmpipe.pipeline.training.run import TrainRun

__all__ = ["SliceResult", "jobs_of_slice", "train_slice"]

_LOCK = ".mmpipe"
"""The name of the locks: that of a run folder is the one that a run without slices takes."""


@dataclass(frozen=True)
class SliceResult:
    """What a slice did.

    Attributes:
        part: the slice: its number, counted from 1, and the number of slices.
        total: folds of all slices.
        trained: the folds that this job trained.
        reused: the folds of this slice that were finished before.
        missing: the folds that are not finished, and the slices that they belong to.
        results: the runs, if every fold is finished.
    """

    part: tuple[int, int]
    total: int
    trained: tuple[str, ...]
    reused: tuple[str, ...]
    missing: dict[str, int]
    results: list[RunResult] | None


def jobs_of_slice(runs: Sequence[TrainRun], part: tuple[int, int]) -> list[tuple[TrainRun, FoldJob]]:
    """The folds of a slice: every n-th of the folds of all runs, counted through."""
    number, count = part
    return _every_job(runs)[number - 1 :: count]


def train_slice(
    runs: Sequence[TrainRun],
    part: tuple[int, int],
    report: FoldReport = lambda fold, row: None,
    note: Callable[[str], None] = lambda text: None,
) -> SliceResult:
    """Train the folds of a slice, and write the runs if no fold of any slice is missing then.

    Args:
        runs: from `plan_run`; all slices have the same.
        part: the slice: its number, counted from 1, and the number of slices.
        report: called with the figures of every epoch.
        note: called with a sentence where a fold is reused, trained again or waited for, and why.

    Raises:
        BusyError: a process that is not a slice of the same run is writing one of the run folders.
        TrainingError: see `fit`.
        UsageError: a folder holds a finished run that differs, see `TrainRun.refuse_other`.
    """
    began, what = time.perf_counter(), f"mmpipe train --slice {part[0]}/{part[1]}"
    trained, reused = list[str](), list[str]()
    mine = jobs_of_slice(runs, part)
    for run in runs:
        jobs = [job for own, job in mine if own is run]
        if not jobs:
            continue
        with _sharing(run, what, part):
            with _result_of(run):
                run.begin(note)
            for job in jobs:
                with _alone(job, what, note):
                    (reused if job.finished else trained).append(_name(run, job))
                    job.run(report, note)
    results, missing = list[RunResult](), dict[str, int]()
    places = {_name(run, job): place for place, (run, job) in enumerate(_every_job(runs))}
    for run in runs:
        done = [job.result for job in run.jobs]
        lacking = [_name(run, job) for job, result in zip(run.jobs, done, strict=True) if result is None]
        if lacking:
            missing |= {name: 1 + places[name] % part[1] for name in lacking}
            continue
        with _sharing(run, what, part), _result_of(run):
            sweep_parts(run.request.out, deep=False)
            results.append(run.write([r for r in done if r is not None], time.perf_counter() - began))
    return SliceResult(part, len(places), tuple(trained), tuple(reused), missing, None if missing else results)


def _every_job(runs: Sequence[TrainRun]) -> list[tuple[TrainRun, FoldJob]]:
    return [(run, job) for run in runs for job in run.jobs]


def _name(run: TrainRun, job: FoldJob) -> str:
    return job.folder.relative_to(run.request.out.parent).as_posix()


@contextmanager
def _sharing(run: TrainRun, what: str, part: tuple[int, int]) -> Iterator[None]:
    """Write a run folder beside other slices of the same run, and beside nobody else."""
    out, request = run.request.out, run.request
    options = fingerprint([request.objective, request.seeds, *(job.identity for job in run.jobs)])

    def judge(others: Sequence[Holder]) -> None:
        if other := next((other for other in others if other.options != options), None):
            raise BusyError(
                f"{out} is being written by {other}, which is not a slice of the same run: wait for it to end, or name "
                "another folder with --out"
            )

    with hold(out, _LOCK, what, judge, options=options, part=part):
        yield


def _result_of(run: TrainRun) -> AbstractContextManager[None]:
    """Look at run.json, or change it, while no other slice does."""
    return exclusive(run.request.out / f"{_LOCK}-result.lock")


@contextmanager
def _alone(job: FoldJob, what: str, note: Callable[[str], None]) -> Iterator[None]:
    """Train a fold that nobody else trains meanwhile; the end of another job that trains it is waited for."""

    def wait(other: Holder) -> None:
        note(f"fold {job.fold.name}: waiting for {other}, which trains it")

    with hold(job.folder, _LOCK, what, lambda others: others[0] if others else None, on_wait=wait):
        sweep_parts(job.folder)
        yield
