"""One training: labelled rows, unlabelled rows beside them, the best epoch by validation.

One epoch is one pass over the labelled rows, or several where they are few; each step takes an unlabelled batch beside
them from an endlessly reshuffled pool. What a step minimises is in `steps`.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mmpipe.core.errors import TrainingError
from mmpipe.pipeline.training.config import TrainConfig
from mmpipe.pipeline.training.data.dataset import Pool
from mmpipe.pipeline.training.discriminants import WithDiscriminants, build_model
from mmpipe.pipeline.training.latents import Latents
from mmpipe.pipeline.training.losses import MIN_ROWS
from mmpipe.pipeline.training.metrics import score
from mmpipe.pipeline.training.model import Network
from mmpipe.pipeline.training.pooling import pooled_features
from mmpipe.pipeline.training.resume import Draws, Progress, epoch_order, load_progress, save_progress, seed_torch
from mmpipe.pipeline.training.steps import NO_CLASS, Step
from mmpipe.pipeline.training.teacher import teach
from mmpipe.pipeline.training.watch import Watch, is_shown

__all__ = ["DivergedError", "EpochReport", "Resume", "Trained", "fit", "predict"]

EpochReport = Callable[[dict[str, float]], None]
"""Called with the figures of every epoch, the columns of history.csv."""


@dataclass
class Trained:
    """The model of the best epoch (0: none was finished), and the figures of every epoch.

    Attributes:
        model: of the best epoch.
        best_epoch: its number.
        history: the figures of every epoch.
        supervised_because: why the unlabelled rows were not used, in a few words; None where they were, or where there
            are none.
        latents: where they lay, if they were watched.
    """

    model: Network
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    supervised_because: str | None = None
    latents: Latents | None = None


class DivergedError(TrainingError):
    """The loss became NaN or infinite; `trained` holds the best epoch before that."""

    def __init__(self, message: str, trained: Trained) -> None:
        super().__init__(message)
        self.trained = trained


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
    build: Callable[[TrainConfig, Mapping[str, int], int], Network] = build_model,
    watch: Watch | None = None,
) -> Trained:
    """Train a model and keep the best epoch.

    The best is the one of the highest validation metric (`config.select`), of equal ones that of lowest validation
    cross-entropy. Where pseudo-labels of the unlabelled rows are all of one class, they would teach nothing but that
    class: the training is then supervised, and `Trained.supervised_because` says so.

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
        watch: what looks at the latents of the epochs that are kept; it changes no figure.

    Raises:
        TrainingError: too few rows for the estimators, one class only, or a label outside the label set.
        DivergedError: the loss is no longer finite; the best epoch so far comes with it.
    """
    _check(config, train, valid, unlabeled, labels)
    used, pseudo, problem = unlabeled, None, None
    if unlabeled is not None and config.objective in ("self-train", "self-train+consistency"):
        pseudo, problem = _taught(config, labels, train, unlabeled)
        if pseudo is None:
            used = None
        elif config.objective == "self-train":
            used = replace(unlabeled, rows=unlabeled.rows[(pseudo[unlabeled.rows] != NO_CLASS).numpy()])
    trained = _fit(config, labels, train, valid, used, pseudo, report, resume, device, build, watch)
    if used is not None and config.objective != "paper":
        problem = _collapse(trained.model, labels, used)
        if problem is not None:
            again = None if resume is None else replace(resume, identity=f"{resume.identity} supervised")
            trained = _fit(config, labels, train, valid, None, None, report, again, device, build, watch)
    trained.supervised_because = problem
    return trained


def _taught(
    config: TrainConfig, labels: Sequence[str], train: Pool, unlabeled: Pool
) -> tuple[Tensor | None, str | None]:
    """The teacher's classes of the rows of the unlabelled dataset; or why they are not used."""
    classes = teach(config, labels, train, unlabeled)
    found = np.unique(classes[classes != NO_CLASS])
    if len(found) < 2:
        named = ", ".join(labels[k] for k in found) or "none"
        return None, f"the teacher gives the unlabelled rows one class only ({named})"
    return torch.from_numpy(classes), None


_LOOKED_AT = 1000
"""Unlabelled rows whose predictions show whether a training has collapsed."""


