"""Two small networks as baselines: one hidden layer on pooled features, and a GRU with attention over steps.

Legend: B batch, T steps, D width, K classes, H hidden, G one GRU: a sequence in one direction.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mmpipe.pipeline.hardware import in_threads
from mmpipe.pipeline.training.config import TrainConfig
from mmpipe.pipeline.training.data.dataset import Dataset, Norm, Pool, Rows
from mmpipe.pipeline.training.modalities import MODALITIES
from mmpipe.pipeline.training.model import Network, Output

__all__ = ["ConcatMLP", "GruAttention", "pool_steps", "project_steps"]

_HIDDEN = 128
_HALF = 32
"""Width of a GRU in one direction."""
_COMPONENTS = 64
"""Principal components of a step that a GRU reads."""
_STEPS = 20_000
"""Training steps, at most, that the components are fitted on."""
_CHUNK = 256


class ConcatMLP(Network):
    """One hidden layer on the vectors of all modalities, side by side."""

    def __init__(self, config: TrainConfig, widths: Mapping[str, int], num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.hidden = nn.Sequential(nn.Linear(sum(widths.values()), _HIDDEN), nn.ReLU())
        self.classifier = nn.Sequential(nn.Dropout(config.classifier_dropout), nn.Linear(_HIDDEN, num_classes))

    def forward(
        self, features: Mapping[str, Tensor], keep: Mapping[str, Tensor], *, reconstruct: bool = False
    ) -> Output:
        """Logits of a batch; the hidden layer is its only latent."""
        hidden_BH = self.hidden(torch.cat(list(features.values()), dim=1))
        return Output(self.classifier(hidden_BH), {"all": hidden_BH}, {})


class _Grus(nn.Module):
    """A bidirectional GRU for each of some sequences, computed side by side: one loop over steps for all of them.

    The equations are those of `torch.nn.GRU`. Of 40 steps of two modalities this takes less than half of its time.
    """

    def __init__(self, widths: Mapping[str, int], half: int) -> None:
        super().__init__()
        number, bound = 2 * len(widths), half**-0.5
        self.inputs = nn.ModuleDict({name: nn.Linear(width, 2 * 3 * half) for name, width in widths.items()})
        self.weight = nn.Parameter(torch.empty(number, half, 3 * half).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(number, 1, 3 * half).uniform_(-bound, bound))

    def forward(self, features: Mapping[str, Tensor], keep: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """States [B, T, 2 H] of each sequence; they mean nothing on padding."""
        longest = max(keep[name].shape[1] for name in self.inputs)
        given, orders = [], {}
        for name, layer in self.inputs.items():
            lengths, places = keep[name].sum(dim=1, keepdim=True), torch.arange(longest, device=self.weight.device)
            orders[name] = torch.where(places < lengths, lengths - 1 - places, places)[..., None]
            gates = layer(features[name])
            gates = nn.functional.pad(gates, (0, 0, 0, longest - gates.shape[1]))
            forward, backward = gates.chunk(2, dim=2)
            given += [forward, backward.gather(1, orders[name].expand_as(backward))]
        states = self._steps(torch.stack(given))
        found = {}
        for place, (name, order) in enumerate(orders.items()):
            forward, backward = states[2 * place], states[2 * place + 1]
            both = torch.cat([forward, backward.gather(1, order.expand_as(backward))], dim=2)
            found[name] = both[:, : keep[name].shape[1]]
        return found

    def _steps(self, given_GBTX: Tensor) -> Tensor:
        """States [G, B, T, H]; X are the three gates."""
        half = self.weight.shape[1]
        state, states = given_GBTX.new_zeros(*given_GBTX.shape[:2], half), []
        for given in given_GBTX.unbind(dim=2):
            held = torch.baddbmm(self.bias, state, self.weight)
            gates = (given[..., : 2 * half] + held[..., : 2 * half]).sigmoid()
            new = torch.addcmul(given[..., 2 * half :], gates[..., :half], held[..., 2 * half :]).tanh()
            state = torch.lerp(new, state, gates[..., half:])
            states.append(state)
        return torch.stack(states, dim=2)


class GruAttention(Network):
    """A bidirectional GRU with attention for each sequence, a linear layer for the acoustic vector."""

    def __init__(self, config: TrainConfig, widths: Mapping[str, int], num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.sequences = [name for name in widths if MODALITIES[name].is_sequence]
        self.grus = _Grus({name: widths[name] for name in self.sequences}, _HALF)
        self.attention = nn.ModuleDict({name: nn.Linear(2 * _HALF, 1) for name in self.sequences})
        vectors = {name: nn.Linear(widths[name], 2 * _HALF) for name in widths if name not in self.sequences}
        self.vectors = nn.ModuleDict(vectors)
        self.classifier = nn.Sequential(
            nn.Dropout(config.classifier_dropout),
            nn.Linear(2 * _HALF * len(widths), _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, num_classes),
        )

    def forward(
        self, features: Mapping[str, Tensor], keep: Mapping[str, Tensor], *, reconstruct: bool = False
    ) -> Output:
        """Logits of a batch and one latent a modality."""
        latents = {name: torch.relu(layer(features[name])) for name, layer in self.vectors.items()}
        for name, states_BTH in self.grus(features, keep).items():
            scores_BT = self.attention[name](states_BTH)[..., 0].masked_fill(~keep[name], -torch.inf)
            latents[name] = (scores_BT.softmax(dim=1)[..., None] * states_BTH).sum(dim=1)
        return Output(self.classifier(torch.cat(list(latents.values()), dim=1)), latents, {})


def pool_steps(dataset: Dataset) -> Dataset:
    """The same utterances, each sequence as one vector: the mean over its steps."""
    features: dict[str, Any] = {}
    for name, array in dataset.features.items():
        if name not in dataset.keep:
            features[name] = array
            continue
        features[name] = np.empty((len(array), array.shape[-1]), np.float32)
        for rows in _chunks(len(array)):
            keep = dataset.keep[name][rows]
            features[name][rows] = np.einsum("ntd,nt->nd", array[rows].astype(np.float32), keep.astype(np.float32))
            features[name][rows] /= keep.sum(axis=1, keepdims=True)
    return dataclasses.replace(dataset, features=features, keep={})


def project_steps(dataset: Dataset, rows: Rows, norms: Mapping[str, Norm]) -> Pool:
    """The same utterances, z-normalised, each step of a wide sequence as its principal components.

    These are fitted on the steps of some rows, and scaled by one number so that their mean variance is 1.

    Args:
        dataset: all utterances.
        rows: the training rows; those of the result.
        norms: statistics of the training rows.
    """
    from sklearn.decomposition import PCA

    features: dict[str, Any] = dict(dataset.features)
    used = dict(norms)
    for name, keep in dataset.keep.items():
        width = features[name].shape[-1]
        if width <= _COMPONENTS:
            continue
        few = rows[:: max(1, int(keep[rows].sum()) // _STEPS)]
        steps_SD = _normalised(dataset, few, name, norms)[keep[few]]
        (pca,) = in_threads(PCA(min(_COMPONENTS, *steps_SD.shape), svd_solver="covariance_eigh").fit, [steps_SD])
        scale = float(np.sqrt(max(pca.explained_variance_.mean(), 1e-12)))
        projection = (pca.components_ / scale).T.astype(np.float32)
        x = np.empty((*features[name].shape[:2], projection.shape[1]), np.float32)
        for part in _chunks(len(x)):
            x[part] = _normalised(dataset, np.arange(len(x))[part], name, norms) @ projection
        features[name] = x
        used[name] = Norm(torch.zeros(x.shape[-1]), torch.ones(x.shape[-1]))
    return Pool(dataclasses.replace(dataset, features=features), rows, used)


def _normalised(dataset: Dataset, rows: Rows, name: str, norms: Mapping[str, Norm]) -> npt.NDArray[np.float32]:
    """Normalised steps float32 [B, T, D] of one modality, zero on padding."""
    x: npt.NDArray[np.float32] = dataset.features[name][rows].astype(np.float32)
    x = (x - norms[name].mean.numpy()) * norms[name].scale.numpy()
    return x * dataset.keep[name][rows][..., None]


def _chunks(number: int) -> Iterator[slice]:
    return (slice(start, start + _CHUNK) for start in range(0, number, _CHUNK))
