"""Folds over groups are balanced, every protocol says what validates, and no group is on two sides."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from mmpipe.core.errors import TrainingError, UsageError
from mmpipe.manifests.schema import Utterance, to_table
from mmpipe.manifests.splits import Fold, check_leaks, folds

EMOTIONS = ("neutral", "joy", "anger", "sadness")


def skewed(number: int = 300, groups: int = 40, seed: int = 0, largest: float = 0.19) -> list[Utterance]:
    """Rows whose groups are as unequal as the speakers of a series: few with much to say, many with a line or two."""
    generator = np.random.default_rng(seed)
    weights = 1 / np.arange(1, groups + 1)
    weights = np.minimum(weights / weights.sum(), largest)
    owners = generator.choice(groups, number, p=weights / weights.sum())
    labels = generator.choice(EMOTIONS, number, p=(0.5, 0.2, 0.2, 0.1))
    return [
        Utterance(f"x/{n}", "x", speaker=f"s{owner}", label=str(label))
        for n, (owner, label) in enumerate(zip(owners, labels, strict=True))
    ]


def sizes(made: list[Fold]) -> list[int]:
    return [len(fold.test) for fold in made]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("number", [2, 3, 5])
def test_folds_of_unequal_groups_have_nearly_the_same_size_and_classes(number: int, seed: int) -> None:
    rows = skewed(seed=seed)
    made = folds(to_table(rows), f"groups-{number}", seed)
    assert len(made) == number and max(sizes(made)) < 1.3 * min(sizes(made))
    label = {row.utterance_id: str(row.label) for row in rows}
    for fold in made:
        shares = Counter(label[i] for i in fold.test)
        assert shares["neutral"] / len(fold.test) == pytest.approx(0.5, abs=0.15)
        assert all(shares[name] for name in EMOTIONS)


def test_folds_are_as_even_as_those_of_scikit_learn() -> None:
    for seed in range(10):
        rows = skewed(seed=seed)
        y, groups = ([getattr(row, name) for row in rows] for name in ("label", "speaker"))
        theirs = [len(test) for _, test in StratifiedGroupKFold(5).split(np.zeros(len(y)), y, groups)]
        ours = sizes(folds(to_table(rows), "groups-5"))
        assert max(ours) - min(ours) <= max(theirs) - min(theirs) + 3


@given(
    st.lists(st.tuples(st.integers(0, 12), st.sampled_from(EMOTIONS)), min_size=1),
    st.integers(2, 20),
    st.integers(0, 3),
)
def test_every_row_is_tested_once_whatever_the_groups(rows: list[tuple[int, str]], number: int, seed: int) -> None:
    table = [Utterance(f"x/{n}", "x", speaker=f"s{group}", label=label) for n, (group, label) in enumerate(rows)]
    speaker = {row.utterance_id: str(row.speaker) for row in table}
    groups = len({group for group, _ in rows})
    if groups < max(3, number):
        with pytest.raises(TrainingError, match=r"three speakers|needs \d+ speakers"):
            folds(to_table(table), f"groups-{number}", seed)
        return
    try:
        made = folds(to_table(table), f"groups-{number}", seed)
    except TrainingError as error:
        assert number == 2 and "leaves one speaker" in str(error)
        return
    check_leaks(made, speaker)
    assert sorted(i for fold in made for i in fold.test) == sorted(speaker)
    for fold in made:
        assert fold.train and fold.valid and {*fold.train, *fold.valid, *fold.test} == set(speaker)


def test_the_order_of_the_rows_has_no_effect_and_the_seed_orders_equal_groups() -> None:
    rows = [Utterance(f"x/{n}", "x", speaker=f"s{n % 20}", label="joy") for n in range(200)]
    made = folds(to_table(rows), "groups-4")
    assert [set(f.test) for f in folds(to_table(rows[::-1]), "groups-4")] == [set(f.test) for f in made]
    assert folds(to_table(rows), "groups-4", seed=1) != made == folds(to_table(rows), "groups-4")


def test_two_folds_train_on_most_of_the_other_half_and_validate_on_the_rest() -> None:
    made = folds(to_table(skewed()), "groups-2")
    for fold in made:
        assert 0.1 < len(fold.valid) / (len(fold.train) + len(fold.valid)) <= 0.25


@pytest.mark.parametrize("protocol", ["groups-1", "groups-21", "groups-05", "groups-", "groups-K", "groups-5 "])
def test_a_number_of_folds_that_cannot_be_is_refused(protocol: str) -> None:
    with pytest.raises(UsageError, match=r"does not exist; .*groups-K, clips-K, loso, column \(K from 2 to 20\)"):
        folds(to_table(skewed()), protocol)


def test_fewer_groups_than_folds_are_refused_and_auto_takes_what_there_is() -> None:
    rows = [Utterance(f"x/{n}", "x", speaker=f"s{n % 4}", label="joy") for n in range(40)]
    with pytest.raises(TrainingError, match=r"groups-9 needs 9 speakers .* has 4: take groups-4"):
        folds(to_table(rows), "groups-9")
    assert len(folds(to_table(rows))) == 4


def test_loso_tests_each_speaker_alone_and_validates_on_whole_speakers() -> None:
    rows = skewed(groups=12)
    speaker = {row.utterance_id: str(row.speaker) for row in rows}
    made = folds(to_table(rows), "loso")
    assert [fold.name for fold in made] == [f"loso-{name}" for name in sorted(set(speaker.values()))]
    check_leaks(made, speaker)
    for fold in made:
        assert {f"loso-{speaker[i]}" for i in fold.test} == {fold.name}
        assert 0 < len(fold.valid) < 0.3 * (len(fold.train) + len(fold.valid))


def test_loso_needs_the_speaker_of_every_utterance_and_three_of_them() -> None:
    rows = [Utterance(f"x/{n}", "x", session="a", speaker=f"s{n}" if n else None, label="joy") for n in range(5)]
    with pytest.raises(TrainingError, match="1 of 5 labelled utterances, first x/0, do not have a speaker"):
        folds(to_table(rows), "loso")
    with pytest.raises(TrainingError, match="needs three speakers"):
        folds(to_table(rows[1:3]), "loso")
    odd = [Utterance(f"x/{n}", "x", speaker=f"../{n}", label="joy") for n in range(3)]
    assert [fold.name for fold in folds(to_table(odd), "loso")] == ["loso-0", "loso-1", "loso-2"]


def in_folds(values: list[object]) -> list[Utterance]:
    return [
        Utterance(f"x/{n}", "x", speaker=f"s{n}", label="joy", annotations={} if value is None else {"fold": value})
        for n, value in enumerate(values)
    ]


def test_the_folds_of_a_column_are_taken_in_their_order_and_the_next_validates() -> None:
    made = folds(to_table(in_folds(["2", "10", 1, "1", "2"])), "column")
    assert [fold.name for fold in made] == ["column-1", "column-2", "column-10"]
    assert made[0] == Fold("column-1", ("x/1",), ("x/0", "x/4"), ("x/2", "x/3"))
    two = folds(to_table(in_folds(["a", "a", "b", "b"])), "column")
    assert [(len(fold.train), len(fold.valid), len(fold.test)) for fold in two] == [(1, 1, 2), (1, 1, 2)]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["1", None, "2", ""], "2 of 4 labelled utterances, first x/1, do not have a fold"),
        (["1", "1"], "needs two values"),
        (["1", "2"], "fold column-1 leaves one speaker"),
    ],
)
def test_a_column_that_cannot_make_folds_is_refused(values: list[object], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        folds(to_table(in_folds(values)), "column")


def test_clips_without_speakers_are_dealt_out_one_by_one_with_balanced_classes() -> None:
    rows = [Utterance(f"x/{n}", "x", label=EMOTIONS[n % 3]) for n in range(31)]
    made = folds(to_table(rows))
    assert [fold.name for fold in made] == [f"clips-{n}" for n in range(5)]
    assert sorted(i for fold in made for i in fold.test) == sorted(row.utterance_id for row in rows)
    label = {row.utterance_id: row.label for row in rows}
    for fold in made:
        assert {*fold.train, *fold.valid, *fold.test} == label.keys()
        assert not {*fold.train} & {*fold.valid, *fold.test} and not {*fold.valid} & {*fold.test}
        assert min(Counter(label[i] for i in fold.test).values()) >= 1 and len(fold.test) in (6, 7)
    with pytest.raises(TrainingError, match="clips-20 needs 20 labelled utterances"):
        folds(to_table(rows[:19]), "clips-20")
    with pytest.raises(UsageError, match="'clips-1' does not exist"):
        folds(to_table(rows), "clips-1")
    assert folds(to_table([*rows, Utterance("x/31", "x", label="joy", speaker="ann")]), "clips-2")[0].name == "clips-0"
