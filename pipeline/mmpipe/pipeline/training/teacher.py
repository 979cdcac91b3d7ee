"""The teacher of self-training: a late fusion of logistic regressions, one a modality, labels unlabelled rows.

It is fitted on the labelled training rows, then in rounds on its own most confident answers to the unlabelled rows,
the same number of every class. In docs/assembled-study.md it labels better than the network that is to learn from it,
and errs elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mmpipe.pipeline.training.config import TrainConfig
from mmpipe.pipeline.training.data.dataset import Pool
from mmpipe.pipeline.training.late_fusion import SelfTraining, fit_late_fusion, most_confident
from mmpipe.pipeline.training.pooling import pooled_features
from mmpipe.pipeline.training.steps import NO_CLASS

__all__ = ["SHARES", "TEACHER_STRENGTH", "teach"]

SHARES = (0.4, 0.7, 1.0)
"""Share of the unlabelled rows that each round learns from."""

TEACHER_STRENGTH = 0.01
"""C of every regression: strong enough a penalty for few rows. A C that a few validation rows choose varies, and its
pseudo-labels are worse (docs/assembled-study.md)."""

_FEWEST_LEARNT = 250
"""Rows of a class that a round may learn from, however few the labelled rows are; else as many as these are."""


def teach(config: TrainConfig, labels: Sequence[str], train: Pool, unlabeled: Pool) -> npt.NDArray[np.int64]:
    """The class of every row of the unlabelled dataset, or `NO_CLASS`: int64 [N].

    Labelled are `config.teacher_share` of the pool's rows, the most confident ones of each class.

    Args:
        config: the share, and the limit of the features.
        labels: the label set, in the order of the classes.
        train: labelled rows.
        unlabeled: rows to label; repeats are counted once.
    """
    rows = np.unique(unlabeled.rows)
    pool = pooled_features(replace(unlabeled, rows=rows), config.clip)
    x, truth = pooled_features(train, config.clip), [str(train.dataset.labels[row]) for row in train.rows]
    fusion = fit_late_fusion(
        x,
        truth,
        x,  # of one strength, validation rows choose nothing
        truth,
        labels,
        strengths=(TEACHER_STRENGTH,),
        unlabeled=pool,
        self_training=SelfTraining(shares=SHARES, per_class=max(_FEWEST_LEARNT, len(truth) // len(labels))),
    )
    chosen, found = most_confident(fusion.predict(pool), config.teacher_share, len(set(truth)))
    classes = np.full(len(unlabeled.dataset.ids), NO_CLASS, np.int64)
    classes[rows[chosen]] = found
    return classes
