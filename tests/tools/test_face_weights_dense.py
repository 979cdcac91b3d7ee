"""The fast training passes compute what torchvision's modules compute."""

from __future__ import annotations

import copy
import shutil
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tools.face_weights import dense
from tools.face_weights.dense import DensePasses

from mmpipe.extractors.faces.densenet import FerplusDenseNet


@pytest.fixture
def networks() -> tuple[FerplusDenseNet, FerplusDenseNet]:
    """A network with norms of random scale and shift, and its twin."""
    torch.manual_seed(0)
    network = FerplusDenseNet().train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0.0, 0.3)
    return network, copy.deepcopy(network)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(6, 1, 32, 32, generator=generator), torch.rand(6, 8, generator=generator).softmax(1)


def gradients(forward: Any, network: FerplusDenseNet) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    images, targets = batch()
    logits = forward(images)
    return logits, torch.autograd.grad(F.cross_entropy(logits, targets), list(network.parameters()))


def test_in_float32_logits_gradients_and_running_statistics_are_those_of_the_modules(
    networks: tuple[FerplusDenseNet, FerplusDenseNet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dense, "LOW", torch.float32)
    network, twin = networks
    logits, got = gradients(DensePasses(network, native=False), network)
    expected_logits, expected = gradients(twin, twin)
    torch.testing.assert_close(logits, expected_logits, atol=1e-4, rtol=1e-4)
    for (name, _), one, other in zip(network.named_parameters(), got, expected, strict=True):
        assert float((one - other).norm()) <= 0.02 * float(other.norm()), name
    for one, other in zip(network.buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_the_loops_in_c_do_what_those_in_torch_do() -> None:
    generator = torch.Generator().manual_seed(2)

    def matrix(columns: int) -> torch.Tensor:
        return torch.randn(40, columns, generator=generator).to(torch.bfloat16)

    def vector() -> torch.Tensor:
        return torch.randn(33, generator=generator)

    wide, grad, total, sums = matrix(50)[:, :33], matrix(33), matrix(60)[:, 5:38], torch.zeros(2, 33)
    calls: dict[str, list[torch.Tensor]] = {
        "activate": [wide, vector(), vector()],
        "activate_backward": [grad, wide, vector(), vector(), sums],
        "activate_add": [grad, wide, vector(), vector(), total, sums],
        "normalise": [wide, vector(), vector()],
        "normalise_backward": [grad, wide, vector(), vector(), vector()],
        "moments": [wide, sums],
        "products": [grad, wide, sums],
    }
    ours, theirs = dense._Kernels(native=True), dense._Kernels(native=False)
    for name, arguments in calls.items():
        results = []
        for kernels in (ours, theirs):
            tensors = [tensor.clone() if tensor is sums else _twin(tensor) for tensor in arguments]
            if name not in ("moments", "products"):
                tensors.insert(0, torch.zeros(40, 33, dtype=torch.bfloat16))
            getattr(kernels, name)(*tensors)
            results.append(tensors)
        assert any(tensor.count_nonzero() for tensor in results[0]), name
        for one, other in zip(*results, strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=0.01, msg=name)


def _twin(tensor: torch.Tensor) -> torch.Tensor:
    """A copy with the same strides."""
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype).copy_(tensor)
