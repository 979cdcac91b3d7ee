"""One training: labelled rows, unlabelled rows beside them, the best epoch by validation.

L_semi = L_cls + alpha L_rec + beta (L_pair + L_unpaired) + omega (alpha L_rec + beta (L_pair + L_unpaired))
of unlabelled rows (equations 7 to 9). One epoch is one pass over the labelled rows; each step takes an
unlabelled batch of the same size from an endlessly reshuffled pool.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from mmpipe.manifests.errors import TrainingError
from mmpipe.pipeline.train.config import TrainConfig
from mmpipe.pipeline.train.data import Dataset, Norm, Rows
from mmpipe.pipeline.train.losses import MIN_ROWS, matching, reconstruction
from mmpipe.pipeline.train.metrics import score
from mmpipe.pipeline.train.model import EmotionModel, Output

__all__ = ["DivergedError", "EpochReport", "Pool", "Trained", "fit", "predict"]

EpochReport = Callable[[dict[str, float]], None]
"""Called with the figures of every epoch, the columns of history.csv."""


@dataclass(frozen=True)
class Pool:
    """Rows of a dataset, repeats allowed, with the normalisation that goes with them."""

    dataset: Dataset
    rows: Rows
    norms: Mapping[str, Norm]

    def batch(self, rows: Rows) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Normalised features and masks of some of the rows."""
        return self.dataset.batch(rows, self.norms)


@dataclass
class Trained:
    """The model of the best epoch (0: none was finished), and the figures of every epoch."""

    model: EmotionModel
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


class DivergedError(TrainingError):
    """The loss became NaN or infinite; `trained` holds the best epoch before that."""

    def __init__(self, message: str, trained: Trained) -> None:
        super().__init__(message)
        self.trained = trained


