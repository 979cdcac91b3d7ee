"""Fast training passes of the expression network: the function and the gradients of torchvision's modules.

Legend: R rows (batch x height x width), C channels, O output channels, N batch, H height, W width.

A dense block normalises every feature map once for each later layer that reads it. The statistics are the same each
time, so here a map is normalised once, and a layer applies only its own scale and shift (memory-efficient DenseNets,
Pleiss et al. 2017, share the storage in the same way). Maps are bfloat16 rows by channels; rows are worked through in
pieces that stay in a core's cache; activations are computed again in the backward pass. Parameters, statistics and
their gradients stay float32.
"""

from __future__ import annotations

import ctypes
import functools
import math
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmpipe.core.errors import UsageError
from mmpipe.extractors.faces.densenet import FerplusDenseNet

__all__ = ["LOW", "DensePasses"]

_PIECE = 8192
"""Rows worked on at a time: few enough for a cache, many enough that calls cost little."""

_WIDE = 192
"""Narrower rows are folded to about this many values."""

LOW = torch.bfloat16
"""The type of maps and of the factors of matrix products."""


def _pieces(rows: int) -> Iterator[slice]:
    return (slice(start, min(start + _PIECE, rows)) for start in range(0, rows, _PIECE))


def _fold(x_RC: Tensor, *vectors_C: Tensor) -> tuple[Tensor, ...]:
    """Narrow contiguous rows as fewer wide ones, and vectors of their channels repeated: wide loops are fast."""
    rows, channels = x_RC.shape
    times = math.gcd(rows, max(1, _WIDE // channels))
    return (x_RC.view(rows // times, times * channels), *(vector.repeat(times) for vector in vectors_C))


def _unfold_sum(sums: Tensor, channels: int) -> Tensor:
    return sums.view(len(sums), -1, channels).sum(1)


def _activate(out_RC: Tensor, x_RC: Tensor, scale_C: Tensor, shift_C: Tensor) -> None:
    out_RC.copy_(torch.relu(x_RC.float() * scale_C + shift_C))


def _activate_backward(
    out_RC: Tensor, grad_RC: Tensor, x_RC: Tensor, scale_C: Tensor, shift_C: Tensor, sums_2C: Tensor
) -> None:
    """Gradient of x into `out`; the sums that make the gradients of shift and scale added to `sums`."""
    x = x_RC.float()
    grad = torch.where(x * scale_C + shift_C > 0, grad_RC.float(), 0.0)
    out_RC.copy_(grad * scale_C)
    sums_2C.add_(torch.stack([grad.sum(0), (grad * x).sum(0)]))


def _activate_add(
    out_RC: Tensor,
    grad_RC: Tensor,
    x_RC: Tensor,
    scale_C: Tensor,
    shift_C: Tensor,
    total_RC: Tensor,
    sums_2C: Tensor,
) -> None:
    """The activation again into `out`, the gradient of x added to `total`, and the sums as above."""
    x = x_RC.float()
    active = x * scale_C + shift_C
    grad = torch.where(active > 0, grad_RC.float(), 0.0)
    out_RC.copy_(torch.relu(active))
    total_RC.copy_(total_RC.float() + grad * scale_C)
    sums_2C.add_(torch.stack([grad.sum(0), (grad * x).sum(0)]))


def _moments(x_RC: Tensor, sums_2C: Tensor) -> None:
    x = x_RC.float()
    sums_2C.add_(torch.stack([x.sum(0), (x * x).sum(0)]))


def _normalise(out_RC: Tensor, x_RC: Tensor, mean_C: Tensor, inverse_C: Tensor) -> None:
    out_RC.copy_((x_RC.float() - mean_C) * inverse_C)


def _products(grad_RC: Tensor, x_RC: Tensor, sums_2C: Tensor) -> None:
    grad = grad_RC.float()
    sums_2C.add_(torch.stack([grad.sum(0), (grad * x_RC.float()).sum(0)]))


def _normalise_backward(
    out_RC: Tensor, grad_RC: Tensor, x_RC: Tensor, mean_C: Tensor, slope_C: Tensor, inverse_C: Tensor
) -> None:
    out_RC.copy_((grad_RC.float() - mean_C - x_RC.float() * slope_C) * inverse_C)


class _Kernels:
    """The element-wise passes: in torch, or as loops in C, each of which does several of torch's at once."""

    def __init__(self, native: bool) -> None:
        library = _compiled() if native else None

        def ready(function: Callable[..., None]) -> Callable[..., None]:
            return function if library is None else _native(getattr(library, function.__name__.lstrip("_")))

        self.activate = ready(_activate)
        self.activate_backward = ready(_activate_backward)
        self.activate_add = ready(_activate_add)
        self.moments = ready(_moments)
        self.normalise = ready(_normalise)
        self.products = ready(_products)
        self.normalise_backward = ready(_normalise_backward)


@functools.cache
def _compiled() -> ctypes.CDLL:
    """kernels.c as a library, built for this processor.

    Raises:
        UsageError: no C compiler is there, or it fails.
    """
    source = Path(__file__).with_name("kernels.c")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "kernels.so"
        command = ["cc", "-O3", "-march=native", "-mprefer-vector-width=512", "-ffp-contract=fast", "-shared", "-fPIC"]
        try:
            subprocess.run([*command, "-o", str(target), str(source)], check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            detail = getattr(error, "stderr", None) or error
            raise UsageError(
                f"the C compiler `cc` cannot build {source.name} ({detail}): train without --native"
            ) from error
        return ctypes.CDLL(str(target))


def _native(function: Any) -> Callable[..., None]:
    """Call a loop of kernels.c with tensors: matrices pass their stride, vectors do not."""

    def call(*tensors: Tensor) -> None:
        rows, channels = tensors[0].shape
        arguments: list[Any] = [ctypes.c_long(rows), ctypes.c_long(channels)]
        for tensor in tensors:
            arguments.append(ctypes.c_void_p(tensor.data_ptr()))
            if tensor.dtype == LOW:
                arguments.append(ctypes.c_long(tensor.stride(0)))
        function(*arguments)

    return call


def _statistics(kernels: _Kernels, x_RC: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, variance and 1 / deviation of each channel of contiguous rows."""
    rows, channels = x_RC.shape
    (wide,) = _fold(x_RC)
    sums = torch.zeros(2, wide.shape[1])
    for piece in _pieces(len(wide)):
        kernels.moments(wide[piece], sums)
    mean, square = _unfold_sum(sums, channels) / rows
    variance = (square - mean * mean).clamp_min(0.0)
    return mean, variance, (variance + epsilon).rsqrt()


def _normalised(kernels: _Kernels, x_RC: Tensor, mean_C: Tensor, inverse_C: Tensor) -> Tensor:
    wide, mean, inverse = _fold(x_RC, mean_C, inverse_C)
    out = torch.empty_like(wide)
    for piece in _pieces(len(wide)):
        kernels.normalise(out[piece], wide[piece], mean, inverse)
    return out.view(x_RC.shape)


def _activated(kernels: _Kernels, x_RC: Tensor, scale_C: Tensor, shift_C: Tensor) -> Tensor:
    wide, scale, shift = _fold(x_RC, scale_C, shift_C)
    out = torch.empty_like(wide)
    for piece in _pieces(len(wide)):
        kernels.activate(out[piece], wide[piece], scale, shift)
    return out.view(x_RC.shape)


def _activated_backward(
    kernels: _Kernels, grad_RC: Tensor, x_RC: Tensor, scale_C: Tensor, shift_C: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradient of x, and the two sums [2, C]."""
    wide, scale, shift = _fold(x_RC, scale_C, shift_C)
    (grad,) = _fold(grad_RC)
    out, sums = torch.empty_like(wide), torch.zeros(2, wide.shape[1])
    for piece in _pieces(len(wide)):
        kernels.activate_backward(out[piece], grad[piece], wide[piece], scale, shift, sums)
    return out.view(x_RC.shape), _unfold_sum(sums, x_RC.shape[1])


def _track(norm: nn.BatchNorm2d, mean_C: Tensor, variance_C: Tensor, rows: int) -> None:
    """Update a layer's running statistics as BatchNorm does."""
    assert norm.running_mean is not None and norm.running_var is not None and norm.momentum is not None
    norm.running_mean.lerp_(mean_C, norm.momentum)
    norm.running_var.lerp_(variance_C * (rows / (rows - 1)), norm.momentum)
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)


class _AffineRelu(torch.autograd.Function):
    """relu(x * scale + shift) for x that is normalised already."""

    @staticmethod
    def forward(ctx: Any, kernels: _Kernels, x_RC: Tensor, scale_C: Tensor, shift_C: Tensor) -> Tensor:
        ctx.kernels = kernels
        ctx.save_for_backward(x_RC, scale_C, shift_C)
        scale_C, shift_C = scale_C.detach(), shift_C.detach()
        return _activated(kernels, x_RC, scale_C, shift_C)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, Tensor, Tensor]:
        x_RC, scale_C, shift_C = (value.detach() for value in ctx.saved_tensors)
        out_RC, sums = _activated_backward(ctx.kernels, grads[0].contiguous(), x_RC, scale_C, shift_C)
        return None, out_RC, sums[1], sums[0]


class _Block(torch.autograd.Function):
    """A dense block: raw maps in, all maps of the block normalised (but for scale and shift) out."""

    @staticmethod
    def forward(
        ctx: Any,
        kernels: _Kernels,
        layers: list[Any],
        last_norm: nn.BatchNorm2d,
        x_NHWC: Tensor,
        *parameters: Tensor,
    ) -> Tensor:
        batch, height, width, first = x_NHWC.shape
        rows, channels = batch * height * width, last_norm.num_features
        growth = (channels - first) // len(layers)
        epsilon = last_norm.eps
        maps_RC = torch.empty(rows, channels, dtype=LOW)
        mean, variance, inverse = torch.empty(channels), torch.empty(channels), torch.empty(channels)
        inner: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

        def append(raw_RC: Tensor, start: int) -> None:
            end = start + raw_RC.shape[1]
            mean[start:end], variance[start:end], inverse[start:end] = _statistics(kernels, raw_RC, epsilon)
            maps_RC[:, start:end] = _normalised(kernels, raw_RC, mean[start:end], inverse[start:end])

        append(x_NHWC.reshape(rows, first), 0)
        for number, layer in enumerate(layers):
            scale1, shift1, weight1, scale2, shift2, weight2 = _values(parameters, number)
            end = first + number * growth
            middle_RC = torch.empty(rows, weight1.shape[0], dtype=LOW)
            matrix = weight1[:, :, 0, 0].to(LOW).t()
            active_RC = torch.empty(min(rows, _PIECE), end, dtype=LOW)
            for piece in _pieces(rows):
                active = active_RC[: piece.stop - piece.start]
                kernels.activate(active, maps_RC[piece, :end], scale1, shift1)
                torch.mm(active, matrix, out=middle_RC[piece])
            mean2, variance2, inverse2 = _statistics(kernels, middle_RC, epsilon)
            scale, shift = scale2 * inverse2, shift2 - mean2 * scale2 * inverse2
            active_RC = _activated(kernels, middle_RC, scale, shift)
            raw = F.conv2d(_images(active_RC, batch, height, width), weight2.to(LOW), padding=1)
            append(raw.permute(0, 2, 3, 1).reshape(rows, growth), end)
            inner.append((middle_RC, mean2, inverse2, shift))
            _track(layer.norm1, mean[:end], variance[:end], rows)
            _track(layer.norm2, mean2, variance2, rows)
        _track(last_norm, mean, variance, rows)
        ctx.kernels, ctx.inner, ctx.shape = kernels, inner, (batch, height, width, first, growth)
        ctx.maps, ctx.inverse = maps_RC, inverse
        ctx.save_for_backward(*parameters)
        return maps_RC.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        kernels, maps_RC = ctx.kernels, ctx.maps
        batch, height, width, first, growth = ctx.shape
        rows, total_RC = len(maps_RC), grads[0].contiguous().clone()
        parameters = ctx.saved_tensors
        found: list[Tensor] = []

        def raw_gradient(start: int, end: int) -> Tensor:
            """Gradient of the raw maps start..end from that of the normalised ones."""
            grad_RC, x_RC = total_RC[:, start:end].contiguous(), maps_RC[:, start:end].contiguous()
            return _through_norm(kernels, grad_RC, x_RC, ctx.inverse[start:end])

        for number in reversed(range(len(ctx.inner))):
            scale1, shift1, weight1, scale2, _, weight2 = _values(parameters, number)
            middle_RC, mean2, inverse2, shift = ctx.inner[number]
            end = first + number * growth
            raw_grad = _images(raw_gradient(end, end + growth), batch, height, width)
            scale = scale2 * inverse2
            active_RC = _activated(kernels, middle_RC, scale, shift)
            grad_active, grad_weight2, _ = torch.ops.aten.convolution_backward(
                raw_grad,
                _images(active_RC, batch, height, width),
                weight2.to(LOW),
                None,
                [1, 1],
                [1, 1],
                [1, 1],
                False,
                [0, 0],
                1,
                [True, True, False],
            )
            grad_active_RC = grad_active.permute(0, 2, 3, 1).reshape(rows, -1)
            grad_middle_RC, grad_scale2, grad_shift2 = _through_inner(
                kernels, grad_active_RC, middle_RC, scale, shift, mean2, inverse2
            )
            matrix = weight1[:, :, 0, 0].to(LOW)
            grad_weight1 = torch.zeros_like(weight1[:, :, 0, 0])
            sums = torch.zeros(2, end)
            active_RC = torch.empty(min(rows, _PIECE), end, dtype=LOW)
            for piece in _pieces(rows):
                active = active_RC[: piece.stop - piece.start]
                grad_RC = torch.mm(grad_middle_RC[piece], matrix)
                kernels.activate_add(active, grad_RC, maps_RC[piece, :end], scale1, shift1, total_RC[piece, :end], sums)
                grad_weight1 += torch.mm(grad_middle_RC[piece].t(), active)
            found[:0] = [
                sums[1],
                sums[0],
                grad_weight1[:, :, None, None],
                grad_scale2,
                grad_shift2,
                grad_weight2.float(),
            ]
        grad_x = raw_gradient(0, first).view(batch, height, width, first)
        return None, None, None, grad_x, *found


def _values(parameters: Sequence[Tensor], layer: int) -> list[Tensor]:
    """The six tensors of a layer; as parameters they would be compiled again for every shape."""
    return [parameter.detach() for parameter in parameters[6 * layer : 6 * layer + 6]]


def _images(x_RC: Tensor, batch: int, height: int, width: int) -> Tensor:
    """Rows by channels as images [N, C, H, W] in channels-last memory, without a copy."""
    return x_RC.view(batch, height, width, -1).permute(0, 3, 1, 2)


def _through_norm(kernels: _Kernels, grad_RC: Tensor, x_RC: Tensor, inverse_C: Tensor) -> Tensor:
    """Gradient through a normalisation whose output is x."""
    rows, channels = x_RC.shape
    (x,), (grad, inverse) = _fold(x_RC), _fold(grad_RC, inverse_C)
    sums = torch.zeros(2, x.shape[1])
    for piece in _pieces(len(x)):
        kernels.products(grad[piece], x[piece], sums)
    mean, slope = (_unfold_sum(sums, channels) / rows).repeat(1, x.shape[1] // channels)
    out = torch.empty_like(grad)
    for piece in _pieces(len(x)):
        kernels.normalise_backward(out[piece], grad[piece], x[piece], mean, slope, inverse)
    return out.view(x_RC.shape)


def _through_inner(
    kernels: _Kernels,
    grad_RC: Tensor,
    middle_RC: Tensor,
    scale_C: Tensor,
    shift_C: Tensor,
    mean_C: Tensor,
    inverse_C: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the raw middle maps, and of the scale and shift of their norm (batch statistics included)."""
    rows = len(middle_RC)
    out_RC, sums = _activated_backward(kernels, grad_RC, middle_RC, scale_C, shift_C)
    grad_shift, grad_scale = sums[0], (sums[1] - mean_C * sums[0]) * inverse_C
    # out holds scale * grad of the activation; what the batch statistics take away is linear in the raw map.
    slope_C = grad_scale * scale_C * inverse_C / rows
    offset_C = grad_shift * scale_C / rows - mean_C * slope_C
    (out, offset, slope, one), (middle,) = (
        _fold(out_RC, offset_C, slope_C, torch.ones_like(mean_C)),
        _fold(middle_RC),
    )
    for piece in _pieces(len(out)):
        kernels.normalise_backward(out[piece], out[piece], middle[piece], offset, slope, one)
    return out_RC, grad_scale, grad_shift


class DensePasses:
    """Training passes of a `FerplusDenseNet`: logits with gradients for its parameters, running statistics updated.

    Args:
        network: the network whose parameters are used and whose running statistics are updated.
        native: run the element-wise passes in C, about twice as fast (needs a C compiler).
    """

    def __init__(self, network: FerplusDenseNet, *, native: bool) -> None:
        self.network, self.kernels = network, _Kernels(native)

    def __call__(self, faces_N1HW: Tensor) -> Tensor:
        """Normalised faces float32 [N, 1, H, W] to logits float32 [N, 8] in training mode.

        Args:
            faces_N1HW: the faces; H and W are multiples of 8.
        """
        parts: Any = self.network.features
        images = faces_N1HW.to(LOW, memory_format=torch.channels_last)
        x_NHWC = F.conv2d(images, parts.conv0.weight.to(LOW), stride=2, padding=1).permute(0, 2, 3, 1)
        for number in (1, 2, 3):
            block = list(getattr(parts, f"denseblock{number}").values())
            norm = getattr(parts, f"transition{number}").norm if number < 3 else parts.norm5
            maps_RC = self._block(block, norm, x_NHWC)
            batch, height, width, _ = x_NHWC.shape
            maps = _images(_AffineRelu.apply(self.kernels, maps_RC, norm.weight, norm.bias), batch, height, width)
            if number == 3:
                break
            # The 1x1 convolution and the average commute: averaging first leaves a quarter of the products.
            maps = F.avg_pool2d(maps, 2)
            weight = getattr(parts, f"transition{number}").conv.weight
            x_NHWC = F.conv2d(maps, weight.to(LOW)).permute(0, 2, 3, 1)
        features = maps.float().mean(dim=(2, 3))
        return cast(Tensor, self.network.classifier(features))

    def _block(self, layers: list[Any], norm: nn.BatchNorm2d, x_NHWC: Tensor) -> Tensor:
        parameters = [
            parameter
            for layer in layers
            for module in (layer.norm1, layer.conv1, layer.norm2, layer.conv2)
            for parameter in module.parameters()
        ]
        return cast(Tensor, _Block.apply(self.kernels, layers, norm, x_NHWC, *parameters))
