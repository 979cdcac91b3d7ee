"""What every extractor of the registry promises, whatever it computes."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pydantic
import pytest

from mmpipe.core.errors import Rejected, UsageError
from mmpipe.extractors import contract
from mmpipe.extractors.contract import Audio, Extractor, ExtractorConfig, Frame, Row
from mmpipe.extractors.registry import EXTRACTORS

from .conftest import scene

NAMES = sorted(EXTRACTORS.own)


def _audio() -> list[Any]:
    generator = np.random.default_rng(0)
    waves = [generator.uniform(-0.3, 0.3, n).astype(np.float32) for n in (8_000, 12_345, 100, 16_000)]
    return [Audio(waveform) for waveform in waves]


def _crops() -> list[Any]:
    return [np.random.default_rng(n).integers(0, 256, (n, 64, 64), np.uint8) for n in (3, 1, 40, 5)]


def _words() -> list[Any]:
    return [["the", "cat", "sat"], ["unaffable"], ["  ", ""], ["hello", "world", "!"] * 9, ["the", "mat"]]


def _frames() -> list[Any]:
    pictures = [scene((40, 20, 128)), scene(), scene((150, 90, 160)), scene((60, 80, 128), gray=150)]

    def clip(name: str, numbers: list[int]) -> list[Frame]:
        return [Frame(pictures[n], 10 * i, 0.4 * i, f"{name}/{n}") for i, n in enumerate(numbers)]

    return [clip("a", [0, 1, 2]), clip("b", [1, 1]), clip("c", [2, 3, 0, 3]), []]


ITEMS: dict[str, Callable[[], list[Any]]] = {
    "audio": _audio,
    "crops": _crops,
    "frames": _frames,
    "words": _words,
}


@pytest.fixture(params=NAMES)
def make(
    request: pytest.FixtureRequest, tiny_bert: Path, tiny_speech: Path, expression_weights: Path
) -> Callable[[], Extractor]:
    options: dict[str, dict[str, Any]] = {
        "bert": {"model": str(tiny_bert), "max_tokens": 64},
        "densenet-ferplus": {"weights": expression_weights},
        "speech-encoder": {"model": str(tiny_speech), "pool": "none"},
    }
    kind = EXTRACTORS.load(request.param)
    return lambda: kind(kind.Config(**options.get(request.param, {})))


@pytest.fixture
def extractor(make: Callable[[], Extractor]) -> Extractor:
    made = make()
    made.prepare()
    return made


def _equal(a: Row | Rejected, b: Row | Rejected) -> bool:
    if isinstance(a, Rejected) or isinstance(b, Rejected):
        return isinstance(a, Rejected) and isinstance(b, Rejected) and (a.status, a.message) == (b.status, b.message)
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_every_name_of_the_registry_loads_an_extractor() -> None:
    for name in NAMES:
        kind = EXTRACTORS.load(name)
        assert issubclass(kind, Extractor)
        assert kind.input in contract.InputKind.__args__  # type: ignore[attr-defined]


def test_an_unknown_name_is_answered_with_the_valid_ones() -> None:
    valid = "bert, densenet-ferplus, egemaps, face-crops, is10, speech-encoder"
    with pytest.raises(UsageError, match=f"'is11' does not exist .did you mean is10..; valid names: {valid}"):
        EXTRACTORS.load("is11")


def test_a_config_is_frozen_documented_and_refuses_unknown_fields(extractor: Extractor) -> None:
    kind = type(extractor).Config
    assert issubclass(kind, ExtractorConfig)
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        setattr(extractor.config, next(iter(kind.model_fields)), None)
    with pytest.raises(pydantic.ValidationError, match="Extra inputs"):
        kind(no_such_field=1)  # type: ignore[call-arg]
    assert kind.model_validate_json(extractor.config.model_dump_json()) == extractor.config


def test_values_are_named_by_versions_and_hashes_before_anything_is_loaded(
    make: Callable[[], Extractor],
) -> None:
    extractor = make()
    for name, version in extractor.versions().items():
        assert importlib.metadata.version(name) == version
    for digest in extractor.weights().values():
        assert len(bytes.fromhex(digest)) == 32
    assert extractor.columns()


def test_rows_fit_the_columns(extractor: Extractor) -> None:
    columns = {field.name: field.type for field in extractor.columns()}
    rows = [row for row in extractor.extract(ITEMS[extractor.input]()) if not isinstance(row, Rejected)]
    assert rows
    for name, kind in columns.items():
        assert len(pa.array([_plain(row[name]) for row in rows], kind)) == len(rows)
    assert all(row.keys() == columns.keys() for row in rows)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, np.ndarray) else value


def test_every_item_is_answered_in_order(extractor: Extractor) -> None:
    items = ITEMS[extractor.input]()
    answers = list(extractor.extract(items))
    assert len(answers) == len(items)
    assert list(extractor.extract([])) == []
    for item, answer in zip(ITEMS[extractor.input](), answers, strict=True):
        assert _equal(answer, next(extractor.extract([item])))


def test_a_row_does_not_depend_on_its_neighbours_or_on_the_rows_before(
    make: Callable[[], Extractor], extractor: Extractor
) -> None:
    items = ITEMS[extractor.input]()
    expected = list(extractor.extract(items))
    order = [2, 0, 3, 1, 0, 2]
    fresh = make()
    fresh.prepare()
    for again in (extractor, fresh):
        answers = list(again.extract(iter([items[n] for n in order])))
        assert all(_equal(answer, expected[n]) for answer, n in zip(answers, order, strict=True))


def test_items_may_come_lazily(extractor: Extractor) -> None:
    def items() -> Iterator[Any]:
        yield from ITEMS[extractor.input]()

    assert len(list(extractor.extract(items()))) == len(ITEMS[extractor.input]())


def test_one_failing_item_costs_its_own_row_only() -> None:
    class Reciprocal(contract.PerItemExtractor):
        input = "words"
        Config = ExtractorConfig

        def columns(self) -> list[pa.Field]:
            return [pa.field("value", pa.float64())]

        def weights(self) -> dict[str, str]:
            return {}

        def versions(self) -> dict[str, str]:
            return {}

        def extract_one(self, item: Any) -> Row:
            if item is None:
                raise Rejected("no_text", "nothing")
            return {"value": 1 / item}

    answers = list(Reciprocal(ExtractorConfig()).extract([2, 0, None, 4]))
    assert answers[0] == {"value": 0.5} and answers[3] == {"value": 0.25}
    failed, rejected = answers[1], answers[2]
    assert isinstance(failed, Rejected) and isinstance(rejected, Rejected)
    assert failed.status == "extractor_error"
    assert failed.message == "Reciprocal: ZeroDivisionError: division by zero"
    assert (rejected.status, rejected.message) == ("no_text", "nothing")
