"""How long a run will take, from a few steps of it."""

from __future__ import annotations

import math
import time

import numpy as np

from mmpipe.pipeline.training.config import TrainConfig
from mmpipe.pipeline.training.data.dataset import fit_norms
from mmpipe.pipeline.training.data.inputs import TrainInput
from mmpipe.pipeline.training.loop import Pool, fit

__all__ = ["estimate_seconds"]


def estimate_seconds(config: TrainConfig, data: TrainInput, seeds: int = 1, device: str = "cpu") -> float:
    """Seconds that the training steps of all folds and seeds take, by the difference of one step and three."""
    dataset, fold = data.labeled, data.folds[0]
    train, valid = dataset.rows_of(fold.train), dataset.rows_of(fold.valid)
    by_label = [train[[dataset.labels[row] == label for row in train]][:1] for label in data.labels]
    first = np.concatenate([*by_label, np.random.default_rng(0).permutation(train)])
    norms = fit_norms(dataset, train[:1024])
    one_epoch = config.model_copy(update={"epochs": 1})
    size, seconds = min(config.batch_size, max(4, len(train))), []
    for steps in (1, 1, 3):
        pool = Pool(dataset, np.resize(first, size * steps), norms)
        began = time.perf_counter()
        fit(
            one_epoch.model_copy(update={"batch_size": size}),
            data.labels,
            pool,
            Pool(dataset, valid[:1], norms),
            data.unlabeled,
            device=device,
        )
        seconds.append(time.perf_counter() - began)
    step = max(seconds[2] - min(seconds[:2]), 0) / 2
    steps = sum(math.ceil(len(fold.train) / config.batch_size) for fold in data.folds)
    return step * steps * config.epochs * seeds
