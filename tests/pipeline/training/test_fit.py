"""Training fits what it is given, weighs exactly the terms that have a weight, and names what it cannot train on."""

from __future__ import annotations

import copy
import io
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmpipe.core.errors import TrainingError
from mmpipe.pipeline.training.config import TrainConfig, make_config
from mmpipe.pipeline.training.data.dataset import Dataset, Pool, fit_norms
from mmpipe.pipeline.training.data.inputs import load_input
from mmpipe.pipeline.training.fold import FoldJob
from mmpipe.pipeline.training.loop import DivergedError, Resume, Trained, fit
from mmpipe.pipeline.training.model import EmotionModel
from mmpipe.pipeline.training.resume import Progress, load_progress, save_progress

from .conftest import make_store

WIDTHS = {"a": 40, "v": 24, "l": 32}
LABELS = ("anger", "happiness", "neutral", "sadness")


def made(rows: int = 64, seed: int = 0, labels: tuple[str, ...] = LABELS) -> Dataset:
    """Random features with random labels: nothing but memory can fit them."""
    generator = np.random.default_rng(seed)
    steps = {"v": 8, "l": 8}
    keep = {name: np.arange(n) < generator.integers(3, n + 1, (rows, 1)) for name, n in steps.items()}
    features: dict[str, Any] = {
        name: generator.normal(size=(rows, *([steps[name]] if name in steps else []), width)).astype(np.float32)
        for name, width in WIDTHS.items()
    }
    for name, mask in keep.items():
        features[name] *= mask[..., None]
    names = tuple(labels[k] for k in generator.integers(0, len(labels), rows))
    return Dataset(tuple(f"made/{n}" for n in range(rows)), names, features, keep, {}, {}, "made")


def pool(dataset: Dataset, rows: int | None = None) -> Pool:
    everything = np.arange(len(dataset.ids))
    return Pool(dataset, everything[:rows], fit_norms(dataset, everything))


def tiny(**values: Any) -> TrainConfig:
    return make_config(
        **({"objective": "paper", "size": "small", "faces": 8, "words": 8, "batch_size": 32, "epochs": 2} | values)
    )


def test_sixty_four_utterances_are_learnt_by_heart_and_the_latents_keep_their_spread() -> None:
    plain = {"dropout": 0.0, "classifier_dropout": 0.0}
    both = pool(made())
    trained = fit(tiny(epochs=24, batch_size=16, learning_rate=3e-3, **plain), LABELS, both, both)
    first, last = trained.history[0], trained.history[-1]
    assert max(row["valid_ua"] for row in trained.history) == 1.0
    assert last["latent_std"] > 0.3 * first["latent_std"] > 0


@pytest.mark.slow
def test_reconstruction_of_sixty_four_utterances_falls_by_ten_times() -> None:
    """With the paper's layers: the small ones hold less than the noise of these features."""
    dataset = made()
    smooth = replace(dataset, features={name: low_rank(x) for name, x in dataset.features.items()})
    both, plain = pool(smooth), {"dropout": 0.0, "classifier_dropout": 0.0}
    trained = fit(tiny(size="paper", epochs=400, batch_size=16, **plain), LABELS, both, both)
    assert max(row["valid_ua"] for row in trained.history) == 1.0
    assert trained.history[-1]["rec"] < trained.history[0]["rec"] / 10
    assert trained.history[-1]["latent_std"] > 0.1


def low_rank(x: Any) -> Any:
    """The same in three dimensions of variance, as features of few causes are."""
    flat = x.reshape(-1, x.shape[-1])
    u, s, v = np.linalg.svd(flat, full_matrices=False)
    return ((u[:, :3] * s[:3]) @ v[:3]).reshape(x.shape).astype(np.float32)


SWITCHES = {"alpha": ("rec",), "beta": ("pair", "unpaired")}


@pytest.mark.parametrize("name", SWITCHES)
def test_an_ablation_switch_changes_exactly_its_term(name: str) -> None:
    """The terms of the first step follow from the initial weights, which a switched-off decoder must not change."""
    data, plain = pool(made(), 32), {"epochs": 1, "dropout": 0.0, "classifier_dropout": 0.0}
    on = fit(tiny(**plain), LABELS, data, data, pool(made(seed=1))).history[0]
    off = fit(tiny(**plain, **{name: 0.0}), LABELS, data, data, pool(made(seed=1))).history[0]
    terms = SWITCHES[name] + tuple(f"unlabeled_{term}" for term in SWITCHES[name])
    assert all(off[term] == 0 and on[term] != 0 for term in terms)
    weight = {"alpha": 0.2, "beta": 0.1}[name]
    gone = weight * (sum(on[t] for t in SWITCHES[name]) + 0.3 * sum(on[f"unlabeled_{t}"] for t in SWITCHES[name]))
    others = [t for t in ("cls", "rec", "pair", "unpaired", "unlabeled_rec", "unlabeled_pair") if t not in terms]
    assert {t: off[t] for t in others} == {t: pytest.approx(on[t], abs=1e-6) for t in others}
    assert off["train_loss"] == pytest.approx(on["train_loss"] - gone, abs=1e-5)


def test_omega_weighs_the_unlabelled_side_alone() -> None:
    data, plain = pool(made(), 32), {"epochs": 1, "dropout": 0.0, "classifier_dropout": 0.0}
    on, off = (fit(tiny(**plain, omega=w), LABELS, data, data, pool(made(seed=1))).history[0] for w in (0.3, 0.0))
    side = 0.2 * on["unlabeled_rec"] + 0.1 * (on["unlabeled_pair"] + on["unlabeled_unpaired"])
    assert off["train_loss"] == pytest.approx(on["train_loss"] - 0.3 * side, abs=1e-5)


