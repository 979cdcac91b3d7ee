"""Pseudo-labels come from classifiers, draws are equal, and a list belongs to its stores and folds."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpipe.core.errors import BusyError, TrainingError
from mmpipe.core.locks import writing_alone
from mmpipe.core.parquet import read_metadata, write_parquet
from mmpipe.pipeline.balancing.draw import PAPER_LIMIT, DrawOptions, draw_in_turn, draws_per_class, seeded_order
from mmpipe.pipeline.balancing.pseudo_labels import balance
from mmpipe.pipeline.balancing.results import BalanceResult
from mmpipe.pipeline.training.config import TrainConfig, make_config
from mmpipe.pipeline.training.data.dataset import Pool, fit_norms
from mmpipe.pipeline.training.data.inputs import load_input
from mmpipe.pipeline.training.loop import fit, predict
from mmpipe.pipeline.training.run import train
from mmpipe.pipeline.training.run_folder import read_run

from ..training.conftest import make_store

FORTY = DrawOptions(per_class=40)


def tiny(**values: object) -> TrainConfig:
    usual = {"objective": "paper", "size": "small", "modalities": ("a", "v"), "batch_size": 16, "epochs": 6, "faces": 8}
    return make_config(**(usual | {"protocol": "groups-3"} | values))


@pytest.fixture(scope="module")
def done(labeled: Path, unlabeled: Path, tmp_path_factory: pytest.TempPathFactory) -> BalanceResult:
    """A list for all folds, of 40 draws of each class."""
    return balance(labeled, unlabeled, tmp_path_factory.mktemp("lists") / "a.parquet", tiny(), FORTY, once=True)


@pytest.fixture(scope="module")
def by_fold(labeled: Path, unlabeled: Path, tmp_path_factory: pytest.TempPathFactory) -> BalanceResult:
    """A list for each of the folds of groups-3."""
    path = tmp_path_factory.mktemp("lists") / "folds.parquet"
    return balance(labeled, unlabeled, path, tiny(), FORTY)


def test_balancing_gives_equal_classes_and_the_same_bytes(
    done: BalanceResult, labeled: Path, unlabeled: Path, tmp_path: Path
) -> None:
    again = balance(labeled, unlabeled, tmp_path / "b.parquet", tiny(), FORTY, once=True)
    assert done.after == {"anger": 40, "sadness": 40}
    assert sum(done.before.values()) == 46 and done.excluded == {"expression: no_face": 2}
    assert done.path.read_bytes() == again.path.read_bytes()
    rows = pq.read_table(done.path).to_pylist()
    assert [row["pseudo_label"] for row in rows[:4]] == ["anger", "sadness"] * 2
    assert len({(row["utterance_id"], row["draw"]) for row in rows}) == 80
    true = [row["pseudo_label"] == ("anger", "sadness")[int(row["utterance_id"][-3:]) // 6 % 2] for row in rows]
    assert np.mean(true) > 0.9


def test_a_list_for_all_folds_is_that_of_the_papers_procedure(
    done: BalanceResult, labeled: Path, unlabeled: Path
) -> None:
    """One classifier, trained on all but the validation part of the first fold, whose probabilities are as they are."""
    config = tiny().vanilla()
    data = load_input(config, labeled, unlabeled)
    assert data.unlabeled is not None
    fold, other = data.folds[0], data.unlabeled.dataset
    train_rows, valid = (data.labeled.rows_of(ids) for ids in ((*fold.train, *fold.test), fold.valid))
    norms = fit_norms(data.labeled, train_rows)
    trained = fit(config, data.labels, Pool(data.labeled, train_rows, norms), Pool(data.labeled, valid, norms))
    order = np.array(seeded_order(other.ids, 0))
    expected = predict(trained.model, Pool(other, order, fit_norms(other, np.arange(len(other.ids)))))
    of = dict(zip([other.ids[row] for row in order], expected.tolist(), strict=True))
    table = pq.read_table(done.path)
    assert table.column_names == ["utterance_id", "pseudo_label", "probability", "probabilities", "draw"]
    assert all(row["probabilities"] == of[row["utterance_id"]] for row in table.to_pylist())
    drawn = table.column("utterance_id").to_pylist()
    for k, label in enumerate(data.labels):
        members = [other.ids[row] for row, values in zip(order, expected, strict=True) if values.argmax() == k]
        labels = table.column("pseudo_label").to_pylist()
        mine = [i for i, name in zip(drawn, labels, strict=True) if name == label]
        assert mine == (members * 40)[:40]


def test_each_fold_has_a_list_of_its_own_and_the_same_bytes_again(
    by_fold: BalanceResult, labeled: Path, unlabeled: Path, tmp_path: Path
) -> None:
    again = balance(labeled, unlabeled, tmp_path / "b.parquet", tiny(), FORTY)
    assert by_fold.path.read_bytes() == again.path.read_bytes()
    table, said = pq.read_table(by_fold.path), read_metadata(by_fold.path)
    assert Counter(table.column("fold").to_pylist()) == dict.fromkeys(("groups-0", "groups-1", "groups-2"), 80)
    assert said["protocol"] == {"name": "groups-3", "seed": 0}
    assert len({part["utterances"] for part in said["folds"].values()}) == 3
    assert by_fold.after == {"anger": 120, "sadness": 120}
    assert [fold.after for fold in by_fold.folds] == [{"anger": 40, "sadness": 40}] * 3


def test_a_run_draws_from_the_rows_of_its_folds_and_refuses_a_list_for_others(
    by_fold: BalanceResult, labeled: Path, unlabeled: Path, tmp_path: Path
) -> None:
    config = tiny(epochs=1)
    data = load_input(config, labeled, unlabeled, by_fold.path)
    rows = pq.read_table(by_fold.path).to_pylist()
    for fold in data.folds:
        pool = data.unlabeled_of(fold)
        assert pool is not None
        assert [pool.dataset.ids[row] for row in pool.rows] == [
            row["utterance_id"] for row in rows if row["fold"] == fold.name
        ]
    notes: list[str] = []
    result = train(config, labeled, tmp_path / "run", unlabeled, by_fold.path, note=notes.append)
    assert not any("test speakers" in note for note in notes)
    assert result.unlabeled is not None and result == read_run(tmp_path / "run")
    assert result.unlabeled.by_fold == dict.fromkeys(("groups-0", "groups-1", "groups-2"), 80)
    assert result.unlabeled.seen == () and result.unlabeled.utterances == 46
    for other, why in ((tiny(protocol="groups-4"), "has the fold groups-3"), (tiny(seed=5), "")):
        with pytest.raises(TrainingError, match=f"for the folds of protocol groups-3 with seed 0.*{why}") as error:
            train(other, labeled, tmp_path / "other", unlabeled, by_fold.path)
        again = f"balance-unlabeled --set protocol={other.protocol} --seed {other.seed}` again"
        assert again in str(error.value)
    assert not (tmp_path / "other").exists()


def test_other_rows_of_another_fold_do_not_train_a_fold_again(
    by_fold: BalanceResult, labeled: Path, unlabeled: Path, tmp_path: Path
) -> None:
    config = tiny(epochs=1)
    train(config, labeled, tmp_path / "run", unlabeled, by_fold.path)
    table = pq.read_table(by_fold.path).replace_schema_metadata()
    changed = tmp_path / "changed.parquet"
    write_parquet(changed, table.slice(2), read_metadata(by_fold.path))  # the first two rows are of the first fold
    notes: list[str] = []
    train(config, labeled, tmp_path / "run", unlabeled, changed, note=notes.append, overwrite=True)
    assert [note for note in notes if note.startswith("fold")] == [
        "fold groups-0: trained again, changed: unlabelled rows",
        "fold groups-1: reused from an earlier run",
        "fold groups-2: reused from an earlier run",
    ]


def test_a_run_on_a_list_for_all_folds_says_whose_labels_its_classifier_saw(
    done: BalanceResult, labeled: Path, unlabeled: Path, tmp_path: Path
) -> None:
    notes: list[str] = []
    result = train(tiny(epochs=1), labeled, tmp_path / "run", unlabeled, done.path, note=notes.append)
    (note,) = (note for note in notes if "test speakers" in note)
    data = load_input(tiny(), labeled)
    speaker = {f"made/{row:03d}": f"p{row % 6}" for row in range(48)}
    validated = {speaker[i] for i in data.folds[0].valid}
    trained = [fold.name for fold in data.folds if {speaker[i] for i in fold.test} - validated]
    others = [fold.name for fold in data.folds if fold.name not in trained]
    assert f"was trained on labels of the test speakers of {len(trained)} of the 3 folds ({', '.join(trained)})" in note
    assert f"chose its epoch by labels of the test speakers of 1 of the 3 folds ({others[0]})" in note
    assert result.unlabeled is not None and set(result.unlabeled.seen or ()) == {fold.name for fold in data.folds}


def test_a_list_of_an_earlier_version_is_drawn_from_with_a_note(
    done: BalanceResult, labeled: Path, unlabeled: Path, tmp_path: Path
) -> None:
    """It has no word of what the classifier saw."""
    said = {key: value for key, value in read_metadata(done.path).items() if key in (
        "labels", "before", "after", "per_class", "limit", "seed", "model", "stores", "excluded"
    )}  # fmt: skip
    old = tmp_path / "old.parquet"
    write_parquet(old, pq.read_table(done.path).replace_schema_metadata(), said)
    notes: list[str] = []
    train(tiny(epochs=1), labeled, tmp_path / "run", unlabeled, old, note=notes.append)
    assert any("does not record whose labels its classifier saw" in note for note in notes)
    notes.clear()
    train(tiny(epochs=1), labeled, tmp_path / "run", unlabeled, done.path, note=notes.append)
    assert sum("reused" in note for note in notes) == 3  # the same rows


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
    drawn = draw_in_turn(np.array(classes), [number] * 4)
    present = set(classes)
    for end in range(0, len(drawn) + 1, len(present)):
        counts = Counter(classes[place] for place, _ in drawn[:end])
        assert all(counts[k] == end // len(present) for k in present)
    assert len(drawn) == number * len(present) and len(set(drawn)) == len(drawn)
    for k in present:
        repeats = Counter(place for place, _ in drawn if classes[place] == k)
        assert max(repeats.values()) - min(repeats.get(p, 0) for p, c in enumerate(classes) if c == k) <= 1


@given(CLASSES, st.lists(st.integers(0, 30), min_size=4, max_size=4))
def test_every_beginning_of_unequal_draws_has_the_proportions_of_the_whole(
    classes: list[int], targets: list[int]
) -> None:
    drawn = draw_in_turn(np.array(classes), targets)
    wanted = {k: target for k, target in enumerate(targets) if target and k in classes}
    assert Counter(classes[place] for place, _ in drawn) == wanted
    for end in range(len(drawn) + 1):
        counts = Counter(classes[place] for place, _ in drawn[:end])
        assert all(abs(counts[k] - Fraction(end * n, len(drawn))) <= len(wanted) for k, n in wanted.items())


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