def _batches(rows: Rows, size: int, generator: np.random.Generator) -> list[Rows]:
    """A shuffled pass over the rows in batches of at most `size`, all of nearly the same size."""
    return list(np.array_split(generator.permutation(rows), -(-len(rows) // size)))


def _endless(rows: Rows, generator: np.random.Generator) -> Iterator[int]:
    """Rows of a pool that is reshuffled whenever it is empty."""
    while True:
        yield from generator.permutation(rows)


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
    """The loss of a step and its terms."""

    def __init__(self, config: TrainConfig, model: EmotionModel, train: Pool, unlabeled: Pool | None) -> None:
        self.config, self.model, self.train, self.unlabeled = config, model, train, unlabeled

    def _side(self, pool: Pool, rows: Rows) -> tuple[Output, dict[str, Tensor]]:
        features, keep = pool.batch(rows)
        output = self.model(features, keep, reconstruct=self.config.alpha > 0)
        return output, _unsupervised(output, features, keep, self.config)

    def __call__(self, rows: Rows, targets_B: Tensor, other: Rows) -> tuple[Tensor, dict[str, Tensor]]:
        output, terms = self._side(self.train, rows)
        cls = F.cross_entropy(output.logits, targets_B)
        loss = cls + _weighted(terms, self.config)
        with torch.no_grad():
            spread = torch.stack([z.std(dim=0).mean() for z in output.latents.values()]).mean()
        if self.unlabeled is not None:
            _, extra = self._side(self.unlabeled, other)
            loss = loss + self.config.omega * _weighted(extra, self.config)
            terms |= {f"unlabeled_{name}": term for name, term in extra.items()}
        return loss, {"train_loss": loss, "cls": cls, **terms, "latent_std": spread}


def fit(
    config: TrainConfig,
    labels: Sequence[str],
    train: Pool,
    valid: Pool,
    unlabeled: Pool | None = None,
    report: EpochReport = lambda row: None,
) -> Trained:
    """Train a model and keep the best epoch.

    The best is the one of highest validation UA, of equal ones that of lowest validation cross-entropy.

    Args:
        config: hyper-parameters.
        labels: the label set, in the order of the classes.
        train: labelled rows.
        valid: rows that choose the epoch.
        unlabeled: rows of the unlabelled side; None trains supervised.
        report: called with the figures of every epoch: the loss and its terms, the mean deviation of the
            latents over the rows of a batch (`latent_std`: near 0 they have collapsed), validation
            cross-entropy and UA.

    Raises:
        TrainingError: too few rows for the estimators, or one class only.
        DivergedError: the loss is no longer finite; the best epoch so far comes with it.
    """
    number = {label: place for place, label in enumerate(labels)}
    targets = torch.tensor([number.get(label or "", -1) for label in train.dataset.labels])
    _check(train, unlabeled)
    generator = np.random.default_rng(config.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = EmotionModel(config, train.dataset.widths, len(labels))
        optimiser = torch.optim.Adam(model.parameters(), lr=config.learning_rate, fused=True)
        trained, step = Trained(model), _Step(config, model, train, unlabeled)
        stream = iter(()) if unlabeled is None else _endless(unlabeled.rows, generator)
        best, state = (-1.0, 0.0), copy.deepcopy(model.state_dict())
        for epoch in range(1, config.epochs + 1):
            model.train()
            sums: dict[str, float] = {}
            for rows in _batches(train.rows, config.batch_size, generator):
                taken = min(len(rows), 0 if unlabeled is None else len(unlabeled.rows))
                other = np.array([next(stream) for _ in range(taken)], np.int64)
                loss, terms = step(rows, targets[rows], other)
                if not torch.isfinite(loss):
                    model.load_state_dict(state)
                    raise _diverged(epoch, terms, config, trained)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                for name, value in terms.items():
                    sums[name] = sums.get(name, 0.0) + value.item() * len(rows) / len(train.rows)
            row = {"epoch": epoch, **sums, **_validate(model, labels, valid)}
            trained.history.append(row)
            if (row["valid_ua"], -row["valid_loss"]) > best:
                best, trained.best_epoch = (row["valid_ua"], -row["valid_loss"]), epoch
                state = copy.deepcopy(model.state_dict())
            report(row)
        model.load_state_dict(state)
    return trained


def _check(train: Pool, unlabeled: Pool | None) -> None:
    if len(classes := {str(train.dataset.labels[row]) for row in train.rows}) < 2:
        raise TrainingError(
            f"the training part holds one class only ({', '.join(classes) or 'none'}), "
            "a classifier needs two: choose another protocol, or label more data"
        )
    for pool, name in ((train, "training part"), (unlabeled, "unlabelled pool")):
        if pool is not None and len(pool.rows) < MIN_ROWS:
            raise TrainingError(
                f"the {name} holds {len(pool.rows)} usable utterances, expected {MIN_ROWS} or more: "
                "add data, or use fewer modalities so that fewer utterances are left out"
            )


def _diverged(epoch: int, terms: Mapping[str, Tensor], config: TrainConfig, trained: Trained) -> DivergedError:
    values = ", ".join(f"{name} {value.item():g}" for name, value in terms.items())
    return DivergedError(
        f"the loss is no longer finite in epoch {epoch} ({values}): lower learning_rate (now {config.learning_rate:g})",
        trained,
    )


def _validate(model: EmotionModel, labels: Sequence[str], valid: Pool) -> dict[str, float]:
    probabilities = predict(model, valid)
    truth = [str(valid.dataset.labels[row]) for row in valid.rows]
    chosen = probabilities[np.arange(len(truth)), [labels.index(label) for label in truth]]
    figures = score(truth, [labels[k] for k in probabilities.argmax(axis=1)], labels)
    return {"valid_loss": float(-np.log(np.maximum(chosen, 1e-12)).mean()), "valid_ua": figures["ua"]}


@torch.no_grad()
def predict(model: EmotionModel, pool: Pool, batch_size: int = 256) -> npt.NDArray[np.float32]:
    """Class probabilities float32 [N, K] of the pool's rows, in their order."""
    model.eval()
    parts: list[npt.NDArray[np.float32]] = [
        model(*pool.batch(pool.rows[start : start + batch_size])).logits.softmax(dim=1).numpy()
        for start in range(0, len(pool.rows), batch_size)
    ]
    return np.concatenate(parts)
