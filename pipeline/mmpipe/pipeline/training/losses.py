"""The terms of the objective (paper section 3.2).

Legend: B batch (m in the paper), T steps, D width of a feature, Z width of a latent.

The estimator of equation 3 does not depend on the order of the rows: shuffling a modality WITHIN the batch
leaves it as it is, so pair + unpaired would be exactly zero, with zero gradient. The variants take the
unpaired samples from elsewhere:

- `batch`: a batch is read as two. Acoustic latents of one half are compared with visual latents of the other
  half, both ways round. Nothing is stored between steps and both sides have a gradient. In expectation only
  -(2 / m) (E k(a_i, v_i) - E k(a_i, v_j)) is left of pair + unpaired: a weak signal, as the paper has it.
- `sample`: equation 3 for single utterances, where it is 2 - 2 k(a_i, v_j): i = j is paired, all i != j are
  unpaired.
- `hsic`: the unpaired term is minus the Hilbert-Schmidt independence criterion, which is the MMD between the
  joint distribution of two modalities and the product of their marginals. It sees the pairing as such.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mmpipe.pipeline.training.config import TrainConfig
from mmpipe.pipeline.training.layers import reverse

__all__ = [
    "MIN_ROWS",
    "hsic",
    "masked_mse",
    "matching",
    "mmd",
    "reconstruction",
]

MIN_ROWS = 4
"""Rows that a batch needs: the unbiased estimators divide by m - 1 and m - 3, and `batch` halves the
batch."""


def masked_mse(x: Tensor, target: Tensor, keep_BT: Tensor | None = None) -> Tensor:
    """Mean squared error over the entries that are not padding (equation 2).

    Args:
        x: [B, D], or [B, T, D] with a mask.
        target: of the shape of x.
        keep_BT: bool, true where a step is not padding.
    """
    error = (x - target).square()
    if keep_BT is None:
        return error.mean()
    return (error.mean(dim=2) * keep_BT).sum() / keep_BT.sum()


def reconstruction(decoded: Mapping[str, Tensor], features: Mapping[str, Tensor], keep: Mapping[str, Tensor]) -> Tensor:
    """L_rec of equation 6: the sum over modalities; the target of a sequence is the sequence reversed."""
    terms = []
    for name, x in decoded.items():
        if name in keep:
            terms.append(masked_mse(x, reverse(features[name], keep[name].sum(dim=1)), keep[name]))
        else:
            terms.append(masked_mse(x, features[name]))
    return torch.stack(terms).sum()


def _squared_distances(p_PZ: Tensor, q_QZ: Tensor) -> Tensor:
    centre_Z = p_PZ.detach().mean(dim=0)  # distances far from the origin would lose the digits of the squares
    p_PZ, q_QZ = p_PZ - centre_Z, q_QZ - centre_Z
    products_PQ = p_PZ @ q_QZ.T
    return (p_PZ.square().sum(1)[:, None] + q_QZ.square().sum(1) - 2 * products_PQ).clamp(min=0)


def _median_distance(x_BZ: Tensor) -> Tensor:
    """Median of the distances between rows: a bandwidth. Detached, and never zero."""
    return torch.pdist(x_BZ.detach()).quantile(0.5).clamp(min=1e-6)


def _gaussian(p_PZ: Tensor, q_QZ: Tensor, sigma: Tensor | float, scales: Sequence[float] = (1.0,)) -> Tensor:
    """Gaussian kernel of all pairs [P, Q] (equation 4); of several `scales` the mean over sigma times each."""
    exponents_PQ = -_squared_distances(p_PZ, q_QZ) / (2 * sigma**2)
    return torch.stack([torch.exp(exponents_PQ / scale**2) for scale in scales]).mean(dim=0)


def _mean_off_diagonal(kernel_BB: Tensor) -> Tensor:
    rows = len(kernel_BB)
    return (kernel_BB.sum() - kernel_BB.diagonal().sum()) / (rows * (rows - 1))


def mmd(p_PZ: Tensor, q_QZ: Tensor, sigma: Tensor | float | None = None, scales: Sequence[float] = (1.0,)) -> Tensor:
    """Maximum mean discrepancy by the unbiased estimator of equation 3; it may be slightly negative.

    Args:
        p_PZ: latents of one modality, two rows or more.
        q_QZ: latents of another modality, two rows or more.
        sigma: bandwidth; None takes the median of the pooled distances.
        scales: multiples of the bandwidth, whose kernels are averaged.
    """
    if sigma is None:
        sigma = _median_distance(torch.cat([p_PZ, q_QZ]))
    within = [_mean_off_diagonal(_gaussian(x, x, sigma, scales)) for x in (p_PZ, q_QZ)]
    return within[0] + within[1] - 2 * _gaussian(p_PZ, q_QZ, sigma, scales).mean()


def hsic(p_BZ: Tensor, q_BZ: Tensor, sigma: float | None = None, scales: Sequence[float] = (1.0,)) -> Tensor:
    """Hilbert-Schmidt independence criterion of paired rows, unbiased (Song et al. 2012, theorem 2).

    Args:
        p_BZ: latents of one modality, four rows or more.
        q_BZ: latents of another modality of the same utterances.
        sigma: bandwidth; None takes for each side the median of its distances.
        scales: multiples of the bandwidth, whose kernels are averaged.
    """
    rows = len(p_BZ)
    others = 1 - torch.eye(rows, dtype=p_BZ.dtype, device=p_BZ.device)
    k_BB, l_BB = (_gaussian(x, x, sigma or _median_distance(x), scales) * others for x in (p_BZ, q_BZ))
    trace = (k_BB * l_BB).sum()
    sums = k_BB.sum() * l_BB.sum() / ((rows - 1) * (rows - 2))
    cross = k_BB.sum(0) @ l_BB.sum(0) * 2 / (rows - 2)
    return (trace + sums - cross) / (rows * (rows - 3))


def matching(latents: Mapping[str, Tensor], config: TrainConfig) -> tuple[Tensor, Tensor]:
    """L_pair and L_unpaired of equations 6 and 7: the first modality against each of the others.

    Args:
        latents: [B, Z] by modality, `MIN_ROWS` rows or more, paired by row.
        config: matching variant and bandwidth.

    Returns:
        Both terms; with a single modality both are zero.
    """
    anchor, *others = latents.values()
    zero = anchor.new_zeros(())
    terms = [_match(anchor, other, config) for other in others]
    return sum((pair for pair, _ in terms), zero), sum((unpaired for _, unpaired in terms), zero)


def _match(p_BZ: Tensor, q_BZ: Tensor, config: TrainConfig) -> tuple[Tensor, Tensor]:
    sigma, scales = config.bandwidth or _median_distance(torch.cat([p_BZ, q_BZ])), config.kernels
    if config.matching == "sample":
        kernel_BB = _gaussian(p_BZ, q_BZ, sigma, scales)
        return 2 - 2 * kernel_BB.diagonal().mean(), 2 * _mean_off_diagonal(kernel_BB) - 2
    pair = mmd(p_BZ, q_BZ, sigma, scales)
    if config.matching == "hsic":
        return pair, -hsic(p_BZ, q_BZ, config.bandwidth, scales)
    half = len(p_BZ) // 2
    crossed = mmd(p_BZ[:half], q_BZ[half:], sigma, scales) + mmd(p_BZ[half:], q_BZ[:half], sigma, scales)
    return pair, -crossed / 2
