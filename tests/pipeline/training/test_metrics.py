"""Metrics are scikit-learn's, also in degenerate cases and in the bootstrap; differences are paired by utterance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from mmpipe.core.errors import TrainingError
from mmpipe.pipeline.training.metrics import METRICS, Answers, paired_difference, score, spread_over, summarise

LABELS = ("anger", "happiness", "neutral", "sadness")


def said(truth: Sequence[str], predicted: Sequence[str], seed: int = 0, ids: Sequence[str] | None = None) -> Answers:
    ids = tuple(f"u{n}" for n in range(len(truth))) if ids is None else tuple(ids)
    return Answers(seed, ids, tuple(truth), tuple(predicted), score(truth, predicted, LABELS))


def by_scikit_learn(truth: Sequence[str], predicted: Sequence[str]) -> dict[str, float]:
    """The four metrics; the macro averages are over the classes that occur in the truth."""
    seen = sorted(set(truth))
    return {
        "wap": precision_score(truth, predicted, average="weighted", zero_division=0),
        "ua": recall_score(truth, predicted, labels=seen, average="macro", zero_division=0),
        "weighted_f1": f1_score(truth, predicted, average="weighted", zero_division=0),
        "macro_f1": f1_score(truth, predicted, labels=seen, average="macro", zero_division=0),
    }


def cases() -> list[tuple[list[str], list[str]]]:
    """Random ones of few rows, in which classes are never predicted or do not occur, and some made by hand."""
    generator, made = np.random.default_rng(0), []
    for _ in range(150):
        number = int(generator.integers(1, 30))
        true, guessed = (generator.permutation(4)[: generator.integers(1, 5)] for _ in range(2))
        made.append(
            (
                [LABELS[k] for k in generator.choice(true, number)],
                [LABELS[k] for k in generator.choice(guessed, number)],
            )
        )
    a, h, n, s = LABELS
    return [*made, ([a], [a]), ([a], [s]), ([s, s], [a, a]), ([a, h, n, s], [a] * 4), ([a] * 4, [a, h, n, s])]


def test_all_metrics_are_those_of_scikit_learn_also_where_classes_are_never_predicted_or_absent() -> None:
    for truth, predicted in cases():
        expected = by_scikit_learn(truth, predicted)
        scores, summary = score(truth, predicted, LABELS), summarise([said(truth, predicted)], LABELS, draws=1)
        for metric in METRICS:
            assert scores.value(metric) == pytest.approx(expected[metric], abs=1e-12), (metric, truth, predicted)
            assert summary[metric].mean == pytest.approx(expected[metric], abs=1e-12), (metric, truth, predicted)


def random_answers(seed: int, number: int, right: float) -> tuple[list[str], list[str]]:
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 4, number)
    predicted = np.where(generator.random(number) < right, truth, generator.integers(0, 4, number))
    return [LABELS[k] for k in truth], [LABELS[k] for k in predicted]


def test_the_interval_of_a_difference_is_that_of_scikit_learn_on_the_same_draws() -> None:
    """Two seeds of one method, one of another, three folds in another order: every figure by scikit-learn."""
    ids = [f"u{n}" for n in range(60)]
    truth, first = random_answers(1, 60, 0.7)
    second, third = random_answers(2, 60, 0.6)[1], random_answers(3, 60, 0.3)[1]
    parts = [slice(40, 60), slice(0, 20), slice(20, 40)]
    a = [said(truth[p], first[p], 0, ids[p]) for p in parts] + [
        said(truth[p], second[p], 1, ids[p]) for p in parts[::-1]
    ]
    b = [said(truth[::-1], third[::-1], 7, ids[::-1])]
    found = paired_difference(a, b, LABELS, draws=40)
    order = [n for p in parts for n in range(60)[p]]
    drawn = np.random.default_rng(0).integers(0, 60, (40, 60))

    def difference(rows: Sequence[int]) -> dict[str, float]:
        t, *answers = ([column[row] for row in rows] for column in (truth, first, second, third))
        x, y, z = (by_scikit_learn(t, said) for said in answers)
        return {metric: (x[metric] + y[metric]) / 2 - z[metric] for metric in METRICS}

    whole, resampled = difference(order), [difference([order[k] for k in draw]) for draw in drawn]
    for metric in METRICS:
        low, high = np.percentile([d[metric] for d in resampled], [2.5, 97.5])
        assert found[metric].mean == pytest.approx(whole[metric])
        assert (found[metric].low, found[metric].high) == pytest.approx((low, high))
    assert str(found["ua"]) == f"{100 * whole['ua']:+.1f} [{100 * found['ua'].low:+.1f}, {100 * found['ua'].high:+.1f}]"


def test_equal_predictions_differ_by_exactly_nothing_and_a_known_shift_is_in_its_interval() -> None:
    truth, predicted = random_answers(4, 400, 0.5)
    same = paired_difference([said(truth, predicted)], [said(truth, predicted, seed=3)], LABELS)
    assert all((d.mean, d.low, d.high) == (0, 0, 0) for d in same.values())
    better = [t if n % 10 == 0 else p for n, (t, p) in enumerate(zip(truth, predicted, strict=True))]
    gain = paired_difference([said(truth, better)], [said(truth, predicted)], LABELS)["ua"]
    shift = sum(b == t for b, t in zip(better, truth, strict=True)) - sum(
        p == t for p, t in zip(predicted, truth, strict=True)
    )
    assert 0 < gain.low < shift / 400 < gain.high and gain.mean == pytest.approx(shift / 400, abs=0.005)
    alone = [summarise([said(truth, p)], LABELS)["ua"] for p in (better, predicted)]
    assert gain.high - gain.low < 0.6 * min(s.high - s.low for s in alone)  # pairing narrows it
    back = paired_difference([said(truth, predicted)], [said(truth, better)], LABELS)["ua"]
    assert (back.mean, back.low, back.high) == pytest.approx((-gain.mean, -gain.high, -gain.low))


def test_answers_to_other_utterances_or_with_other_labels_are_not_compared() -> None:
    truth, predicted = random_answers(5, 20, 0.5)
    one = [said(truth, predicted)]
    for other in (said(truth, predicted, ids=[f"v{n}" for n in range(20)]), said(truth[:19], predicted[:19])):
        with pytest.raises(TrainingError, match="test utterances differ: compare trainings on the same store"):
            paired_difference(one, [other], LABELS)
    with pytest.raises(TrainingError, match="labels of the test utterances differ"):
        paired_difference(one, [said(truth[::-1], predicted)], LABELS)
    with pytest.raises(TrainingError, match="test utterances differ"):
        summarise([*one, said(truth[:19], predicted[:19], seed=1)], LABELS)


def test_the_deviation_is_over_seeds_or_over_folds_of_one_seed() -> None:
    truth, predicted = random_answers(6, 80, 0.6)
    halves = [(slice(0, 40), 0), (slice(40, 80), 0)]
    folds = [said(truth[p], predicted[p], s, [f"u{n}" for n in range(80)[p]]) for p, s in halves]
    by_fold = [recall_score(truth[p], predicted[p], average="macro") for p, _ in halves]
    assert summarise(folds, LABELS)["ua"].std == pytest.approx(np.std(by_fold, ddof=1))
    other = random_answers(7, 80, 0.6)[1]
    more = [said(truth[p], other[p], 1, [f"u{n}" for n in range(80)[p]]) for p, _ in halves]
    by_seed = [recall_score(truth, p, average="macro") for p in (predicted, other)]
    assert summarise(folds + more, LABELS)["ua"].std == pytest.approx(np.std(by_seed, ddof=1))
    assert [spread_over(2, 5), spread_over(1, 5), spread_over(1, 1)] == ["over 2 seeds", "over 5 folds", "over 1 fold"]
