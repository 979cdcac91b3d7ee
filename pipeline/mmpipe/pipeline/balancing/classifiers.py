"""The classifiers that label an unlabelled store: one for each fold, which never saw its test part, or one for all.

They are trained here (cross-entropy only), or are the models of a run of `mmpipe train`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from mmpipe.core.errors import TrainingError
from mmpipe.manifests.splits import Fold
from mmpipe.pipeline.hardware import available_cores
from mmpipe.pipeline.training.comparison import read_folds
from mmpipe.pipeline.training.config import TrainConfig
from mmpipe.pipeline.training.data.dataset import Norm, Pool, Rows, fit_norms
from mmpipe.pipeline.training.data.inputs import TrainInput
from mmpipe.pipeline.training.ensemble import load_fold
from mmpipe.pipeline.training.loop import fit, predict
from mmpipe.pipeline.training.metrics import score
from mmpipe.pipeline.training.model import Network
from mmpipe.pipeline.training.results import RunResult

__all__ = ["Classifier", "Progress", "RunModels", "mean", "train_classifiers"]

_Probabilities = npt.NDArray[np.float32]

_PART_ROWS = 2048
"""Rows that a thread labels at a time: whole batches, so that their number changes no bit."""

Progress = Callable[[int, int, str], None]
"""Called with the steps that are done, all steps and what they are of."""


@dataclass(frozen=True)
class Classifier:
    """A classifier of the labelled and of the unlabelled store.

    Attributes:
        fold: the fold whose test part it never saw; of a single classifier for all folds the one that it was made of.
        members: models with the normalisation of the labelled store and that of the unlabelled one; the probabilities
            are their mean.
        data: both stores.
        best_epochs: of the members.
        valid_ua: unweighted average recall on the validation part of the fold.
    """

    fold: Fold
    members: tuple[tuple[Network, Mapping[str, Norm], Mapping[str, Norm]], ...]
    data: TrainInput
    best_epochs: tuple[int, ...]
    valid_ua: float

    def of_labeled(self, ids: Sequence[str]) -> _Probabilities:
        """Class probabilities float32 [N, K] of utterances of the labelled store."""
        rows = self.data.labeled.rows_of(ids)
        return mean([predict(model, Pool(self.data.labeled, rows, own)) for model, own, _ in self.members])

    def of_unlabeled(self, rows: Rows) -> _Probabilities:
        """Class probabilities float32 [N, K] of rows of the unlabelled store."""
        assert self.data.unlabeled is not None
        dataset = self.data.unlabeled.dataset

        def label(part: Rows) -> _Probabilities:
            return mean([predict(model, Pool(dataset, part, other)) for model, _, other in self.members])

        if torch.get_num_threads() > 1 or len(rows) <= _PART_ROWS:
            return label(rows)
        parts = np.split(rows, range(_PART_ROWS, len(rows), _PART_ROWS))
        with ThreadPoolExecutor(available_cores()) as pool:  # where a model computes on one thread
            return np.concatenate(list(pool.map(label, parts)))


def train_classifiers(
    config: TrainConfig, data: TrainInput, *, once: bool, progress: Progress, device: str
) -> Iterator[Classifier]:
    """Train classifiers, one after the other.

    Args:
        config: hyper-parameters, without reconstruction and matching.
        data: the labelled store with its folds, and the unlabelled one.
        once: one for all folds, trained on all but the validation part of the first fold.
        progress: called after every epoch.
        device: `cpu` or `cuda`.

    Raises:
        TrainingError: see `fit`; the fold is named.
    """
    folds = data.folds[:1] if once else data.folds
    total = len(folds) * config.epochs
    for number, fold in enumerate(folds):
        name = "all folds" if once else f"fold {fold.name}"

        def report(row: dict[str, float], number: int = number, name: str = name) -> None:
            progress(number * config.epochs + int(row["epoch"]), total, name)

        train, valid = (data.labeled.rows_of(ids) for ids in ((*fold.train, *fold.test * once), fold.valid))
        norms = fit_norms(data.labeled, train)
        sides = (Pool(data.labeled, train, norms), Pool(data.labeled, valid, norms))
        try:
            trained = fit(config, data.labels, *sides, report=report, device=device)
        except TrainingError as error:
            raise TrainingError(f"the classifier of {name}: {error}") from error
        assert data.unlabeled is not None
        member = (trained.model, norms, data.unlabeled.norms)
        valid_ua = trained.history[trained.best_epoch - 1]["valid_ua"]
        yield Classifier(fold, (member,), data, (trained.best_epoch,), valid_ua)


@dataclass(frozen=True)
class RunModels:
    """The models of a finished run.

    Attributes:
        path: the run folder.
        result: its run.json.
        device: where they label.
    """

    path: Path
    result: RunResult
    device: str

    @property
    def config(self) -> TrainConfig:
        """The hyper-parameters of the run."""
        return self.result.config

    def classifiers(self, data: TrainInput, progress: Progress) -> Iterator[Classifier]:
        """One for each fold: the models of all seeds, which are read when it is their turn.

        Raises:
            TrainingError: the run was trained on other features, folds, utterances or labels than the store holds.
            WeightsError: a model cannot be read.
        """
        self._check(data)
        assert data.unlabeled is not None
        for number, fold in enumerate(data.folds):
            trained = [scores for scores in self.result.folds if scores.name == fold.name]
            saved = [load_fold(self.path, self.result, scores, self.device) for scores in trained]
            members = tuple((m.model, m.norms, m.adapted(data.unlabeled.norms)) for m in saved)
            made = Classifier(fold, members, data, tuple(scores.best_epoch for scores in trained), 0.0)
            truth = [str(data.labeled.labels[row]) for row in data.labeled.rows_of(fold.valid)]
            guess = [self.result.labels[k] for k in made.of_labeled(fold.valid).argmax(axis=1)]
            yield replace(made, valid_ua=score(truth, guess, self.result.labels).ua)
            progress(number + 1, len(data.folds), f"fold {fold.name}")

    def _check(self, data: TrainInput) -> None:
        """Make sure that the folds are those of this store, so that no model saw its test part."""
        where = f"{self.path} was trained on"
        if unknown := sorted(set(data.labels) - set(self.result.labels)):
            raise TrainingError(
                f"the labelled store holds the label {unknown[0]}, which {self.path} does not know; its labels: "
                f"{', '.join(self.result.labels)}: name the store that it was trained on"
            )
        if {fold.name for fold in data.folds} != {fold.name for fold in self.result.folds}:
            raise TrainingError(f"{where} other folds than those of the labelled store: train it again")
        now = {fold.name: data.identity_of(fold) for fold in data.folds}
        for fold in read_folds(self.path, self.result):
            if fold.identity.get("labelled features") != data.labeled.fingerprint:
                raise TrainingError(
                    f"{where} other features than the labelled store holds: name the store that it was trained on, or "
                    "train it again"
                )
            if fold.identity.get("utterances") != now[fold.name]["utterances"]:
                raise TrainingError(
                    f"{where} other utterances of fold {fold.name} than the labelled store has now: train it again"
                )


def mean(parts: Sequence[_Probabilities]) -> _Probabilities:
    """The mean of the probabilities of several."""
    mean_NK: _Probabilities = np.mean(parts, axis=0, dtype=np.float32)
    return mean_NK