def test_training_stops_after_patience_epochs_without_a_better_one() -> None:
    trained = fit(tiny(epochs=40, patience=3), LABELS, pool(made()), pool(made(seed=5)))
    assert len(trained.history) == trained.best_epoch + 3 < 40


def test_class_weights_make_a_rare_class_count_as_much_as_a_frequent_one() -> None:
    labels = ("anger", "sadness")
    dataset = made(labels=labels)
    rare = replace(dataset, labels=("sadness",) * 4 + ("anger",) * 60)
    config, both = tiny(epochs=1, batch_size=64, dropout=0.0, classifier_dropout=0.0), pool(rare)
    initial: list[EmotionModel] = []

    def build(*shape: Any) -> EmotionModel:
        initial.append(EmotionModel(*shape))
        return copy.deepcopy(initial[0])

    plain, weighted = (
        fit(config.model_copy(update={"class_weights": w}), labels, both, both, build=build).history[0]["cls"]
        for w in (False, True)
    )
    features, keep = both.batch(both.rows, torch.device("cpu"))
    targets = torch.tensor([labels.index(str(label)) for label in rare.labels])
    each = F.cross_entropy(initial[0](features, keep).logits, targets, reduction="none")
    few, many = each[:4].mean().item(), each[4:].mean().item()
    assert abs(few - many) > 0.01
    assert plain == pytest.approx((4 * few + 60 * many) / 64, abs=1e-5)
    assert weighted == pytest.approx((few + many) / 2, abs=1e-5)


def test_bfloat16_trains_to_nearly_the_same_loss() -> None:
    losses = [
        fit(tiny(precision=p), LABELS, pool(made()), pool(made())).history[0]["train_loss"] for p in ("float32", "bf16")
    ]
    assert losses[0] != losses[1] and losses[0] == pytest.approx(losses[1], rel=0.03)


def weights_of(trained: Trained) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in trained.model.state_dict().items()}


def test_a_training_stopped_between_epochs_ends_with_the_same_bits(tmp_path: Path) -> None:
    config, data, other = tiny(epochs=4), pool(made()), pool(made(seed=1), 40)
    whole = fit(config, LABELS, data, data, other)
    resume = Resume(tmp_path / "state.pt", "same", seconds=0)

    def stop(row: dict[str, float]) -> None:
        if row["epoch"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(config, LABELS, data, data, other, stop, resume=resume)
    state = load_progress(resume.path, "same")
    assert state is not None and len(state.history) == 2
    assert load_progress(resume.path, "another config") is None
    seen: list[float] = []
    again = fit(config, LABELS, data, data, other, lambda row: seen.append(row["epoch"]), resume=resume)
    assert seen == [1, 2, 3, 4] and again.history == whole.history
    assert weights_of(again) == weights_of(whole) and not resume.path.exists()


def test_a_state_with_anything_but_tensors_and_plain_values_is_not_loaded(tmp_path: Path) -> None:
    state = io.BytesIO()
    torch.save({"identity": "same", "model": Path("x")}, state)
    (tmp_path / "state.pt").write_bytes(b"%08x" % zlib.crc32(state.getvalue()) + state.getvalue())
    assert load_progress(tmp_path / "state.pt", "same") is None


def test_a_state_of_which_a_bit_changed_is_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    save_progress(path, Progress({"w": torch.ones(50)}, {}, {}, [0.0, 0.0]), "same")
    data = path.read_bytes()
    for place in range(0, len(data), 7):
        path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        assert load_progress(path, "same") is None, place
    path.write_bytes(data)
    assert load_progress(path, "same") is not None


def test_a_loss_that_turns_nan_stops_and_the_best_model_before_it_comes_with_the_error() -> None:
    data = pool(made())
    reached: list[dict[str, float]] = []

    def spoil(row: dict[str, float]) -> None:
        reached.append(row)
        if row["epoch"] == 2:
            data.norms["a"].mean[0] = torch.nan

    with pytest.raises(DivergedError, match=r"no longer finite in epoch 3 .*lower learning_rate") as caught:
        fit(tiny(epochs=5), LABELS, data, data, report=spoil)
    best = caught.value.trained
    assert best.best_epoch in (1, 2) and len(reached) == 2
    assert all(torch.isfinite(value).all() for value in best.model.state_dict().values())


def test_a_fold_that_diverges_keeps_its_last_good_model_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load_input(tiny(), make_store(tmp_path / "store"))

    def spoil(fold: str, row: dict[str, float]) -> None:
        monkeypatch.setattr(torch, "isfinite", lambda x: torch.zeros(()) > 1)

    job = FoldJob(tiny(), data, data.folds[0], tmp_path / "fold")
    with pytest.raises(TrainingError, match="the model of epoch 1 is kept in"):
        job.run(spoil, lambda text: None)
    assert (tmp_path / "fold" / "model.safetensors").is_file() and not (tmp_path / "fold" / "fold.json").exists()


def test_what_cannot_be_trained_on_is_named_with_the_remedy() -> None:
    data = made()
    one = replace(data, labels=("anger",) * 64)
    with pytest.raises(TrainingError, match=r"one class only \(anger\).*choose another protocol"):
        fit(tiny(), LABELS, pool(one), pool(data))
    with pytest.raises(TrainingError, match=r"holds 3 usable utterances, expected 4 or more: add data"):
        fit(tiny(), LABELS, pool(data), pool(data), pool(made(seed=1), 3))
    odd = replace(data, labels=("bliss", *data.labels[1:]))
    with pytest.raises(TrainingError, match=r"validation part holds the label 'bliss', .* lacks: relabel"):
        fit(tiny(), LABELS, pool(data), pool(odd))
