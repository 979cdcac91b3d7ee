"""Linear discriminant analysis of each modality as a share of a network's answer.

A network of few utterances varies with its seed and its epoch, and follows the frequencies of the classes. Linear
discriminant analysis with a covariance that is shrunk (Ledoit and Wolf 2004) does neither: it has a closed form, no
setting to choose, and takes all classes for equally probable. Their errors differ, so the mean of both is better than
each; docs/training.md has the figures. Of few rows a class the covariance is hardly known, and they take no part.

Legend: B rows of a batch, T steps, D width of a feature, K classes.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mmpipe.pipeline.training.config import TrainConfig
from mmpipe.pipeline.training.model import Network, Output, build_network
from mmpipe.pipeline.training.pooling import Features, pool_batch

__all__ = ["WithDiscriminants", "build_model"]

_FEWEST_ROWS = 40
"""Training rows a class, on average, from which discriminants take part; chosen by `studies.assembled`."""


class WithDiscriminants(Network):
    """A network whose answer is mixed with that of linear discriminants: `lda_share` of the config.

    The network is trained as if it were alone; the discriminants are fitted at once, see `fit`. Until then, and where
    that finds too few rows, they have no share.

    Args:
        network: what is trained.
        config: the share, and the limit of the features.
        widths: D by modality.
    """

    def __init__(self, network: Network, config: TrainConfig, widths: Mapping[str, int]) -> None:
        super().__init__()
        self.network, self.num_classes = network, network.num_classes
        self.wanted, self.limit, self.names = config.lda_share, config.clip, config.modalities
        self.register_buffer("share", torch.zeros(()))
        for name in self.names:
            self.register_buffer(f"weight_{name}", torch.zeros(self.num_classes, widths[name]))
            self.register_buffer(f"bias_{name}", torch.zeros(self.num_classes))

    def forward(
        self, features: Mapping[str, Tensor], keep: Mapping[str, Tensor], *, reconstruct: bool = False
    ) -> Output:
        """Logits of the mixed answer; latents, reconstructions and what is trained are those of the network."""
        output: Output = self.network(features, keep, reconstruct=reconstruct)
        with torch.no_grad():
            pooled = pool_batch(features, keep, self.limit)
            own = torch.stack([self._log_probabilities(name, x_BD) for name, x_BD in pooled.items()])
        mean_BK = own.logsumexp(dim=0) - math.log(len(own))
        share = self.get_buffer("share")
        both = torch.logaddexp(output.logits.log_softmax(dim=1) + (1 - share).log(), mean_BK + share.log())
        return Output(both, output.latents, output.reconstructions, output.trained)

    def _log_probabilities(self, name: str, x_BD: Tensor) -> Tensor:
        weight_KD, bias_K = self.get_buffer(f"weight_{name}"), self.get_buffer(f"bias_{name}")
        with torch.autocast(x_BD.device.type, enabled=False):
            return torch.nn.functional.linear(x_BD, weight_KD, bias_K).log_softmax(dim=1)

    def fit(self, x: Features, classes: Sequence[int] | npt.NDArray[np.int64]) -> None:
        """Fit a discriminant on the pooled features of each modality, if there are 40 rows a class on average.

        Args:
            x: of the training rows, [N, D] by modality, within the limits.
            classes: of these rows, two different ones at least. Other classes get no probability.
        """
        enough = len(classes) >= _FEWEST_ROWS * self.num_classes
        self.get_buffer("share").fill_(self.wanted if enough else 0.0)
        if not enough:
            return
        for name in self.names:
            weight_KD, bias_K = _discriminant(x[name], np.asarray(classes), self.num_classes)
            self.get_buffer(f"weight_{name}").copy_(torch.from_numpy(weight_KD))
            self.get_buffer(f"bias_{name}").copy_(torch.from_numpy(bias_K))


def build_model(config: TrainConfig, widths: Mapping[str, int], num_classes: int) -> Network:
    """What a config describes: a network, or an ensemble of them, alone or with discriminants.

    Raises:
        TrainingError: a sequence is too short or too narrow for the convolutions.
    """
    network = build_network(config, widths, num_classes)
    return WithDiscriminants(network, config, widths) if config.lda_share else network


def _discriminant(
    x_ND: npt.NDArray[np.float32], classes_N: npt.NDArray[np.int64], num_classes: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Weights [K, D] and biases [K] of the logits; minus infinity is the bias of a class without a row."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    known = np.unique(classes_N)
    equal = np.full(len(known), 1 / len(known))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Only one sample available", UserWarning)  # of a class
        fitted = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=equal).fit(
            x_ND.astype(np.float64), classes_N
        )
    weight_KD = np.zeros((num_classes, x_ND.shape[1]), np.float32)
    bias_K = np.full(num_classes, -np.inf, np.float32)
    if len(known) == 2:  # scikit-learn gives the logit of the second class over the first
        weight_KD[known[1]], bias_K[known] = fitted.coef_[0], (0, fitted.intercept_[0])
    else:
        weight_KD[known], bias_K[known] = fitted.coef_, fitted.intercept_
    return weight_KD, bias_K
