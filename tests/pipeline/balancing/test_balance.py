"""Pseudo-labels come from the classifier, draws are equal, and a list belongs to its store."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpipe.core.errors import BusyError, TrainingError
from mmpipe.core.locks import writing_alone
from mmpipe.pipeline.balancing.draw import PAPER_LIMIT, draw_equally, draws_per_class, seeded_order
from mmpipe.pipeline.balancing.pseudo_labels import BalanceResult, balance
from mmpipe.pipeline.training.config import TrainConfig, make_config
from mmpipe.pipeline.training.run import train

from ..training.conftest import make_store


def tiny(**values: object) -> TrainConfig:
    return make_config(**({"size": "small", "batch_size": 16, "epochs": 6, "faces": 8, "words": 8} | values))


@pytest.fixture(scope="module")
def done(labeled: Path, unlabeled: Path, tmp_path_factory: pytest.TempPathFactory) -> BalanceResult:
    """A list of 40 draws of each class."""
    return balance(labeled, unlabeled, tmp_path_factory.mktemp("lists") / "a.parquet", tiny(), per_class=40)


def test_balancing_gives_equal_classes_and_the_same_bytes(
    done: BalanceResult, labeled: Path, unlabeled: Path, tmp_path: Path
) -> None:
    again = balance(labeled, unlabeled, tmp_path / "b.parquet", tiny(), per_class=40)
    assert done.after == {"anger": 40, "sadness": 40}
    assert sum(done.before.values()) == 46 and done.excluded == {"expression: no_face": 2}
    assert done.path.read_bytes() == again.path.read_bytes()
    rows = pq.read_table(done.path).to_pylist()
    assert [row["pseudo_label"] for row in rows[:4]] == ["anger", "sadness"] * 2
    assert len({(row["utterance_id"], row["draw"]) for row in rows}) == 80
    true = [row["pseudo_label"] == ("anger", "sadness")[int(row["utterance_id"][-3:]) // 6 % 2] for row in rows]
    assert np.mean(true) > 0.9


def test_a_second_balancing_into_one_list_is_refused(labeled: Path, unlabeled: Path, tmp_path: Path) -> None:
    with (
        writing_alone(tmp_path / "a.parquet", "mmpipe balance-unlabeled"),
        pytest.raises(BusyError, match=r"a\.parquet is being written .*mmpipe balance-unlabeled \(process"),
    ):
        balance(labeled, unlabeled, tmp_path / "a.parquet", tiny())
    assert list(tmp_path.iterdir()) == []


def test_a_balanced_list_is_drawn_from_and_belongs_to_its_store(
    done: BalanceResult, labeled: Path, unlabeled: Path, tmp_path: Path
) -> None:
    result = train(tiny(epochs=1), labeled, tmp_path / "run", unlabeled, done.path)
    assert result.unlabeled is not None and result.unlabeled.rows == 80
    other = make_store(tmp_path / "other", labeled=False, rows=36)
    with pytest.raises(TrainingError, match="not in"):
        train(tiny(epochs=1), labeled, tmp_path / "run2", other, done.path)


CLASSES = st.lists(st.integers(0, 3), min_size=1, max_size=40)


@given(CLASSES, st.integers(1, 30))
def test_every_beginning_of_the_draws_is_balanced_and_members_repeat_equally(classes: list[int], number: int) -> None:
    drawn = draw_equally(np.array(classes), 4, number)
    present = set(classes)
    for end in range(0, len(drawn) + 1, len(present)):
        counts = Counter(classes[place] for place, _ in drawn[:end])
        assert all(counts[k] == end // len(present) for k in present)
    assert len(drawn) == number * len(present) and len(set(drawn)) == len(drawn)
    for k in present:
        repeats = Counter(place for place, _ in drawn if classes[place] == k)
        assert max(repeats.values()) - min(repeats.get(p, 0) for p, c in enumerate(classes) if c == k) <= 1


def test_the_order_of_two_utterances_does_not_depend_on_the_others_and_seeds_differ() -> None:
    ids = [f"u{n}" for n in range(50)]
    whole = [ids[place] for place in seeded_order(ids, 3)]
    some = ids[10:30]
    assert [some[place] for place in seeded_order(some, 3)] == [i for i in whole if i in some]
    assert sorted(whole) == sorted(ids) and whole != [ids[place] for place in seeded_order(ids, 4)]


def test_draws_of_each_class_are_the_papers_or_a_fair_share() -> None:
    """Section 4.2 of the paper: 20,000 samples, 5,000 of each of its four classes."""
    assert PAPER_LIMIT == 20_000 and draws_per_class(20_000, 4) == 5_000
    assert draws_per_class(19_999, 4) == 5_000 and draws_per_class(10, 4) == 3
