"""A BERT that embeds rows of different lengths in shared calls, each row with the bits that it has alone.

Legend: M tokens of a call, W width.

The rows of a call follow one another without padding between them: matrix products, norms and activations treat every
token alike, and attention runs row by row, each in its own shape. So the bits of a row depend on its words alone as
long as neither the shape of a matrix product nor the place in it changes them, which each process proves before it
relies on it: a call has 2,048 tokens; a smaller one is used where this network's products give the same bits in both
sizes at every place, and is padded otherwise. Where even the full call gives different bits at different places, each
row has a call of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mmpipe.core.errors import WeightsError
from mmpipe.extractors.text.packing import PACKED, SIZE_STEP, calls, register_packed_attention
from mmpipe.extractors.weights.checkpoints import quiet

__all__ = ["PackedBert"]

_TOKENS_PER_CALL = 2048
"""Tokens in a call of the network. A core's matrix products reach 95 % of their best rate with BERT-large's weights;
with 128 tokens, 73 %."""


class PackedBert:
    """Tokenizer and network of a checkpoint, on a device.

    Args:
        folder: the checkpoint: config.json, safetensors weights and a tokenizer.
        max_tokens: tokens of the longest row.
        device: `cpu` or `cuda`.
        is_low: compute matrix products in bfloat16.

    Attributes:
        tokenizer: the checkpoint's tokenizer, as transformers loads it.
        model: its network, without the pooler.

    Raises:
        WeightsError: the model is not a BERT, or its tensors do not fit its config.
    """

    def __init__(self, folder: Path, max_tokens: int, device: str, *, is_low: bool) -> None:
        self._max_tokens, self._device, self._is_low = max_tokens, device, is_low
        with quiet():
            import transformers

            register_packed_attention()
            model_class: Any = transformers.BertModel
            try:
                self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
                model, info = model_class.from_pretrained(
                    folder,
                    add_pooling_layer=False,
                    attn_implementation=PACKED,
                    local_files_only=True,
                    output_loading_info=True,
                    use_safetensors=True,
                )
            except Exception as error:  # transformers raises many kinds for a file that does not fit
                raise WeightsError(f"the BERT model in {folder} cannot be loaded: {error}") from error
        if missing := sorted(info["missing_keys"]):
            raise WeightsError(
                f"the BERT model in {folder} lacks {len(missing)} of its tensors, first {missing[0]}: "
                "its weights are of another architecture than its config.json says"
            )
        self.model: Any = model.float().eval().to(device)
        self._sizes: dict[int, bool] = {}

    def embed(self, rows: list[list[int]]) -> Iterator[npt.NDArray[np.float32]]:
        """The last hidden layer float32 [T, W] of each row of token ids, in order."""
        shared = self._same_bits(self._call_size)
        lengths = [len(ids) for ids in rows]
        for call in calls(lengths, self._call_size) if shared else [slice(n, n + 1) for n in range(len(rows))]:
            hidden_MW = self._call(rows[call])
            start = 0
            for ids in rows[call]:
                yield hidden_MW[start : start + len(ids)]
                start += len(ids)

    @property
    def _call_size(self) -> int:
        """Tokens of a full call: a row must fit in."""
        return -(-max(_TOKENS_PER_CALL, self._max_tokens) // SIZE_STEP) * SIZE_STEP

    @torch.inference_mode()
    def _call(self, rows: list[list[int]]) -> npt.NDArray[np.float32]:
        """The last hidden layer float32 [M, W] of rows laid one after the other."""
        lengths = [len(row) for row in rows]
        used = sum(lengths)
        size = -(-used // SIZE_STEP) * SIZE_STEP
        if self._same_bits(self._call_size) and not self._same_bits(size):
            size = self._call_size
        ids_1M = torch.full((1, size), int(self.tokenizer.pad_token_id))
        places_1M = torch.zeros((1, size), dtype=torch.long)
        ids_1M[0, :used] = torch.tensor([token for row in rows for token in row])
        places_1M[0, :used] = torch.cat([torch.arange(length) for length in lengths])
        with self._autocast():
            output = self.model(
                input_ids=ids_1M.to(self._device), position_ids=places_1M.to(self._device), row_lengths=lengths
            )
        hidden: npt.NDArray[np.float32] = output.last_hidden_state[0].float().cpu().numpy()
        return hidden

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device, torch.bfloat16, enabled=self._is_low)

    def _same_bits(self, size: int) -> bool:
        """Whether a token gets the same bits at every place of a call of `size` tokens as it gets in a full call.

        Matrix products of other shapes, or at other places of one, may add in another order. One token of random
        numbers at all places shows that in any of its thousands of sums.
        """
        if size not in self._sizes:
            self._sizes[size] = all(
                torch.equal(self._product(product, token, size), expected.expand(size, -1))
                for product, token, expected in self._probes
            )
        return self._sizes[size]

    @functools.cached_property
    def _probes(self) -> list[tuple[Any, torch.Tensor, torch.Tensor]]:
        """A layer's kinds of matrix products, a random token for each, and the answer at the start of a full call."""
        layer = self.model.encoder.layer[0]
        generator = torch.Generator().manual_seed(0)
        probes = []
        for product in (layer.attention.self.query, layer.intermediate.dense, layer.output.dense):
            token_1W = torch.randn(1, product.in_features, generator=generator).to(self._device)
            probes.append((product, token_1W, self._product(product, token_1W, self._call_size)[:1]))
        return probes

    def _product(self, product: Any, token_1W: torch.Tensor, size: int) -> torch.Tensor:
        """The product of a call that holds one token `size` times."""
        with torch.inference_mode(), self._autocast():
            answer: torch.Tensor = product(token_1W.repeat(1, size, 1))[0]
        return answer
