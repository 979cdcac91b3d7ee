"""The terms of the objective equal their formulas, written out in NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch

from mmpipe.pipeline.training.config import make_config
from mmpipe.pipeline.training.losses import hsic, masked_mse, matching, mmd, reconstruction

Array = npt.NDArray[np.float64]


def pair(rows: int = 12, width: int = 5, shift: float = 0.0) -> tuple[Array, Array]:
    generator = np.random.default_rng(0)
    return generator.normal(size=(rows, width)), generator.normal(size=(rows, width)) + shift


def kernel(p: Array, q: Array, sigma: float) -> Array:
    return np.array([[np.exp(-np.sum((x - y) ** 2) / (2 * sigma**2)) for y in q] for x in p])


def test_mmd_is_equation_3() -> None:
    p, q = pair()
    m, k, l_, c = len(p), kernel(p, p, 1.3), kernel(q, q, 1.3), kernel(p, q, 1.3)
    expected = (k.sum() - np.trace(k) + l_.sum() - np.trace(l_)) / (m * (m - 1)) - 2 * c.mean()
    assert mmd(torch.tensor(p), torch.tensor(q), 1.3).item() == pytest.approx(expected, abs=1e-12)


def test_mmd_tells_distributions_apart() -> None:
    near, far = pair(rows=400), pair(rows=400, shift=2.0)
    assert abs(mmd(torch.tensor(near[0]), torch.tensor(near[1])).item()) < 0.01
    assert mmd(torch.tensor(far[0]), torch.tensor(far[1])).item() > 0.2


def test_mmd_does_not_see_the_order_of_rows() -> None:
    p, q = map(torch.tensor, pair())
    shuffled = q[torch.randperm(len(q), generator=torch.Generator().manual_seed(1))]
    assert mmd(p, q, 1.0).item() == pytest.approx(mmd(p, shuffled, 1.0).item(), abs=1e-12)


def test_hsic_is_the_sum_over_distinct_rows() -> None:
    p, q = pair(rows=6)
    k, l_ = kernel(p, p, 1.1), kernel(q, q, 1.1)
    rows = range(6)
    distinct = [(i, j, a, b) for i in rows for j in rows for a in rows for b in rows if len({i, j, a, b}) == 4]
    expected = np.mean([k[i, j] * (l_[i, j] + l_[a, b] - 2 * l_[i, a]) for i, j, a, b in distinct])
    assert hsic(torch.tensor(p), torch.tensor(q), 1.1).item() == pytest.approx(expected, abs=1e-12)


def test_hsic_sees_the_pairing() -> None:
    p, _ = map(torch.tensor, pair(rows=60))
    shuffled = p[torch.randperm(60, generator=torch.Generator().manual_seed(1))]
    assert hsic(p, p).item() > 5 * abs(hsic(p, shuffled).item())


@pytest.mark.parametrize("variant", ["batch", "sample", "hsic"])
def test_every_variant_has_a_gradient_on_both_sides(variant: str) -> None:
    latents = {name: torch.tensor(x, requires_grad=True) for name, x in zip("av", pair(), strict=True)}
    closer, further = matching(latents, make_config(matching=variant))
    (closer + further).backward()  # type: ignore[no-untyped-call]
    assert all(z.grad is not None and z.grad.abs().sum() > 0 for z in latents.values())


def test_the_first_modality_is_matched_with_each_other_one() -> None:
    a, v = map(torch.tensor, pair())
    config = make_config(bandwidth=1.0)
    both = matching({"a": a, "v": v, "l": v + 1}, config)[0]
    assert both.item() == pytest.approx((mmd(a, v, 1.0) + mmd(a, v + 1, 1.0)).item())
    assert matching({"a": a}, config)[0].item() == 0


def test_padding_has_no_share_in_the_squared_error() -> None:
    x, target = torch.zeros(1, 3, 2), torch.tensor([[[1.0, 1], [3, 3], [9, 9]]])
    assert masked_mse(x, target, torch.tensor([[True, True, False]])).item() == pytest.approx((1 + 9) / 2)


def test_a_sequence_is_compared_with_its_reverse() -> None:
    x = torch.tensor([[[1.0], [2.0], [0.0]]])
    keep = {"v": torch.tensor([[True, True, False]])}
    assert reconstruction({"v": torch.tensor([[[2.0], [1.0], [7.0]]])}, {"v": x}, keep).item() == 0


@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_in_single_precision_mmd_and_hsic_agree_to_a_millionth_wherever_the_latents_lie(offset: float) -> None:
    p, q = (x.astype(np.float32).astype(np.float64) + offset for x in pair(rows=64, shift=0.5))
    m, k, l_, c = len(p), kernel(p, p, 1.3), kernel(q, q, 1.3), kernel(p, q, 1.3)
    expected = (k.sum() - np.trace(k) + l_.sum() - np.trace(l_)) / (m * (m - 1)) - 2 * c.mean()
    single = [torch.tensor(x, dtype=torch.float32) for x in (p, q)]
    off = 0 if offset == 0 else 1e-5  # float32 holds numbers near 30 to 2e-6
    assert mmd(single[0], single[1], 1.3).item() == pytest.approx(expected, abs=1e-6 + off)
    k, l_ = k - np.diag(np.diag(k)), l_ - np.diag(np.diag(l_))
    cross = 2 / (m - 2) * k.sum(0) @ l_.sum(0)
    unbiased = (np.sum(k * l_) + k.sum() * l_.sum() / ((m - 1) * (m - 2)) - cross) / (m * (m - 3))
    assert hsic(single[0], single[1], 1.3).item() == pytest.approx(unbiased, abs=1e-6 + off)


def test_several_kernels_are_the_mean_of_their_mmds() -> None:
    p, q = map(torch.tensor, pair())
    each = [mmd(p, q, sigma).item() for sigma in (0.5, 1.0, 2.0)]
    assert mmd(p, q, 1.0, (0.5, 1.0, 2.0)).item() == pytest.approx(np.mean(each), abs=1e-12)


@pytest.mark.parametrize("loss", [mmd, hsic])
def test_gradients_equal_finite_differences(loss: Callable[..., torch.Tensor]) -> None:
    p, q = (torch.tensor(x, requires_grad=True) for x in pair(rows=6, width=3))
    assert torch.autograd.gradcheck(lambda x, y: loss(x, y, 1.2), (p, q))


@pytest.mark.parametrize("variant", ["batch", "sample", "hsic"])
def test_every_variant_sees_the_pairing_that_shuffling_within_the_batch_hides_from_equation_3(variant: str) -> None:
    """Equation 3 read literally gives pair + unpaired = 0 and no gradient; every variant gives another value."""
    p, _ = map(torch.tensor, pair(rows=64))
    latents = p.clone().requires_grad_(), (p + 0.1).requires_grad_()
    order = torch.randperm(64, generator=torch.Generator().manual_seed(2))
    literal = mmd(*latents, 1.0) - mmd(latents[0], latents[1][order], 1.0)
    gradients = torch.autograd.grad(literal, latents)
    assert abs(literal.item()) < 1e-12 and max(g.abs().max().item() for g in gradients) < 1e-12
    config = make_config(matching=variant, bandwidth=1.0)
    paired = sum(matching({"a": p, "v": p + 0.1}, config)).item()  # type: ignore[union-attr]
    shuffled = sum(matching({"a": p, "v": (p + 0.1)[order]}, config)).item()  # type: ignore[union-attr]
    assert paired < shuffled - 1e-4
