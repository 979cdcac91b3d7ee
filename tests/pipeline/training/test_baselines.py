"""Baselines are what their names say: scikit-learn's models written out here give the same answers."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from typer.testing import CliRunner

from mmpipe.core.errors import TrainingError, UsageError
from mmpipe.manifests.splits import Fold
from mmpipe.pipeline.cli.app import app
from mmpipe.pipeline.training import baselines, shallow
from mmpipe.pipeline.training.baseline_networks import GruAttention
from mmpipe.pipeline.training.baselines import BASELINES, answer_baselines, score_baselines, skipped_baselines
from mmpipe.pipeline.training.config import TrainConfig, make_config
from mmpipe.pipeline.training.data.dataset import Dataset
from mmpipe.pipeline.training.data.inputs import TrainInput, load_input
from mmpipe.pipeline.training.late_fusion import SelfTraining, fit_late_fusion
from mmpipe.pipeline.training.run import train

from .conftest import make_store

LABELS = ("anger", "happiness", "sadness")
SHALLOW = ("majority", "logistic", "linear-svm", "rbf-svm", "late-fusion", "boosting")


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten rounds of boosting are enough here."""
    monkeypatch.setattr(shallow, "_TREES", 10)


def config(**values: object) -> TrainConfig:
    return make_config(**({"batch_size": 16, "epochs": 2, "faces": 8, "words": 8} | values))


def made(rows: int = 90, noise: float = 2.5, kept: tuple[str, ...] = LABELS) -> TrainInput:
    """Two folds of noisy utterances: an acoustic vector and a sequence of one to six steps; `kept` are in training."""
    generator = np.random.default_rng(5)
    labels = [LABELS[k] for k in generator.integers(0, 3, rows)]
    place = np.array([LABELS.index(label) for label in labels])
    lengths = generator.integers(1, 7, rows)
    keep = np.arange(6) < lengths[:, None]
    a, v = generator.normal(0, noise, (rows, 9)), generator.normal(3, noise, (rows, 6, 7))
    a[np.arange(rows), place] += 2
    v[np.arange(rows), :, place] += 2
    features = {"a": a.astype(np.float32), "v": (v * keep[..., None]).astype(np.float32)}
    ids = tuple(f"u{n}" for n in range(rows))
    dataset = Dataset(ids, tuple(labels), features, {"v": keep}, {}, {}, "made")
    folds = []
    for number in range(2):
        order = list(np.roll(np.arange(rows), number * 20))
        train = [ids[n] for n in order[: rows - 40] if labels[n] in kept]
        valid, test = [ids[n] for n in order[rows - 40 : rows - 20]], [ids[n] for n in order[rows - 20 :]]
        folds.append(Fold(f"f{number}", tuple(train), tuple(valid), tuple(test)))
    return TrainInput(dataset, tuple(folds), LABELS, None, {}, {})


def means(data: TrainInput, fold: Fold) -> dict[str, dict[str, Any]]:
    """By part, features by modality: means over steps of what the training rows' steps standardise."""
    rows = {side: [int(i[1:]) for i in getattr(fold, side)] for side in ("train", "valid", "test")}
    x: dict[str, Any] = {side: {} for side in rows}
    for name, array in data.labeled.features.items():
        keep = data.labeled.keep.get(name)
        steps = array[rows["train"]] if keep is None else array[rows["train"]][keep[rows["train"]]]
        scaled = (array - steps.mean(axis=0)) / steps.std(axis=0)
        if keep is not None:
            scaled = np.stack([row[mask].mean(axis=0) for row, mask in zip(scaled, keep, strict=True)])
        for side, chosen in rows.items():
            x[side][name] = scaled[chosen].astype(np.float32)
    return x


def truth(data: TrainInput, fold: Fold, side: str) -> list[str]:
    return [str(data.labeled.labels[int(i[1:])]) for i in getattr(fold, side)]


def joined(x: dict[str, Any]) -> Any:
    return np.concatenate(list(x.values()), axis=1)


def chosen(models: list[Any], x: Any, y: list[str]) -> Any:
    """The first of the models that reach the highest mean recall on validation rows."""
    return models[int(np.argmax([recall_score(y, m.predict(x), average="macro") for m in models]))]


