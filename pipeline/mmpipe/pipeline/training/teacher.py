"""The teacher of self-training: a late fusion of logistic regressions, one a modality, labels unlabelled rows.

It is fitted on the labelled training rows, then in rounds on its own most confident answers to the unlabelled rows,
the same number of every class. In docs/assembled-study.md it labels better than the network that is to learn from it,
and errs elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mmpipe.pipeline.training.config import TrainConfig
from mmpipe.pipeline.training.data.dataset import Pool
from mmpipe.pipeline.training.late_fusion import Features, SelfTraining, fit_late_fusion, most_confident
from mmpipe.pipeline.training.steps import NO_CLASS

__all__ = ["SHARES", "pooled_features", "teach"]

SHARES = (0.4, 0.7, 1.0)
"""Share of the unlabelled rows that each round learns from."""

_CHUNK = 256
"""Rows that are decoded together."""

_FEWEST_LEARNT = 250
"""Rows of a class that a round may learn from, however few the labelled rows are; else as many as these are."""


def teach(
    config: TrainConfig, labels: Sequence[str], train: Pool, valid: Pool, unlabeled: Pool
) -> npt.NDArray[np.int64]:
    """The class of every row of the unlabelled dataset, or `NO_CLASS`: int64 [N].

    Labelled are `config.teacher_share` of the pool's rows, the most confident ones of each class.

    Args:
        config: the share, and the metric by which validation chooses the strength of the penalties.
        labels: the label set, in the order of the classes.
        train: labelled rows.
        valid: rows that choose the strength; never fitted on.
        unlabeled: rows to label; repeats are counted once.
    """
    rows = np.unique(unlabeled.rows)
    pool = pooled_features(config, replace(unlabeled, rows=rows))
    truth, valid_truth = ([str(side.dataset.labels[row]) for row in side.rows] for side in (train, valid))
    fusion = fit_late_fusion(
        pooled_features(config, train),
        truth,
        pooled_features(config, valid),
        valid_truth,
        labels,
        select="ua" if config.select == "loss" else config.select,
        unlabeled=pool,
        self_training=SelfTraining(shares=SHARES, per_class=max(_FEWEST_LEARNT, len(truth) // len(labels))),
    )
    chosen, found = most_confident(fusion.predict(pool), config.teacher_share, len(set(truth)))
    classes = np.full(len(unlabeled.dataset.ids), NO_CLASS, np.int64)
    classes[rows[chosen]] = found
    return classes


def pooled_features(config: TrainConfig, pool: Pool) -> Features:
    """Normalised features, the mean over steps of sequences, within the limits of the config: [N, D] by modality."""
    limit = math.inf if config.clip is None else config.clip
    parts: dict[str, list[npt.NDArray[np.float32]]] = {}
    for rows in np.array_split(pool.rows, -(-len(pool.rows) // _CHUNK)):
        features, keep = pool.batch(rows)
        for name, x in features.items():
            mean = x.sum(dim=1) / keep[name].sum(dim=1, keepdim=True) if name in keep else x
            parts.setdefault(name, []).append(mean.clamp(-limit, limit).numpy())
    return {name: np.concatenate(found) for name, found in parts.items()}
