"""One training: labelled rows, unlabelled rows beside them, the best epoch by validation.

L_semi = L_cls + alpha L_rec + beta (L_pair + L_unpaired) + omega (alpha L_rec + beta (L_pair + L_unpaired))
of unlabelled rows (equations 7 to 9). One epoch is one pass over the labelled rows; each step takes an
unlabelled batch of the same size from an endlessly reshuffled pool.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from mmpipe.core.errors import TrainingError
from mmpipe.pipeline.training.config import TrainConfig
from mmpipe.pipeline.training.data.dataset import Dataset, Norm, Rows
from mmpipe.pipeline.training.losses import MIN_ROWS, matching, reconstruction
from mmpipe.pipeline.training.metrics import score
from mmpipe.pipeline.training.model import EmotionModel, Network, Output
from mmpipe.pipeline.training.resume import Draws, Progress, epoch_order, load_progress, save_progress, seed_torch

__all__ = ["DivergedError", "EpochReport", "Pool", "Resume", "Trained", "fit", "predict"]

EpochReport = Callable[[dict[str, float]], None]
"""Called with the figures of every epoch, the columns of history.csv."""


@dataclass(frozen=True)
class Pool:
    """Rows of a dataset, repeats allowed, with the normalisation that goes with them."""

    dataset: Dataset
    rows: Rows
    norms: Mapping[str, Norm]

    def batch(self, rows: Rows, device: torch.device | str = "cpu") -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Normalised features and masks of some of the rows."""
        features, keep = self.dataset.batch(rows, self.norms)
        return (
            {name: x.to(device) for name, x in features.items()},
            {name: mask.to(device) for name, mask in keep.items()},
        )


@dataclass
class Trained:
    """The model of the best epoch (0: none was finished), and the figures of every epoch."""

    model: Network
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


class DivergedError(TrainingError):
    """The loss became NaN or infinite; `trained` holds the best epoch before that."""

    def __init__(self, message: str, trained: Trained) -> None:
        super().__init__(message)
        self.trained = trained


def _unsupervised(
    output: Output,
    features: Mapping[str, Tensor],
    keep: Mapping[str, Tensor],
    config: TrainConfig,
) -> dict[str, Tensor]:
    """The terms that need no label, unweighted."""
    zero = output.logits.new_zeros(())
    terms = {"rec": zero, "pair": zero, "unpaired": zero}
    if config.alpha:
        terms["rec"] = reconstruction(output.reconstructions, features, keep)
    if config.beta:
        terms["pair"], terms["unpaired"] = matching(output.latents, config)
    return terms


def _weighted(terms: Mapping[str, Tensor], config: TrainConfig) -> Tensor:
    return config.alpha * terms["rec"] + config.beta * (terms["pair"] + terms["unpaired"])


