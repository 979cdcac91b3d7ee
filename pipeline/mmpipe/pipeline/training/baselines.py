"""Baselines on the same features and folds: what does the model add?

- `majority`: the most frequent label of the training part.
- `logistic`: logistic regression on the means over steps of each modality; its strength by validation.
- `concat-mlp`: one hidden layer on the same means.
- `gru-attention`: a bidirectional GRU with attention over its steps for each sequence, a linear layer for the acoustic
  vector, a classifier on all of them.

Legend: B batch, T steps, D width, K classes, H hidden.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mmpipe.core.files import write_bytes
from mmpipe.manifests.splits import Fold
from mmpipe.pipeline.hardware import pick_device
from mmpipe.pipeline.training.config import TrainConfig
from mmpipe.pipeline.training.data.dataset import fit_norms
from mmpipe.pipeline.training.data.inputs import TrainInput
from mmpipe.pipeline.training.loop import Pool, fit, predict
from mmpipe.pipeline.training.metrics import METRICS, Answers, Summary, score, summarise
from mmpipe.pipeline.training.modalities import MODALITIES
from mmpipe.pipeline.training.model import Network, Output

__all__ = ["BASELINES", "score_baselines", "write_baselines"]

_HIDDEN = 128
_STRENGTHS = (0.001, 0.01, 0.1, 1.0)
"""Values of C that logistic regression chooses from."""


def _pooled(features: Mapping[str, Tensor], keep: Mapping[str, Tensor]) -> Tensor:
    """Means over unpadded steps of all modalities, side by side: [B, sum of D]."""
    parts = [x.sum(dim=1) / keep[name].sum(dim=1, keepdim=True) if name in keep else x for name, x in features.items()]
    return torch.cat(parts, dim=1)


class _ConcatMLP(Network):
    """One hidden layer on the pooled features of all modalities."""

    def __init__(self, config: TrainConfig, widths: Mapping[str, int], num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.hidden = nn.Sequential(nn.Linear(sum(widths.values()), _HIDDEN), nn.ReLU())
        self.classifier = nn.Sequential(nn.Dropout(config.classifier_dropout), nn.Linear(_HIDDEN, num_classes))

    def forward(
        self, features: Mapping[str, Tensor], keep: Mapping[str, Tensor], *, reconstruct: bool = False
    ) -> Output:
        """Logits of a batch; the hidden layer is its only latent."""
        hidden_BH = self.hidden(_pooled(features, keep))
        return Output(self.classifier(hidden_BH), {"all": hidden_BH}, {})


class _GruAttention(Network):
    """A bidirectional GRU with attention for each sequence, a linear layer for the acoustic vector."""

    def __init__(self, config: TrainConfig, widths: Mapping[str, int], num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        half = _HIDDEN // 2
        self.encoders = nn.ModuleDict(
            {
                name: nn.GRU(width, half, batch_first=True, bidirectional=True)
                if MODALITIES[name].is_sequence
                else nn.Linear(width, _HIDDEN)
                for name, width in widths.items()
            }
        )
        self.attention = nn.ModuleDict({name: nn.Linear(_HIDDEN, 1) for name in widths if MODALITIES[name].is_sequence})
        self.classifier = nn.Sequential(
            nn.Dropout(config.classifier_dropout),
            nn.Linear(_HIDDEN * len(widths), _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, num_classes),
        )

    def forward(
        self, features: Mapping[str, Tensor], keep: Mapping[str, Tensor], *, reconstruct: bool = False
    ) -> Output:
        """Logits of a batch and one latent a modality."""
        latents = {}
        for name, encoder in self.encoders.items():
            if not MODALITIES[name].is_sequence:
                latents[name] = torch.relu(encoder(features[name]))
                continue
            packed = nn.utils.rnn.pack_padded_sequence(
                features[name], keep[name].sum(dim=1).cpu(), batch_first=True, enforce_sorted=False
            )
            steps_BTH, _ = nn.utils.rnn.pad_packed_sequence(
                encoder(packed)[0], batch_first=True, total_length=keep[name].shape[1]
            )
            scores_BT = self.attention[name](steps_BTH)[..., 0].masked_fill(~keep[name], -torch.inf)
            latents[name] = (scores_BT.softmax(dim=1)[..., None] * steps_BTH).sum(dim=1)
        return Output(self.classifier(torch.cat(list(latents.values()), dim=1)), latents, {})


_Labels = list[str]
"""Predicted labels of the test rows, in order."""

_Baseline = Callable[[TrainConfig, TrainInput, Mapping[str, Pool], str], _Labels]
"""Config, data, pools of a fold and device (`cpu` or `cuda`) to predicted labels."""


def _majority(config: TrainConfig, data: TrainInput, pools: Mapping[str, Pool], device: str) -> _Labels:
    train = [str(data.labeled.labels[row]) for row in pools["train"].rows]
    return [max(data.labels, key=train.count)] * len(pools["test"].rows)


def _logistic(config: TrainConfig, data: TrainInput, pools: Mapping[str, Pool], device: str) -> _Labels:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = {side: _pooled(*pool.batch(pool.rows)).numpy() for side, pool in pools.items()}
    y = {side: [str(data.labeled.labels[row]) for row in pool.rows] for side, pool in pools.items()}
    if len(set(y["train"])) == 1:
        return [y["train"][0]] * len(y["test"])
    models = [
        make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000)).fit(x["train"], y["train"])
        for c in _STRENGTHS
    ]
    reached = [score(y["valid"], list(m.predict(x["valid"])), data.labels).value(config.select) for m in models]
    return [str(label) for label in models[int(np.argmax(reached))].predict(x["test"])]


def _network(build: Callable[..., Network]) -> _Baseline:
    def answer(config: TrainConfig, data: TrainInput, pools: Mapping[str, Pool], device: str) -> _Labels:
        trained = fit(config.vanilla(), data.labels, pools["train"], pools["valid"], device=device, build=build)
        return [data.labels[k] for k in predict(trained.model, pools["test"]).argmax(axis=1)]

    return answer


BASELINES: dict[str, _Baseline] = {
    "majority": _majority,
    "logistic": _logistic,
    "concat-mlp": _network(_ConcatMLP),
    "gru-attention": _network(_GruAttention),
}
"""Baselines by name; majority and logistic regression run on the CPU."""


def score_baselines(
    config: TrainConfig,
    data: TrainInput,
    seeds: int = 1,
    report: Callable[[str], None] = lambda name: None,
    names: tuple[str, ...] = tuple(BASELINES),
    *,
    device: str = "cpu",
) -> dict[str, dict[str, Summary]]:
    """Figures of the baselines on the folds of a run.

    Args:
        config: modalities, lengths, epochs, batch size and the metric that chooses.
        data: what the run trains on; its unlabelled side is not used.
        seeds: trainings of each fold.
        report: called with the name after every fold.
        names: which baselines.
        device: `cpu`, `cuda`, or `auto`: the GPU where there is one.

    Returns:
        By baseline what `summarise` gives.

    Raises:
        UsageError: the device does not exist here.
    """
    scores, device = {}, pick_device(device)
    for name in names:
        done = []
        for seed in range(config.seed, config.seed + seeds):
            seeded = config.model_copy(update={"seed": seed})
            for fold in data.folds:
                done.append(_fold(name, seeded, data, fold, device))
                report(name)
        scores[name] = summarise(done, data.labels)
    return scores


def _fold(name: str, config: TrainConfig, data: TrainInput, fold: Fold, device: str) -> Answers:
    rows = {side: data.labeled.rows_of(getattr(fold, side)) for side in ("train", "valid", "test")}
    norms = fit_norms(data.labeled, rows["train"])
    pools = {side: Pool(data.labeled, r, norms) for side, r in rows.items()}
    predicted = BASELINES[name](config, data, pools, device)
    truth = [str(data.labeled.labels[row]) for row in rows["test"]]
    return Answers(config.seed, tuple(truth), tuple(predicted), score(truth, predicted, data.labels))


def write_baselines(path: Path, scores: Mapping[str, Mapping[str, Summary]]) -> None:
    """One line a baseline and metric, as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["baseline", "metric", "mean", "std", "low", "high"])
    for name, figures in scores.items():
        for metric in METRICS:
            writer.writerow([name, metric, *(f"{x:.6f}" for x in figures[metric].to_json().values())])
    write_bytes(path, text.getvalue().encode())