def by_scikit_learn(name: str, data: TrainInput, fold: Fold) -> list[str]:
    x, y = means(data, fold), truth(data, fold, "train")
    valid = truth(data, fold, "valid")
    if name == "late-fusion":
        fitted = {
            m: chosen([logistic(c).fit(x["train"][m], y) for c in (0.001, 0.01, 0.1, 1.0)], x["valid"][m], valid)
            for m in x["train"]
        }
        mean = np.mean([model.predict_proba(x["test"][m]) for m, model in fitted.items()], axis=0)
        return [LABELS[k] for k in mean.argmax(axis=1)]
    width = joined(x["train"]).shape[1]
    models = {
        "logistic": [logistic(c) for c in (0.001, 0.01, 0.1, 1.0)],
        "linear-svm": [svm(kernel="linear", C=c / width) for c in (0.1, 1, 10, 100)],
        "rbf-svm": [svm(gamma=g / width, C=c) for g in (0.1, 0.3, 1) for c in (0.1, 1, 10, 100)],
    }[name]
    tried = [model.fit(joined(x["train"]), y) for model in models]
    return list(map(str, chosen(tried, joined(x["valid"]), valid).predict(joined(x["test"]))))


def logistic(strength: float) -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=500))


def svm(**values: Any) -> Any:
    return make_pipeline(StandardScaler(), SVC(**values))


@pytest.mark.parametrize("name", ["logistic", "linear-svm", "rbf-svm", "late-fusion"])
def test_a_baseline_answers_as_the_model_of_scikit_learn(name: str) -> None:
    data = made()
    answers = answer_baselines(config(), data, names=[name])[name]
    assert [said.ids for said in answers] == [fold.test for fold in data.folds]
    assert [list(said.truth) for said in answers] == [truth(data, fold, "test") for fold in data.folds]
    assert [list(said.predicted) for said in answers] == [by_scikit_learn(name, data, fold) for fold in data.folds]
    assert len({said.predicted for said in answers}) == 2 and len(set(answers[0].predicted)) == 3


def test_what_does_not_depend_on_the_seed_is_fitted_once_and_equal_calls_give_equal_answers() -> None:
    data = made()
    seen: list[str] = []
    first = answer_baselines(config(), data, 3, seen.append)
    assert list(first) == list(BASELINES)
    assert {name: seen.count(name) for name in BASELINES} == {n: 2 if n in SHALLOW else 6 for n in BASELINES}
    assert first == answer_baselines(config(), data, 3)
    for name, answers in first.items():
        by_seed = {seed: [said.predicted for said in answers if said.seed == seed] for seed in (0, 1, 2)}
        assert (by_seed[0] == by_seed[1] == by_seed[2]) == (name in SHALLOW), name
    scores = score_baselines(config(), data, 3, names=("majority", "concat-mlp"))
    assert scores["majority"]["ua"].std == 0 < scores["concat-mlp"]["ua"].std


def test_every_baseline_learns_what_can_be_learnt(tmp_path: Path) -> None:
    store = make_store(tmp_path / "three", speakers=3)
    scores = score_baselines(config(epochs=20), load_input(config(), store))
    assert scores["majority"]["ua"].mean == pytest.approx(0.5, abs=0.01)
    assert {name: s["ua"].mean > 0.9 for name, s in scores.items() if name != "majority"} == dict.fromkeys(
        BASELINES[1:], True
    )
    assert all(s["ua"].low <= s["ua"].mean <= s["ua"].high for s in scores.values())


@pytest.mark.parametrize("kept", [LABELS[:2], LABELS[:1]])
def test_classes_that_the_training_rows_lack_are_never_answered(kept: tuple[str, ...]) -> None:
    answers = answer_baselines(config(), made(kept=kept))
    assert set(answers) == set(BASELINES)
    told = {name: {label for said in folds for label in said.predicted} for name, folds in answers.items()}
    assert all(told[name] <= set(kept) for name in SHALLOW), told
    assert len(kept) > 1 or all(labels == set(kept) for labels in told.values())


def test_parts_of_few_rows_and_one_class_in_validation_are_enough() -> None:
    """Three training rows are fewer than a network takes; validation has a single row."""
    data = made()
    fold = data.folds[0]
    few = replace(data, folds=(Fold("f", fold.train[:3], fold.valid[:1], fold.test),))
    assert skipped_baselines(few) == dict.fromkeys(
        ("concat-mlp", "gru-attention"), "a training part has 3 utterances, a network needs 4"
    )
    assert set(answer_baselines(config(), few)) == set(SHALLOW)


