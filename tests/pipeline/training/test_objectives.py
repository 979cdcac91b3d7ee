"""Pseudo-labels, consistency and the regularisation of small corpora."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression

from mmpipe.core.errors import UsageError
from mmpipe.pipeline.training.checkpoint import load_model, save_model
from mmpipe.pipeline.training.config import TrainConfig, make_config
from mmpipe.pipeline.training.data.dataset import Dataset, Pool, fit_norms
from mmpipe.pipeline.training.late_fusion import fit_late_fusion
from mmpipe.pipeline.training.loop import fit, predict
from mmpipe.pipeline.training.model import Output, build_network, noisy_views
from mmpipe.pipeline.training.run import train
from mmpipe.pipeline.training.steps import NO_CLASS, Step
from mmpipe.pipeline.training.teacher import teach

from .conftest import make_store

LABELS = ("anger", "happiness", "neutral", "sadness")
WIDTHS = {"a": 40, "v": 24, "l": 32}


def made(rows: int, seed: int = 0, *, signal: float = 1.2, classes: int = 4, modalities: str = "avl") -> Dataset:
    """Utterances whose class is a direction in each modality, under noise."""
    generator = np.random.default_rng(seed)
    y = np.arange(rows) % classes
    features: dict[str, Any] = {}
    keep: dict[str, Any] = {}
    for name in modalities:
        steps = 1 if name == "a" else 8
        directions = np.random.default_rng(ord(name)).normal(size=(4, WIDTHS[name]))
        x = generator.normal(size=(rows, steps, WIDTHS[name])) + signal * generator.normal(size=(rows, 1, WIDTHS[name]))
        x = (x + signal * directions[y][:, None]).astype(np.float32)
        features[name] = x[:, 0] if name == "a" else x
        if name != "a":
            keep[name] = np.ones((rows, steps), np.bool_)
    names = tuple(LABELS[k] for k in y)
    return Dataset(tuple(f"u{n}" for n in range(rows)), names, features, keep, {}, {}, "made")


def pool(dataset: Dataset, rows: Any = None) -> Pool:
    everything = np.arange(len(dataset.ids))
    return Pool(dataset, everything if rows is None else np.asarray(rows), fit_norms(dataset, everything))


def small(**values: Any) -> TrainConfig:
    return make_config(
        **(
            {"size": "small", "faces": 8, "words": 8, "epochs": 3, "ensemble": 1, "min_steps": 8, "lda_share": 0.0}
            | values
        )
    )


def truth_of(data: Pool) -> list[str]:
    return [str(data.dataset.labels[row]) for row in data.rows]


def accuracy(model: Any, data: Pool) -> float:
    answers = [LABELS[k] for k in predict(model, data).argmax(axis=1)]
    return float(np.mean([a == b for a, b in zip(answers, truth_of(data), strict=True)]))


def test_size_small_has_defaults_of_its_own_unless_the_objective_is_the_papers() -> None:
    plain, paper = make_config(size="small"), make_config(size="small", objective="paper")
    assert plain.objective == "self-train+consistency" and plain.latent_norm and plain.clip == 3.0
    assert paper == TrainConfig(size="small") and not paper.latent_norm and paper.clip is None
    assert make_config().objective == "paper"
    assert make_config(size="small", latent_norm=False).latent_norm is False
    with pytest.raises(UsageError, match="objective paper has one classifier"):
        make_config(ensemble=2)


@pytest.mark.parametrize(
    ("objective", "modalities"),
    [
        ("self-train", "a"),
        ("consistency", "a"),
        ("self-train+consistency", "a"),
        pytest.param("self-train", "vl", marks=pytest.mark.slow),
        pytest.param("consistency", "vl", marks=pytest.mark.slow),
        ("self-train+consistency", "vl"),
    ],
)
def test_every_objective_learns_from_any_modalities(objective: str, modalities: str) -> None:
    config = small(objective=objective, modalities=tuple(modalities), threshold=0.5, epochs=4)
    data, other = made(96, modalities=modalities), pool(made(120, 1, modalities=modalities))
    trained = fit(config, LABELS, pool(data, range(32)), pool(data, range(32, 64)), other)
    assert trained.supervised_because is None
    assert all(row["unlabeled_labelled"] > 0 for row in trained.history[1:])
    assert accuracy(trained.model, pool(data, range(64, 96))) > 0.6


@pytest.mark.slow
def test_unlabelled_rows_help_where_labels_are_few() -> None:
    gained = []
    for seed in range(3):
        data, other = made(260, seed, signal=0.2), pool(made(400, 90 + seed, signal=0.2))
        first, valid, test = (pool(data, rows) for rows in (range(20), range(20, 60), range(60, 260)))
        config = small(seed=seed, epochs=5, min_steps=20)
        reached = [accuracy(fit(config, LABELS, first, valid, rows).model, test) for rows in (other, None)]
        gained.append(reached[0] - reached[1])
    assert np.mean(gained) > 0.03, gained


def test_the_teacher_is_a_late_fusion_and_labels_the_same_number_of_each_class() -> None:
    data, other = made(80, signal=3.0), pool(made(200, 1, signal=3.0))
    other = replace(other, rows=np.repeat(other.rows, 2))
    classes = teach(small(teacher_share=0.6), LABELS, pool(data, range(40)), other)
    taught = classes != NO_CLASS
    assert np.bincount(classes[taught]).tolist() == [30] * 4  # 0.6 of 200 rows, repeats counted once
    assert np.mean(classes[taught] == np.arange(200)[taught] % 4) > 0.95
    y = [LABELS.index(label) for label in truth_of(pool(data, range(40)))]
    x, z = data.features["a"][:40], data.features["a"][40:]
    ours = fit_late_fusion(
        {"a": x}, truth_of(pool(data, range(40))), {"a": z}, truth_of(pool(data, range(40, 80))), LABELS
    )
    probed = LogisticRegression(C=ours.strengths["a"], max_iter=2000).fit((x - x.mean(0)) / x.std(0), y)
    np.testing.assert_allclose(ours.predict({"a": z}), probed.predict_proba((z - x.mean(0)) / x.std(0)), atol=2e-3)


def test_a_regression_in_the_span_of_its_rows_is_that_in_all_dimensions() -> None:
    generator = np.random.default_rng(0)
    x, z, y = generator.normal(size=(12, 50)), generator.normal(size=(6, 50)), ["a", "b", "c"] * 4
    ours = fit_late_fusion({"m": x}, y, {"m": x}, y, ("a", "b", "c"))
    scaled = [(part - x.mean(0)) / x.std(0) for part in (x, z)]
    whole = LogisticRegression(C=ours.strengths["m"], max_iter=5000, tol=1e-8).fit(scaled[0], y)
    np.testing.assert_allclose(ours.predict({"m": z}), whole.predict_proba(scaled[1]), atol=2e-3)


def first_step(config: TrainConfig, pseudo: torch.Tensor | None) -> tuple[dict[str, float], Any, Pool]:
    torch.manual_seed(0)
    data, other = pool(made(32)), pool(made(64, 1))
    model = build_network(config, WIDTHS, 4).train()
    targets = torch.tensor([LABELS.index(str(label)) for label in data.dataset.labels])
    terms = Step(config, model, targets, data, other, pseudo)(np.arange(16), np.arange(64))
    return {name: term.item() for name, term in terms.items()}, model, other


STILL = {"dropout": 0.0, "classifier_dropout": 0.0, "view_dropout": 0.0}


def test_a_class_of_the_teacher_goes_before_the_networks_own_and_unsure_rows_count_nothing() -> None:
    pseudo = torch.full((64,), NO_CLASS)
    pseudo[:10] = 2
    for objective, threshold in (("self-train+consistency", 0.3), ("self-train", 0.3), ("consistency", 0.3)):
        config = small(objective=objective, threshold=threshold, **STILL)
        terms, model, other = first_step(config, None if objective == "consistency" else pseudo)
        with torch.no_grad():
            logits = model(*other.batch(other.rows)).logits
        sure, own = logits.softmax(1).max(1)
        wanted = torch.where(sure >= threshold, own, NO_CLASS) if objective != "self-train" else torch.full((64,), -1)
        if objective != "consistency":
            wanted[:10] = 2
        known = wanted != NO_CLASS
        assert 0 < known.sum() < 64
        expected = F.cross_entropy(logits[known], wanted[known], reduction="sum").item() / 64
        assert terms["unlabeled_cls"] == pytest.approx(expected, rel=1e-4)
        assert terms["unlabeled_labelled"] == pytest.approx(known.float().mean().item())
        assert terms["train_loss"] == pytest.approx(terms["cls"] + expected, rel=1e-4)


def test_noisy_views_drop_features_and_modalities_and_leave_one() -> None:
    config = small(view_dropout=0.9, dropout=0.0, classifier_dropout=0.0, clip=None)
    model, data = build_network(config, WIDTHS, 4).train(), pool(made(64))
    batch = data.batch(data.rows)
    plain = [model(*batch).logits for _ in range(2)]
    assert torch.equal(*plain)
    seen: list[torch.Tensor] = []
    model.classifier[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))  # type: ignore
    with noisy_views(model):
        assert not torch.equal(model(*batch).logits, plain[0])
    kept = seen[0].view(64, 3, -1).abs().sum(2) > 0
    assert bool(kept.any(dim=1).all()) and 0.1 < kept.float().mean() < 0.6
    assert torch.equal(model(*batch).logits, plain[0])


def test_features_beyond_the_limits_change_nothing_more() -> None:
    model, data = build_network(small(clip=2.0), WIDTHS, 4).eval(), pool(made(8))
    x, keep = data.batch(data.rows)
    inside = {name: value.clamp(-2, 2) for name, value in x.items()}
    far = {name: torch.where(value.abs() >= 2, value * 50, value) for name, value in x.items()}
    assert torch.equal(model(far, keep).logits, model(inside, keep).logits)


@pytest.mark.parametrize("values", [{"ensemble": 3}, {"fusion": "late"}, {"ensemble": 2, "fusion": "late"}])
def test_several_classifiers_answer_with_the_mean_of_their_probabilities(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    config, data = small(epochs=1, **values), pool(made(40))
    trained = fit(config, LABELS, data, data)
    output: Output = trained.model.eval()(*data.batch(data.rows))
    number = values.get("ensemble", 1) * (3 if "fusion" in values else 1)
    assert len(output.heads) == number and not torch.equal(output.heads[0], output.heads[1])
    mean = torch.stack([head.softmax(1) for head in output.heads]).mean(0)
    torch.testing.assert_close(output.logits.softmax(1), mean)
    save_model(tmp_path, trained.model, config, LABELS, data.norms, data.dataset, {})
    again = load_model(tmp_path)
    assert np.array_equal(predict(again.model, data), predict(trained.model, data))


def test_the_loss_is_of_each_classifier_by_itself_with_smoothed_targets() -> None:
    config = small(ensemble=2, label_smoothing=0.2, **STILL)
    terms, model, _ = first_step(config, None)
    data = pool(made(32))
    with torch.no_grad():
        heads = model(*data.batch(np.arange(16))).heads
    y = F.one_hot(torch.arange(16) % 4, 4) * 0.8 + 0.05
    expected = sum(-(y * head.log_softmax(1)).sum(1).mean().item() for head in heads)
    assert terms["cls"] == pytest.approx(expected, rel=1e-4)


def test_weight_decay_shrinks_weights_and_the_loss_may_choose_the_epoch() -> None:
    data = pool(made(64))
    plain, decayed = (fit(small(weight_decay=w), LABELS, data, data) for w in (0.0, 5.0))
    size = [sum(p.square().sum().item() for p in t.model.parameters()) for t in (plain, decayed)]
    assert size[1] < 0.95 * size[0]
    by_loss = fit(small(select="loss", epochs=6), LABELS, data, pool(made(64, 9, signal=0.3)))
    losses = [row["valid_loss"] for row in by_loss.history]
    assert by_loss.best_epoch == 1 + int(np.argmin(losses))


@pytest.mark.parametrize("rows", [2, 5, 8, 17])
def test_few_rows_make_small_batches_and_several_passes(rows: int) -> None:
    data = made(80)
    trained = fit(small(batch_size=128), LABELS, pool(data, range(rows)), pool(data, range(40, 80)), pool(made(40, 3)))
    assert len(trained.history) == 3 and np.isfinite(trained.history[-1]["train_loss"])


def test_a_teacher_or_a_network_that_knows_one_class_leaves_the_training_supervised(monkeypatch: Any) -> None:
    data, other = made(64), pool(made(64, 1))
    sides, config = (pool(data, range(24)), pool(data, range(24, 64))), small(epochs=2)
    alone = fit(config, LABELS, *sides)
    monkeypatch.setattr("mmpipe.pipeline.training.loop.teach", lambda *_: np.full(64, 3))
    taught = fit(config, LABELS, *sides, other)
    assert taught.supervised_because == "the teacher gives the unlabelled rows one class only (sadness)"
    same = replace(other, rows=np.zeros(40, np.int64))
    collapsed = fit(small(epochs=2, objective="consistency"), LABELS, *sides, same)
    assert str(collapsed.supervised_because).startswith("the network gave all unlabelled rows one class (")
    for trained in (taught, collapsed):
        assert [r["train_loss"] for r in trained.history] == [r["train_loss"] for r in alone.history]


def test_a_run_says_what_it_could_not_learn_and_takes_over_folds_of_the_same_config(tmp_path: Path) -> None:
    store, other = make_store(tmp_path / "store"), make_store(tmp_path / "pool", labeled=False, rows=30)
    config = small(modalities=("a",), epochs=1, batch_size=16)
    notes: list[str] = []
    run = train(config, store, tmp_path / "run", other, note=notes.append)
    again = train(config, store, tmp_path / "run", other, note=notes.append)
    assert run == again and any("reused" in note for note in notes)
    assert run.config.objective == "self-train+consistency" and run.unlabeled is not None