def _collapse(model: Network, labels: Sequence[str], unlabeled: Pool) -> str | None:
    """What the model's answers to the unlabelled rows say of a collapse, None if there is none."""
    rows = unlabeled.rows[:: -(-len(unlabeled.rows) // _LOOKED_AT)]
    found = np.unique(predict(model, replace(unlabeled, rows=rows)).argmax(axis=1))
    if len(found) > 1 or len(rows) < 2 * len(labels):
        return None
    return f"the network gave all unlabelled rows one class ({labels[found[0]]})"


def _fit(
    config: TrainConfig,
    labels: Sequence[str],
    train: Pool,
    valid: Pool,
    unlabeled: Pool | None,
    pseudo: Tensor | None,
    report: EpochReport,
    resume: Resume | None,
    device: str,
    build: Callable[[TrainConfig, Mapping[str, int], int], Network],
    watch: Watch | None,
) -> Trained:
    number = {label: place for place, label in enumerate(labels)}
    targets = torch.tensor([number.get(label or "", -1) for label in train.dataset.labels])
    with torch.random.fork_rng():
        seed_torch(config.seed, 0)
        model = build(config, train.dataset.widths, len(labels)).to(device)
        if isinstance(model, WithDiscriminants):
            model.fit(pooled_features(train, config.clip), targets[train.rows].numpy())
        optimiser = torch.optim.Adam(
            model.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            decoupled_weight_decay=True,
            fused=True,
        )
        step = Step(config, model, targets, train, unlabeled, pseudo)
        done = None if resume is None else load_progress(resume.path, resume.identity)
        if done is None:
            start = copy.deepcopy(model.state_dict())
            done = Progress(start, {}, start, [-math.inf, 0.0])
        else:
            model.load_state_dict(done.model)
            optimiser.load_state_dict(done.optimiser)
            for row in done.history:
                report(row)
        saved = time.monotonic()
        while not _finished(done, config):
            row = _epoch(step, optimiser, done, labels, valid)
            if watch is not None and is_shown(epoch := len(done.history)):
                done.latents[epoch] = watch.look(model, epoch)
            report(row)
            if resume is not None and time.monotonic() - saved >= resume.seconds and not _finished(done, config):
                done.model, done.optimiser = model.state_dict(), optimiser.state_dict()
                save_progress(resume.path, done, resume.identity)
                saved = time.monotonic()
    if resume is not None:
        resume.path.unlink(missing_ok=True)
    model.load_state_dict(done.best)
    trained = Trained(model, done.best_epoch, done.history)
    if watch is not None:
        if done.best_epoch not in done.latents:
            done.latents[done.best_epoch] = watch.look(model, done.best_epoch)
        trained.latents = watch.record(list(done.latents.values()))
    return trained


def _finished(done: Progress, config: TrainConfig) -> bool:
    epochs = len(done.history)
    return epochs >= config.epochs or (config.patience is not None and epochs - done.best_epoch >= config.patience)


def _epoch(
    step: Step, optimiser: torch.optim.Optimizer, done: Progress, labels: Sequence[str], valid: Pool
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
    size, passes = config.batch_of(len(train.rows)), config.passes(len(train.rows))
    batches = [rows for turn in range(passes) for rows in epoch_order(train.rows, config.seed, epoch, size, turn)]
    for rows in batches:
        other = rows[:0] if draws is None else draws.take(done.drawn, config.unlabeled_rows_of(len(rows)))
        done.drawn += len(other)
        optimiser.zero_grad(set_to_none=True)
        terms = step(rows, other)
        if not torch.isfinite(terms["train_loss"]):
            model.load_state_dict(done.best)
            raise _diverged(epoch, terms, config, Trained(model, done.best_epoch, done.history))
        optimiser.step()
        for name, value in terms.items():
            sums[name] = sums.get(name, 0.0) + value.item() * len(rows) / (passes * len(train.rows))
    row = {"epoch": epoch, **sums, **_validate(model, labels, valid, config.select)}
    done.history.append(row)
    figures = [-row["valid_loss"] if config.select == "loss" else row[f"valid_{config.select}"], -row["valid_loss"]]
    if figures > done.best_figures:
        done.best_figures, done.best_epoch = figures, epoch
        done.best = copy.deepcopy(model.state_dict())
    return row


def _check(config: TrainConfig, train: Pool, valid: Pool, unlabeled: Pool | None, labels: Sequence[str]) -> None:
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
    fewest = MIN_ROWS if config.objective == "paper" else 1
    for side, name in ((train, "training part"), (unlabeled, "unlabelled pool")):
        if side is not None and len(side.rows) < fewest:
            raise TrainingError(
                f"the {name} holds {len(side.rows)} usable utterances, expected {fewest} or more: "
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
    shown = dict.fromkeys(("ua",) if select == "loss" else ("ua", select))
    return {"valid_loss": loss, **{f"valid_{name}": figures.value(name) for name in shown}}


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
