"""How long runs will take, from a few steps of each that is not finished."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from mmpipe.pipeline.training.data.dataset import Pool, fit_norms
from mmpipe.pipeline.training.fold import FoldJob
from mmpipe.pipeline.training.loop import fit
from mmpipe.pipeline.training.run import TrainRun

__all__ = ["estimate_seconds"]


def estimate_seconds(runs: Sequence[TrainRun]) -> float:
    """Seconds that the training steps of all unfinished folds take; a run without any makes no step."""
    return sum(_seconds_of(run.unfinished) for run in runs)


def _seconds_of(jobs: Sequence[FoldJob]) -> float:
    """Of folds of one run, by the time of a step of the first."""
    if not jobs:
        return 0.0
    steps = sum(job.config.steps_an_epoch(len(job.fold.train)) * job.config.epochs for job in jobs)
    return _step_seconds(jobs[0]) * steps


def _step_seconds(job: FoldJob) -> float:
    """By the difference of one step and three."""
    config, data, fold = job.config, job.data, job.fold
    dataset = data.labeled
    train, valid = dataset.rows_of(fold.train), dataset.rows_of(fold.valid)
    by_label = [train[[dataset.labels[row] == label for row in train]][:1] for label in data.labels]
    first = np.concatenate([*by_label, np.random.default_rng(0).permutation(train)])
    norms = fit_norms(dataset, train[:1024])
    size, seconds = min(config.batch_of(len(train)), max(4, len(train))), []
    objective = "paper" if config.objective == "paper" else "consistency"  # a step of them takes longest
    limit = config.unlabeled_rows_of(size)
    changes = {"epochs": 1, "batch_size": size, "min_steps": 0, "objective": objective, "unlabeled_ratio": limit / size}
    one_epoch = config.model_copy(update=changes)
    for steps in (1, 1, 3):
        pool = Pool(dataset, np.resize(first, size * steps), norms)
        began = time.perf_counter()
        fit(one_epoch, data.labels, pool, Pool(dataset, valid[:1], norms), data.unlabeled_of(fold), device=job.device)
        seconds.append(time.perf_counter() - began)
    return max(seconds[2] - min(seconds[:2]), 0) / 2