class _Step:
    """A step up to the gradients: first the labelled side's, then the unlabelled side's are added.

    One side after the other needs memory for the activations of one side only.
    """

    def __init__(
        self, config: TrainConfig, model: Network, targets: Tensor, train: Pool, unlabeled: Pool | None
    ) -> None:
        self.config, self.model, self.train, self.unlabeled = config, model, train, unlabeled
        self.targets, self.device = targets, next(model.parameters()).device
        self.weights = None
        if config.class_weights:
            counts_K = torch.bincount(targets[train.rows], minlength=model.num_classes)
            self.weights = (len(train.rows) / (counts_K.count_nonzero() * counts_K.clamp(min=1))).to(self.device)

    def _side(self, pool: Pool, rows: Rows) -> tuple[Output, dict[str, Tensor]]:
        features, keep = pool.batch(rows, self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            output = self.model(features, keep, reconstruct=self.config.alpha > 0)
        return output, _unsupervised(output, features, keep, self.config)

    def __call__(self, rows: Rows, other: Rows) -> dict[str, Tensor]:
        """Add to the gradients and give the terms of the loss."""
        output, terms = self._side(self.train, rows)
        cls = F.cross_entropy(output.logits, self.targets[rows].to(self.device), self.weights)
        loss = cls + _weighted(terms, self.config)
        loss.backward()  # type: ignore[no-untyped-call]
        terms = {name: term.detach() for name, term in terms.items()}
        loss, cls = loss.detach(), cls.detach()
        spread = torch.stack([z.detach().std(dim=0).mean() for z in output.latents.values()]).mean()
        del output
        if self.unlabeled is not None:
            _, extra = self._side(self.unlabeled, other)
            unlabeled = self.config.omega * _weighted(extra, self.config)
            if unlabeled.requires_grad:
                unlabeled.backward()  # type: ignore[no-untyped-call]
            loss = loss + unlabeled.detach()
            terms |= {f"unlabeled_{name}": term.detach() for name, term in extra.items()}
        return {"train_loss": loss, "cls": cls, **terms, "latent_std": spread}


@dataclass(frozen=True)
class Resume:
    """Where an unfinished training keeps its state.

    Attributes:
        path: the file; it is gone when the training is done.
        identity: a hash of what the training follows from; a state of another is not used.
        seconds: between two states.
    """

    path: Path
    identity: str
    seconds: float = 30.0


def fit(
    config: TrainConfig,
    labels: Sequence[str],
    train: Pool,
    valid: Pool,
    unlabeled: Pool | None = None,
    report: EpochReport = lambda row: None,
    *,
    resume: Resume | None = None,
    device: str = "cpu",
    build: Callable[[TrainConfig, Mapping[str, int], int], Network] = EmotionModel,
) -> Trained:
    """Train a model and keep the best epoch.

    The best is the one of the highest validation metric (`config.select`), of equal ones that of lowest validation
    cross-entropy.

    Args:
        config: hyper-parameters.
        labels: the label set, in the order of the classes.
        train: labelled rows.
        valid: rows that choose the epoch.
        unlabeled: rows of the unlabelled side; None trains supervised.
        report: called with the figures of every epoch: the loss and its terms, the mean deviation of the
            latents over the rows of a batch (`latent_std`: near 0 they have collapsed), validation
            cross-entropy and metrics.
        resume: where to keep the state; a training that was stopped ends with the same numbers.
        device: `cpu` or `cuda`.
        build: makes the network of config, widths and number of classes.

    Raises:
        TrainingError: too few rows for the estimators, one class only, or a label outside the label set.
        DivergedError: the loss is no longer finite; the best epoch so far comes with it.
    """
    _check(train, valid, unlabeled, labels)
    number = {label: place for place, label in enumerate(labels)}
    targets = torch.tensor([number.get(label or "", -1) for label in train.dataset.labels])
    with torch.random.fork_rng():
        seed_torch(config.seed, 0)
        model = build(config, train.dataset.widths, len(labels)).to(device)
        optimiser = torch.optim.Adam(model.parameters(), lr=config.learning_rate, fused=True)
        step = _Step(config, model, targets, train, unlabeled)
        done = None if resume is None else load_progress(resume.path, resume.identity)
        if done is None:
            start = copy.deepcopy(model.state_dict())
            done = Progress(start, {}, start, [-1.0, 0.0])
        else:
            model.load_state_dict(done.model)
            optimiser.load_state_dict(done.optimiser)
            for row in done.history:
                report(row)
        saved = time.monotonic()
        while not _finished(done, config):
            row = _epoch(step, optimiser, done, labels, valid)
            report(row)
            if resume is not None and time.monotonic() - saved >= resume.seconds and not _finished(done, config):
                done.model, done.optimiser = model.state_dict(), optimiser.state_dict()
                save_progress(resume.path, done, resume.identity)
                saved = time.monotonic()
    if resume is not None:
        resume.path.unlink(missing_ok=True)
    model.load_state_dict(done.best)
    return Trained(model, done.best_epoch, done.history)


def _finished(done: Progress, config: TrainConfig) -> bool:
    epochs = len(done.history)
    return epochs >= config.epochs or (config.patience is not None and epochs - done.best_epoch >= config.patience)


def _epoch(
    step: _Step, optimiser: torch.optim.Optimizer, done: Progress, labels: Sequence[str], valid: Pool
) -> dict[str, float]:
    """Train one epoch, validate, and note both in `done`."""
    config, model, train, unlabeled = step.config, step.model, step.train, step.unlabeled
    epoch = len(done.history) + 1
    draws = None if unlabeled is None else Draws(unlabeled.rows, config.seed)
    seed_torch(config.seed, epoch)
    if config.schedule == "linear":
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * (1 - (epoch - 1) / config.epochs)
    model.train()
    sums: dict[str, float] = {}
    for rows in epoch_order(train.rows, config.seed, epoch, config.batch_size):
        other = rows[:0] if draws is None else draws.take(done.drawn, len(rows))
        done.drawn += len(other)
        optimiser.zero_grad(set_to_none=True)
        terms = step(rows, other)
        if not torch.isfinite(terms["train_loss"]):
            model.load_state_dict(done.best)
            raise _diverged(epoch, terms, config, Trained(model, done.best_epoch, done.history))
        optimiser.step()
        for name, value in terms.items():
            sums[name] = sums.get(name, 0.0) + value.item() * len(rows) / len(train.rows)
    row = {"epoch": epoch, **sums, **_validate(model, labels, valid, config.select)}
    done.history.append(row)
    figures = [row[f"valid_{config.select}"], -row["valid_loss"]]
    if figures > done.best_figures:
        done.best_figures, done.best_epoch = figures, epoch
        done.best = copy.deepcopy(model.state_dict())
    return row


def _check(train: Pool, valid: Pool, unlabeled: Pool | None, labels: Sequence[str]) -> None:
    for pool, name in ((train, "training part"), (valid, "validation part")):
        held = {str(pool.dataset.labels[row]) for row in pool.rows}
        if unknown := sorted(held - set(labels)):
            raise TrainingError(
                f"the {name} holds the label {unknown[0]!r}, which the label set {', '.join(labels)} lacks: "
                "relabel or leave out its utterances"
            )
        if len(held) < 2 and pool is train:
            raise TrainingError(
                f"the training part holds one class only ({', '.join(held) or 'none'}), "
                "a classifier needs two: choose another protocol, or label more data"
            )
    for side, name in ((train, "training part"), (unlabeled, "unlabelled pool")):
        if side is not None and len(side.rows) < MIN_ROWS:
            raise TrainingError(
                f"the {name} holds {len(side.rows)} usable utterances, expected {MIN_ROWS} or more: "
                "add data, or use fewer modalities so that fewer utterances are left out"
            )


def _diverged(epoch: int, terms: Mapping[str, Tensor], config: TrainConfig, trained: Trained) -> DivergedError:
    values = ", ".join(f"{name} {value.item():g}" for name, value in terms.items())
    return DivergedError(
        f"the loss is no longer finite in epoch {epoch} ({values}): lower learning_rate (now {config.learning_rate:g})",
        trained,
    )


def _validate(model: Network, labels: Sequence[str], valid: Pool, select: str) -> dict[str, float]:
    probabilities = predict(model, valid)
    truth = [str(valid.dataset.labels[row]) for row in valid.rows]
    chosen = probabilities[np.arange(len(truth)), [labels.index(label) for label in truth]]
    figures = score(truth, [labels[k] for k in probabilities.argmax(axis=1)], labels)
    loss = float(-np.log(np.maximum(chosen, 1e-12)).mean())
    return {"valid_loss": loss, **{f"valid_{name}": figures.value(name) for name in dict.fromkeys(("ua", select))}}


@torch.no_grad()
def predict(model: Network, pool: Pool, batch_size: int = 256) -> npt.NDArray[np.float32]:
    """Class probabilities float32 [N, K] of the pool's rows, in their order."""
    model.eval()
    device = next(model.parameters()).device
    parts: list[npt.NDArray[np.float32]] = [
        model(*pool.batch(pool.rows[start : start + batch_size], device)).logits.softmax(dim=1).cpu().numpy()
        for start in range(0, len(pool.rows), batch_size)
    ]
    return np.concatenate(parts)
