"""A text keeps its bits in any company, at the width of BERT-large; where products would change them, it is alone."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmpipe.core.errors import Rejected
from mmpipe.extractors.contract import Row
from mmpipe.extractors.text.encoder import Bert, BertConfig
from mmpipe.extractors.weights.checkpoints import quiet

WORDS = ["the", "cat", "unaffable", "hello", "forget", "!", "mat", "jackets"]


def random_texts(count: int, longest: int) -> list[list[str]]:
    generator = np.random.default_rng(5)
    return [[WORDS[n] for n in generator.integers(0, 8, size)] for size in generator.integers(1, longest, count)]


def rows_of(extractor: Bert, texts: Sequence[list[str]]) -> list[Row]:
    rows = list(extractor.extract(texts))
    assert not any(isinstance(row, Rejected) for row in rows), rows
    return [row for row in rows if not isinstance(row, Rejected)]


@pytest.fixture(scope="module")
def wide_bert(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of two layers with the width, heads and positions of BERT-large."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("wide-bert")
    for name in ("vocab.txt", "tokenizer_config.json"):
        shutil.copy(tiny_bert / name, folder)
    torch.manual_seed(11)
    config = BertConfig(
        vocab_size=len((folder / "vocab.txt").read_text().split()),
        hidden_size=1_024,
        num_hidden_layers=2,
        num_attention_heads=16,
        intermediate_size=4_096,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def wide(wide_bert: Path) -> Bert:
    extractor = Bert(BertConfig(model=str(wide_bert)))
    extractor.prepare()
    return extractor


def test_at_the_width_of_bert_large_a_text_has_the_same_bytes_alone_in_company_and_in_another_order(wide: Bert) -> None:
    texts = random_texts(30, 40)
    alone = [rows_of(wide, [words])[0]["features"].tobytes() for words in texts]
    generator = np.random.default_rng(1)
    for order in (np.arange(30)[::-1], generator.permutation(30), generator.permutation(30)[:9]):
        company = rows_of(wide, [texts[n] for n in order])
        assert [row["features"].tobytes() for row in company] == [alone[n] for n in order]


def test_two_threads_give_the_bytes_of_one(wide_bert: Path) -> None:
    texts = random_texts(20, 30)
    bytes_of = {}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        extractor = Bert(BertConfig(model=str(wide_bert)))
        extractor.prepare()
        bytes_of[threads] = [row["features"].tobytes() for row in rows_of(extractor, texts)]
    assert bytes_of[1] == bytes_of[2]


def test_before_the_cast_the_values_are_those_of_transformers(wide: Bert, wide_bert: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    texts = random_texts(20, 60)
    tokenised = [wide._tokenise(words)[1][0] for words in texts]
    packed = wide._embed(list(enumerate(tokenised)))
    with quiet(), torch.inference_mode():
        tokenizer: Any = AutoTokenizer.from_pretrained(wide_bert)
        model: Any = AutoModel.from_pretrained(wide_bert).eval()
        for number, (words, row) in enumerate(zip(texts, rows_of(wide, texts), strict=True)):
            encoding = tokenizer(words, is_split_into_words=True, return_tensors="pt")
            expected = model(**encoding).last_hidden_state[0, 1:-1].numpy()
            (ours,) = packed[number]
            np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)
            assert np.array_equal(row["features"], ours.astype(np.float16))


class Uneven(torch.nn.Module):
    """A linear layer that answers a little differently in the odd places of a call of more than 40 tokens."""

    def __init__(self, inner: torch.nn.Linear) -> None:
        super().__init__()
        self.inner, self.in_features = inner, inner.in_features

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.inner(tokens).clone()
        if tokens.shape[1] > 40:
            answer[:, 1::2] *= 1.001
        return answer


def uneven(folder: Path) -> Bert:
    extractor = Bert(BertConfig(model=str(folder), max_tokens=64))
    extractor.prepare()
    for layer in extractor._network.model.encoder.layer:
        layer.intermediate.dense = Uneven(layer.intermediate.dense)
    return extractor


def test_where_places_of_a_product_differ_each_text_has_a_call_of_its_own(tiny_bert: Path) -> None:
    texts = random_texts(12, 12)
    alone = [rows_of(uneven(tiny_bert), [words])[0] for words in texts]
    assert any(len(row["tokens"]) > 9 for row in alone)
    for one, other in zip(alone, rows_of(uneven(tiny_bert), texts), strict=True):
        assert np.array_equal(one["features"], other["features"])


def test_where_small_calls_differ_they_are_padded_to_the_full_size(tiny_bert: Path) -> None:
    extractor = Bert(BertConfig(model=str(tiny_bert), max_tokens=64))
    extractor.prepare()
    sizes: list[int] = []
    extractor._network.model.register_forward_pre_hook(
        lambda _, __, named: sizes.append(named["input_ids"].shape[1]), with_kwargs=True
    )
    rows_of(extractor, [["the", "cat"]])
    extractor._network._sizes[32] = False
    rows_of(extractor, [["the", "cat"]])
    assert sizes == [32, 2_048]