def test_baselines_without_a_say_are_skipped_with_the_reason() -> None:
    data = made()
    x, keep = data.labeled.features, data.labeled.keep
    vector = replace(data, labeled=replace(data.labeled, features={"a": x["a"]}, keep={}))
    single = replace(data, labeled=replace(data.labeled, features={"v": x["v"][:, :1]}, keep={"v": keep["v"][:, :1]}))
    assert skipped_baselines(data) == {}
    for given in (vector, single):
        assert skipped_baselines(given) == {
            "late-fusion": "with one modality it is logistic regression",
            "gru-attention": "no modality has an utterance of more than one step",
        }
    assert set(answer_baselines(config(), vector)) == set(BASELINES) - {"late-fusion", "gru-attention"}


def test_the_grus_of_all_sequences_are_those_of_torch() -> None:
    torch.manual_seed(0)
    network = GruAttention(config(), {"a": 3, "v": 7, "l": 5}, 2)
    lengths = {"v": torch.tensor([6, 1, 3]), "l": torch.tensor([2, 8, 5])}
    features = {"v": torch.randn(3, 6, 7), "l": torch.randn(3, 9, 5)}
    keep = {name: torch.arange(x.shape[1]) < lengths[name][:, None] for name, x in features.items()}
    states, half = network.grus(features, keep), 32
    for place, (name, x) in enumerate(features.items()):
        gru = torch.nn.GRU(x.shape[2], half, batch_first=True, bidirectional=True)
        for way, end in enumerate(("", "_reverse")):
            rows, held = slice(3 * half * way, 3 * half * (way + 1)), 2 * place + way
            with torch.no_grad():
                getattr(gru, f"weight_ih_l0{end}").copy_(network.grus.inputs[name].weight[rows])  # type: ignore[index]
                getattr(gru, f"bias_ih_l0{end}").copy_(network.grus.inputs[name].bias[rows])  # type: ignore[index]
                getattr(gru, f"weight_hh_l0{end}").copy_(network.grus.weight[held].T)
                getattr(gru, f"bias_hh_l0{end}").copy_(network.grus.bias[held, 0])
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths[name], batch_first=True, enforce_sorted=False)
        expected, _ = torch.nn.utils.rnn.pad_packed_sequence(gru(packed)[0], batch_first=True)
        kept = keep[name][:, : expected.shape[1]]
        assert torch.allclose(states[name][:, : expected.shape[1]][kept], expected[kept], atol=1e-6)


def fusion_data() -> tuple[dict[str, Any], list[str]]:
    generator = np.random.default_rng(8)
    y = generator.integers(0, 3, 400)
    x = {"a": generator.normal(0, 1, (400, 5)), "l": generator.normal(0, 1, (400, 6))}
    for array in x.values():
        array[np.arange(400), y] += 1.6
    return x, [LABELS[k] for k in y]


def part(x: dict[str, Any], rows: slice) -> dict[str, Any]:
    return {name: array[rows] for name, array in x.items()}


def test_a_round_of_self_training_adds_the_most_confident_rows_of_every_class_alike() -> None:
    """The selection and the second fit written out; validation decides whether they are kept."""
    x, y = fusion_data()
    few, valid, rest = slice(0, 12), slice(100, 400), slice(12, 100)
    plain = fit_late_fusion(part(x, few), y[few], part(x, valid), y[valid], LABELS)
    how = SelfTraining(threshold=0.6, rounds=1)
    taught = fit_late_fusion(
        part(x, few), y[few], part(x, valid), y[valid], LABELS, unlabeled=part(x, rest), self_training=how
    )
    p = plain.predict(part(x, rest))
    assert p.sum(axis=1) == pytest.approx(np.ones(len(p)))
    sure = {k: [n for n in np.argsort(-p[:, k]) if p[n].argmax() == k and p[n, k] >= 0.6] for k in range(3)}
    number = min(map(len, sure.values()))
    taken = [n for k in range(3) for n in sure[k][:number]]
    assert 0 < number < max(map(len, sure.values()))
    again = {
        name: logistic(plain.strengths[name]).fit(
            np.concatenate([array[few], array[rest][taken]]), [*y[few], *(LABELS[p[n].argmax()] for n in taken)]
        )
        for name, array in x.items()
    }
    mean = np.mean([model.predict_proba(x[name][valid]) for name, model in again.items()], axis=0)
    reached = recall_score(y[valid], [LABELS[k] for k in mean.argmax(axis=1)], average="macro")
    before = recall_score(y[valid], plain.answer(part(x, valid)), average="macro")
    assert reached > before
    assert taught.added == 3 * number
    assert taught.predict(part(x, valid)) == pytest.approx(mean, abs=1e-6)


