"""Baselines on the same features and folds: what does the model add?

- `majority`: the most frequent label of the training part.
- `logistic`: logistic regression on the means over steps of all modalities; C by validation.
- `linear-svm`, `rbf-svm`: support vector machines on the same means; C (and gamma) by validation.
- `late-fusion`: one logistic regression a modality, each with its C by validation; the mean of their probabilities.
- `boosting`: gradient-boosted trees on 64 principal components of the means; their number by validation.
- `concat-mlp`: one hidden layer on the means; the epoch by validation.
- `gru-attention`: a bidirectional GRU with attention over the steps of each sequence (64 principal components of a
  step), a linear layer for the acoustic vector, a classifier on all of them; the epoch by validation.

Features are z-normalised as those of a run. What is fitted is fitted on training rows alone; after validation has
chosen, the model is the one of the training rows, not fitted again with the validation rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

from mmpipe.manifests.splits import Fold
from mmpipe.pipeline.hardware import one_thread, pick_device
from mmpipe.pipeline.training.baseline_networks import ConcatMLP, GruAttention, pool_steps, project_steps
from mmpipe.pipeline.training.config import TrainConfig
from mmpipe.pipeline.training.data.dataset import Dataset, Pool, fit_norms
from mmpipe.pipeline.training.data.inputs import TrainInput
from mmpipe.pipeline.training.loop import fit, predict
from mmpipe.pipeline.training.losses import MIN_ROWS
from mmpipe.pipeline.training.metrics import Answers, Summary, score, summarise
from mmpipe.pipeline.training.model import Network
from mmpipe.pipeline.training.shallow import (
    PooledFold,
    boosting,
    late_fusion,
    linear_svm,
    logistic,
    majority,
    rbf_svm,
)

__all__ = ["BASELINES", "answer_baselines", "count_fits", "score_baselines", "skipped_baselines"]

_SHALLOW: dict[str, Callable[[PooledFold], list[str]]] = {
    "majority": majority,
    "logistic": logistic,
    "linear-svm": linear_svm,
    "rbf-svm": rbf_svm,
    "late-fusion": late_fusion,
    "boosting": boosting,
}
"""They do not depend on the seed, and run on the CPU."""

_NETWORKS: dict[str, Callable[[TrainConfig, Mapping[str, int], int], Network]] = {
    "concat-mlp": ConcatMLP,
    "gru-attention": GruAttention,
}

BASELINES = (*_SHALLOW, *_NETWORKS)
"""Names of the baselines, in the order of tables."""


def skipped_baselines(data: TrainInput) -> dict[str, str]:
    """The baselines that say nothing on these data, and why."""
    skipped = {}
    if len(data.labeled.features) == 1:
        skipped["late-fusion"] = "with one modality it is logistic regression"
    if (fewest := min(len(fold.train) for fold in data.folds)) < MIN_ROWS:
        reason = f"a training part has {fewest} utterances, a network needs {MIN_ROWS}"
        skipped |= dict.fromkeys(_NETWORKS, reason)
    if not any(keep[:, 1:].any() for keep in data.labeled.keep.values()):
        skipped["gru-attention"] = "no modality has an utterance of more than one step"
    return skipped


def count_fits(names: Sequence[str], data: TrainInput, seeds: int) -> int:
    """How often `report` of `answer_baselines` is called."""
    return len(data.folds) * sum(seeds if name in _NETWORKS else 1 for name in names)


def answer_baselines(
    config: TrainConfig,
    data: TrainInput,
    seeds: int = 1,
    report: Callable[[str], None] = lambda name: None,
    names: Sequence[str] | None = None,
    *,
    device: str = "cpu",
) -> dict[str, list[Answers]]:
    """What baselines say of the test utterances of a run.

    Args:
        config: modalities, lengths, epochs, batch size and the metric that chooses.
        data: what the run trains on; its unlabelled side is not used.
        seeds: trainings of each fold by a network, with the seeds `config.seed`, `config.seed` + 1 and so on. The
            others do not depend on a seed: they are fitted once and answer the same for each.
        report: called with the name after every fit.
        names: which baselines; None: all that `skipped_baselines` does not name.
        device: where networks run: `cpu`, `cuda`, or `auto`: the GPU where there is one.

    Returns:
        By baseline, by fold and seed.

    Raises:
        TrainingError: see `fit`.
        UsageError: the device does not exist here.
    """
    device, skipped = pick_device(device), skipped_baselines(data)
    names = [name for name in BASELINES if name not in skipped] if names is None else names
    answers: dict[str, list[Answers]] = {name: [] for name in names}
    pooled = pool_steps(data.labeled)
    for fold in data.folds:
        held = _Fold(config, data, pooled, fold)
        for name in names:
            if name in _SHALLOW:
                answered = held.scored(_SHALLOW[name](held.arrays), config.seed)
                answers[name] += [replace(answered, seed=config.seed + number) for number in range(seeds)]
                report(name)
                continue
            for seed in range(config.seed, config.seed + seeds):
                answers[name].append(held.scored(held.network(name, seed, device), seed))
                report(name)
    return answers


def score_baselines(
    config: TrainConfig,
    data: TrainInput,
    seeds: int = 1,
    report: Callable[[str], None] = lambda name: None,
    names: Sequence[str] | None = None,
    *,
    device: str = "cpu",
) -> dict[str, dict[str, Summary]]:
    """Figures of baselines: by name what `summarise` gives of `answer_baselines`, whose arguments it takes.

    Raises:
        TrainingError, UsageError: see `answer_baselines`.
    """
    answers = answer_baselines(config, data, seeds, report, names, device=device)
    return {name: summarise(said, data.labels) for name, said in answers.items()}


@dataclass(frozen=True)
class _Fold:
    """A fold, with what its baselines share."""

    config: TrainConfig
    data: TrainInput
    pooled: Dataset
    fold: Fold

    @cached_property
    def pools(self) -> dict[str, Pool]:
        """By part, the pooled utterances."""
        rows = {side: self.pooled.rows_of(getattr(self.fold, side)) for side in ("train", "valid", "test")}
        norms = fit_norms(self.data.labeled, rows["train"])
        return {side: Pool(self.pooled, chosen, norms) for side, chosen in rows.items()}

    @cached_property
    def steps(self) -> dict[str, Pool]:
        """By part, the utterances with their steps, as the GRU reads them."""
        train = self.pools["train"]
        projected = project_steps(self.data.labeled, train.rows, train.norms)
        return {side: replace(projected, rows=pool.rows) for side, pool in self.pools.items()}

    @cached_property
    def arrays(self) -> PooledFold:
        """What scikit-learn takes."""
        x = {
            side: {name: array.numpy() for name, array in pool.batch(pool.rows)[0].items()}
            for side, pool in self.pools.items()
        }
        return PooledFold(x, {side: self._labels(side) for side in x}, self.data.labels, self.config.select)

    def network(self, name: str, seed: int, device: str) -> list[str]:
        """The answers of a network; the one class where the training part has one only."""
        if self.arrays.one_class:
            return majority(self.arrays)
        config, labels = self.config.vanilla().model_copy(update={"seed": seed}), self.data.labels
        pools = self.steps if name == "gru-attention" else self.pools
        train = partial(fit, config, labels, pools["train"], pools["valid"], device=device, build=_NETWORKS[name])
        with one_thread():
            return [labels[k] for k in predict(train().model, pools["test"]).argmax(axis=1)]

    def scored(self, predicted: Sequence[str], seed: int) -> Answers:
        """Answers to the test utterances, with their scores."""
        truth = self._labels("test")
        return Answers(seed, self.fold.test, tuple(truth), tuple(predicted), score(truth, predicted, self.data.labels))

    def _labels(self, side: str) -> list[str]:
        return [str(self.pooled.labels[row]) for row in self.pools[side].rows]
