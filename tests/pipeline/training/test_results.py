"""Results come back from their files as they were, and their figures are those of scikit-learn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import confusion_matrix, f1_score, precision_score, recall_score

from mmpipe.core.errors import UsageError
from mmpipe.pipeline.training.config import make_config
from mmpipe.pipeline.training.metrics import METRICS, Answers, Scores, Summary, score, summarise
from mmpipe.pipeline.training.results import FoldResult, FoldScores, Prediction, RunResult, UnlabeledRows
from mmpipe.pipeline.training.run import train
from mmpipe.pipeline.training.run_folder import read_run

from .conftest import make_store

LABELS = ("anger", "happiness", "neutral", "sadness")


def answers(seed: int, number: int = 200) -> tuple[list[str], list[str]]:
    """Random labels, of which six in ten are predicted."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 4, number)
    predicted = np.where(generator.random(number) < 0.6, truth, generator.integers(0, 4, number))
    return [LABELS[k] for k in truth], [LABELS[k] for k in predicted]


def test_scores_are_those_of_scikit_learn() -> None:
    truth, predicted = answers(0)
    scores = score(truth, predicted, LABELS)
    assert scores.wap == pytest.approx(precision_score(truth, predicted, average="weighted"))
    assert scores.ua == pytest.approx(recall_score(truth, predicted, average="macro"))
    assert scores.weighted_f1 == pytest.approx(f1_score(truth, predicted, average="weighted"))
    assert scores.macro_f1 == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert np.array_equal(scores.confusion, confusion_matrix(truth, predicted, labels=LABELS))
    assert list(scores.recall) == list(LABELS) and scores.n == 200
    assert {m: scores.value(m) for m in METRICS} == {m: scores.to_json()[m] for m in METRICS}
    with pytest.raises(KeyError, match="recall is not one of wap, ua"):
        scores.value("recall")


def test_a_summary_of_two_seeds_is_their_mean_and_deviation() -> None:
    ids = tuple(map(str, range(200)))
    tested = [
        Answers(seed, ids, tuple(t), tuple(p), score(t, p, LABELS)) for seed in (0, 1) for t, p in [answers(seed)]
    ]
    both = [recall_score(fold.truth, fold.predicted, average="macro") for fold in tested]
    summary = summarise(tested, LABELS)["ua"]
    assert summary.mean == pytest.approx(np.mean(both)) and summary.std == pytest.approx(np.std(both, ddof=1))
    assert summary.low < summary.mean < summary.high


def test_the_interval_of_a_summary_is_that_of_a_bootstrap_over_utterances() -> None:
    """An independent bootstrap with another generator: intervals of 500 draws agree to a percent."""
    truth, predicted = answers(2)
    ids = tuple(map(str, range(200)))
    said = Answers(0, ids, tuple(truth), tuple(predicted), score(truth, predicted, LABELS))
    summary = summarise([said], LABELS)["ua"]
    generator, t, p = np.random.default_rng(99), np.array(truth), np.array(predicted)
    drawn = [
        recall_score(t[rows], p[rows], average="macro")
        for rows in (generator.integers(0, 200, 200) for _ in range(500))
    ]
    assert (summary.low, summary.high) == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.015)
    assert summary.std == 0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunResult]:
    """The folder of a semi-supervised run, and what `train` gave."""
    folder = tmp_path_factory.mktemp("results")
    config = make_config(objective="paper", size="small", batch_size=16, epochs=1, faces=8, words=8)
    stores = make_store(folder / "labeled"), make_store(folder / "unlabeled", labeled=False, missing=(3,))
    return folder / "run", train(config, stores[0], folder / "run", stores[1], seeds=2)


def test_a_run_is_read_back_as_it_was(run: tuple[Path, RunResult]) -> None:
    folder, result = run
    assert read_run(folder) == result
    saved = json.loads((folder / "run.json").read_text())
    assert result.to_json() == {name: value for name, value in saved.items() if name not in ("files", "seal")}
    assert list(saved) == [
        "name", "objective", "config", "seeds", "labels", "folds", "pooled", "summary", "features", "excluded",
        "cut", "unlabeled", "seconds", "files", "seal",
    ]  # fmt: skip
    assert list(saved["folds"][0])[:4] == ["name", "seed", "best_epoch", "n"]
    assert result.unlabeled == UnlabeledRows(47, 47, {"expression: no_face": 1})
    assert isinstance(result.folds[0], FoldScores) and isinstance(result.summary["ua"], Summary)


def test_a_fold_is_read_back_as_it_was_and_predictions_hold_its_answers(run: tuple[Path, RunResult]) -> None:
    folder, result = run
    saved = json.loads((folder / "seed-1" / "groups-0" / "fold.json").read_text())
    fold = FoldResult.from_json(saved)
    assert fold.to_json() == {name: value for name, value in saved.items() if name not in ("model", "seal")}
    assert fold.seed == 1 and "seed" not in saved
    assert fold.scores in result.folds and isinstance(fold.test, Scores)
    rows = [
        r
        for r in pq.read_table(folder / "predictions.parquet").to_pylist()
        if (r["seed"], r["fold"]) == (1, "groups-0")
    ]
    assert [row["utterance_id"] for row in rows] == [p.utterance_id for p in fold.predictions]
    assert all(
        isinstance(p, Prediction) and sum(p.probabilities) == pytest.approx(1, abs=1e-5) for p in fold.predictions
    )
    assert fold.answers.truth == tuple(row["label"] for row in rows)


def test_a_folder_without_a_run_that_can_be_read_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"does not hold a finished run .*mmpipe train --out"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text('{"name": "x"}')
    with pytest.raises(UsageError, match="KeyError: 'objective'"):
        read_run(tmp_path)
