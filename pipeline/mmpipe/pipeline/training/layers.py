"""Building blocks of the auto-encoders: masks, positions, attention and Transformer blocks over unpadded steps.

Legend: B batch, T steps of a sequence, D width, N unpadded steps of a batch, H heads, W width of a head.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Block", "Layout", "mlp", "positions", "reverse"]


def _step_mask(lengths_B: Tensor, steps: int) -> Tensor:
    """Bool [B, T]: true where a step is not padding.

    Example:
        >>> _step_mask(torch.tensor([1, 3]), 3).int().tolist()
        [[1, 0, 0], [1, 1, 1]]
    """
    return torch.arange(steps, device=lengths_B.device) < lengths_B[:, None]


def reverse(x_BTD: Tensor, lengths_B: Tensor) -> Tensor:
    """The unpadded steps in reverse order, padding after them: what is reconstructed (section 3.1).

    Example:
        >>> reverse(torch.tensor([[[1.0], [2.0], [0.0]]]), torch.tensor([2])).flatten().tolist()
        [2.0, 1.0, 0.0]
    """
    steps = torch.arange(x_BTD.shape[1], device=x_BTD.device)
    source_BT = torch.where(_step_mask(lengths_B, len(steps)), lengths_B[:, None] - 1 - steps, steps)
    return x_BTD.gather(1, source_BT[..., None].expand_as(x_BTD))


def positions(steps: int, width: int) -> Tensor:
    """Sinusoidal positional encodings float32 [T, D] (Vaswani et al. 2017, section 3.5)."""
    angle_TF = torch.arange(steps)[:, None] * torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    encoding_TD = torch.zeros(steps, width)
    encoding_TD[:, 0::2] = angle_TF.sin()
    encoding_TD[:, 1::2] = angle_TF.cos()[:, : width // 2]
    return encoding_TD


def mlp(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Layout:
    """Where the unpadded steps of a batch are, so that padding costs no work outside attention."""

    def __init__(self, lengths_B: Tensor, steps: int) -> None:
        mask_BT = _step_mask(lengths_B, steps)
        self.batch, self.steps = mask_BT.shape
        self.index_N = mask_BT.flatten().nonzero()[:, 0]
        self.full = len(self.index_N) == mask_BT.numel()
        self.keys_B11T = None if self.full else mask_BT[:, None, None]

    def pack(self, x_BTD: Tensor) -> Tensor:
        """Unpadded steps [N, D]."""
        flat = x_BTD.flatten(0, 1)
        return flat if self.full else flat.index_select(0, self.index_N)

    def pad(self, x_ND: Tensor) -> Tensor:
        """Steps [B, T, D], zero where padded."""
        if self.full:
            return x_ND.view(self.batch, self.steps, -1)
        flat = x_ND.new_zeros(self.batch * self.steps, x_ND.shape[1]).index_copy(0, self.index_N, x_ND)
        return flat.view(self.batch, self.steps, -1)


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        inner = heads * -(-width // heads)
        self.query = nn.Linear(width, inner)
        self.key_value = nn.Linear(width, 2 * inner)
        self.output = nn.Linear(inner, width)

    def forward(self, query_ND: Tensor, memory_ND: Tensor, layout: Layout) -> Tensor:
        q_BHTW, k_BHTW, v_BHTW = (
            layout.pad(x).view(layout.batch, layout.steps, self.heads, -1).transpose(1, 2)
            for x in (self.query(query_ND), *self.key_value(memory_ND).chunk(2, dim=1))
        )
        heads_BHTW = F.scaled_dot_product_attention(q_BHTW, k_BHTW, v_BHTW, attn_mask=layout.keys_B11T)
        mixed_ND: Tensor = self.output(layout.pack(heads_BHTW.transpose(1, 2).flatten(2)))
        return mixed_ND


class Block(nn.Module):
    """A Transformer block; with `memory` it is a decoder's, which also attends to the memory."""

    def __init__(self, width: int, heads: int, dropout: float, *, memory: bool) -> None:
        super().__init__()
        self.attention = _Attention(width, heads)
        self.cross = _Attention(width, heads) if memory else None
        self.feed_forward = mlp((width, 2 * width, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3 if memory else 2))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_ND: Tensor, layout: Layout, memory_ND: Tensor | None = None) -> Tensor:
        x_ND = self.norms[0](x_ND + self.dropout(self.attention(x_ND, x_ND, layout)))
        if self.cross is not None:
            x_ND = self.norms[1](x_ND + self.dropout(self.cross(x_ND, memory_ND, layout)))
        x_ND = self.norms[-1](x_ND + self.dropout(self.feed_forward(x_ND)))
        return x_ND
