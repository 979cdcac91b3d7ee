"""Rows of different lengths in one call of a transformers network, one after the other and without padding.

Legend: M tokens of a call, H heads, D width of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

__all__ = ["PACKED", "SIZE_STEP", "calls", "register_packed_attention"]

PACKED = "mmpipe-packed"
"""The name under which transformers knows `_packed_attention`."""

SIZE_STEP = 32
"""Calls have a multiple of this many tokens, so that few sizes occur."""


def register_packed_attention() -> None:
    """Let `attn_implementation=PACKED` choose `_packed_attention` in any network of transformers."""
    from transformers import AttentionInterface

    AttentionInterface.register(PACKED, _packed_attention)


def _packed_attention(
    module: Any,
    query_1HMD: torch.Tensor,
    key_1HMD: torch.Tensor,
    value_1HMD: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    row_lengths: Sequence[int],
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of each row of a call to itself: transformers' interface, [1, H, M, D] to [1, M, H, D].

    Padding after the last row stays zero.
    """
    assert attention_mask is None and not module.training
    output_1MHD = torch.zeros_like(query_1HMD.transpose(1, 2))
    start = 0
    for length in row_lengths:
        row = slice(start, start + length)
        mixed = torch.nn.functional.scaled_dot_product_attention(
            query_1HMD[:, :, row], key_1HMD[:, :, row], value_1HMD[:, :, row], scale=scaling
        )
        output_1MHD[:, row] = mixed.transpose(1, 2)
        start += length
    return output_1MHD, None


def calls(lengths: Sequence[int], size: int) -> list[slice]:
    """Successive rows that share a call: as few calls of at most `size` tokens as possible, about equally full.

    Example:
        >>> calls([5, 3, 4, 8, 1], size=8)
        [slice(0, 1, None), slice(1, 3, None), slice(3, 4, None), slice(4, 5, None)]
        >>> calls([30] * 6, size=160)
        [slice(0, 3, None), slice(3, 6, None)]
    """
    fewest = len(_filled(lengths, size))
    level = -(-sum(lengths) // max(1, fewest))
    while len(_filled(lengths, level)) > fewest:
        level += 1
    return _filled(lengths, level)


def _filled(lengths: Sequence[int], size: int) -> list[slice]:
    """Successive rows in calls that are closed when the next row does not fit."""
    filled, start, used = [], 0, 0
    for place, length in enumerate(lengths):
        if used + length > size and place > start:
            filled.append(slice(start, place))
            start, used = place, 0
        used += length
    return [*filled, slice(start, len(lengths))] if lengths else []