def test_self_training_keeps_the_first_model_where_nothing_is_confident_or_there_is_nothing() -> None:
    x, y = fusion_data()
    few, valid = slice(0, 30), slice(100, 400)
    given = (part(x, few), y[few], part(x, valid), y[valid], LABELS)
    plain = fit_late_fusion(*given)
    for rows, how in ((slice(30, 100), SelfTraining(threshold=1.01)), (slice(30, 30), SelfTraining())):
        taught = fit_late_fusion(*given, unlabeled=part(x, rows), self_training=how)
        assert taught.added == 0 and np.array_equal(taught.predict(part(x, valid)), plain.predict(part(x, valid)))
    limited = fit_late_fusion(*given, unlabeled=part(x, slice(30, 100)), self_training=SelfTraining(0.4, 3, 2))
    assert limited.added in (0, 6)
    one = fit_late_fusion(part(x, few), ["anger"] * 30, part(x, valid), y[valid], LABELS)
    assert np.array_equal(one.predict(part(x, few)), np.eye(3)[np.zeros(30, int)])
    with pytest.raises(TrainingError, match="training rows and validation rows; got 2, 0 and 300"):
        fit_late_fusion(part(x, slice(0, 0)), [], part(x, valid), y[valid], LABELS)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_baselines_stand_beside_a_run_with_paired_differences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run's row is that of run.json, and a baseline's difference is that of the predictions of both tables."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(baselines, "BASELINES", ("majority", "logistic", "concat-mlp"))
    store, run = make_store(tmp_path / "store", speakers=3), tmp_path / "run"
    train(config(objective="paper", size="small", select="wap", seed=4), store, run, seeds=2)
    done = CliRunner().invoke(app, ["train", "--baselines", "--compare", "run", "--labeled", "store"])
    assert done.exit_code == 0, (done.output, done.exception)
    assert "Baseline minus run" in done.stdout and "over 2 seeds" in done.stdout and "Left out" not in done.stdout
    table = {(row["baseline"], row["metric"]): row for row in rows_of(run / "baselines.csv")}
    saved = json.loads((run / "run.json").read_text())["summary"]["ua"]
    assert {name: float(table["run", "ua"][name]) for name in saved} == pytest.approx(saved, abs=1e-6)
    assert table["run", "ua"]["minus_run"] == ""
    said = pq.read_table(run / "baselines.parquet").to_pandas()
    ours = pq.read_table(run / "predictions.parquet").to_pandas()
    assert list(said["baseline"].unique()) == ["majority", "logistic", "concat-mlp"]

    def ua(frame: Any) -> float:
        return float(
            np.mean([recall_score(g["label"], g["predicted"], average="macro") for _, g in frame.groupby("seed")])
        )

    for name in said["baseline"].unique():
        mine, row = said[said["baseline"] == name], table[name, "ua"]
        assert sorted(mine["seed"].unique()) == [4, 5] and set(mine["utterance_id"]) == set(ours["utterance_id"])
        assert float(row["mean"]) == pytest.approx(ua(mine), abs=1e-6)
        assert float(row["minus_run"]) == pytest.approx(ua(mine) - ua(ours), abs=2e-6)
        assert float(row["minus_run_low"]) <= float(row["minus_run"]) <= float(row["minus_run_high"])

    other = make_store(tmp_path / "other", speakers=3, config="y")
    for words, said_of in (
        (["run", "--labeled", "other"], "labelled features of fold groups-0"),
        (["run", "--labeled", "fewer"], "labelled features, labels, utterances of fold groups-0"),
        (["store", "--labeled", "store"], "does not hold a finished run"),
    ):
        make_store(tmp_path / "fewer", speakers=3, rows=36) if words[-1] == "fewer" else other
        done = CliRunner().invoke(app, ["train", "--baselines", "--compare", *words])
        assert isinstance(done.exception, UsageError) and said_of in str(done.exception), done.exception
    train(config(objective="paper", size="small"), store, run, overwrite=True)
    assert not (run / "baselines.csv").exists() and not (run / "baselines.parquet").exists()
