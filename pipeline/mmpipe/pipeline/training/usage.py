"""Hyper-parameters that a training would not use."""

from __future__ import annotations

from collections.abc import Iterable

from mmpipe.pipeline.training.config import TrainConfig
from mmpipe.pipeline.training.experiments.paper import Experiment
from mmpipe.pipeline.training.modalities import modalities_of

__all__ = [
    "UNUSED_BY_BALANCING",
    "UNUSED_BY_BASELINES",
    "UNUSED_SUPERVISED",
    "unused_by_grid",
    "unused_by_modalities",
    "unused_by_objective",
]

UNUSED_SUPERVISED = frozenset(
    {"omega", "unlabeled_rows", "unlabeled_ratio", "view_dropout", "threshold", "teacher_share"}
)
"""They concern unlabelled data."""

_UNUSED_BY_OBJECTIVE = {
    "paper": frozenset({"view_dropout", "threshold", "teacher_share"}),
    "self-train": frozenset({"threshold"}),
    "consistency": frozenset({"teacher_share"}),
}
"""They concern pseudo-labels of other objectives."""

UNUSED_BY_BALANCING = UNUSED_SUPERVISED | {"alpha", "beta", "matching", "bandwidth", "kernels", "objective"}
"""They concern unlabelled data, reconstruction and matching; the classifier of the balancing has none of them."""

UNUSED_BY_BASELINES = UNUSED_BY_BALANCING | {"dropout", "size"}
"""They concern the paper's model: its layers, its reconstruction, its matching of modalities."""


def unused_by_modalities(letters: Iterable[str]) -> frozenset[str]:
    """What a model of these modalities does not use: lengths of other sequences, matching where there is one modality.

    Example:
        >>> sorted(unused_by_modalities("av"))
        ['words']
        >>> sorted(unused_by_modalities("l"))
        ['bandwidth', 'beta', 'faces', 'kernels', 'matching']
    """
    chosen = modalities_of(letters)
    unused = {"faces", "words"} - {modality.steps for modality in chosen}
    if len(chosen) == 1:
        unused |= {"beta", "matching", "bandwidth", "kernels"}
    if not any(modality.is_sequence for modality in chosen):
        unused.add("dropout")
    return frozenset(unused)


def unused_by_objective(config: TrainConfig) -> frozenset[str]:
    """What a training of the config's objective does not use: pseudo-labels of others, settings of terms of weight 0.

    Example:
        >>> from mmpipe.pipeline.training.config import make_config
        >>> sorted(unused_by_objective(make_config(objective="self-train", beta=0)))
        ['bandwidth', 'kernels', 'matching', 'threshold']
    """
    unused = _UNUSED_BY_OBJECTIVE.get(config.objective, frozenset())
    matched = config.objective == "paper" or config.beta > 0
    return unused if matched else unused | {"matching", "bandwidth", "kernels"}


def unused_by_grid(experiment: Experiment) -> frozenset[str]:
    """What every cell of an experiment sets itself or does not use."""
    unused = [
        unused_by_modalities(cell.modalities)
        | {"modalities", "objective", *cell.changes}
        | (frozenset() if cell.semi else UNUSED_SUPERVISED)
        | (frozenset({"unlabeled_rows"}) if cell.share < 1 else frozenset())
        for cell in experiment.cells
    ]
    return frozenset.intersection(*unused)
