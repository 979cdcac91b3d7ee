"""Latents by epoch are those of the models, change no figure, outlive a kill, and come back from JSON or not at all."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from mmpipe.pipeline.report.blocks import Details, Grid
from mmpipe.pipeline.report.charts import Points
from mmpipe.pipeline.report.training import show_run, training_section
from mmpipe.pipeline.training.checkpoint import load_model
from mmpipe.pipeline.training.config import TrainConfig, make_config
from mmpipe.pipeline.training.data.dataset import Pool
from mmpipe.pipeline.training.data.inputs import TrainInput, load_input
from mmpipe.pipeline.training.fold import FoldJob
from mmpipe.pipeline.training.latents import Latents
from mmpipe.pipeline.training.loop import fit
from mmpipe.pipeline.training.run import train

from .conftest import make_store


def config_of(**values: Any) -> TrainConfig:
    given = {"objective": "paper", "size": "small", "epochs": 5, "batch_size": 16, "protocol": "groups-3"}
    return make_config(**(given | values))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainInput:
    folder = tmp_path_factory.mktemp("latents")
    stores = make_store(folder / "labelled"), make_store(folder / "unlabelled", labeled=False, rows=70)
    return load_input(config_of(), *stores)


def job(data: TrainInput, folder: Path, save_seconds: float = 30.0, **values: Any) -> FoldJob:
    return FoldJob(config_of(**values), data, data.folds[0], folder, save_seconds=save_seconds)


def silent(*_: Any) -> None:
    """Reports nothing."""


def test_the_best_epoch_is_what_scikit_learn_finds_in_the_latents_of_the_model_that_was_kept(
    data: TrainInput, tmp_path: Path
) -> None:
    fold = job(data, tmp_path / "fold").run(silent, silent)
    kept = fold.latents
    assert kept is not None and fold.best_epoch in [view.epoch for view in kept.epochs]
    assert {1, 2, 4} <= {view.epoch for view in kept.epochs} <= {1, 2, 4, fold.best_epoch}
    valid, pool = data.folds[0].valid, data.unlabeled_of(data.folds[0])
    assert pool is not None and kept.ids == (*sorted(valid), *pool.dataset.ids[::2])
    of_labels = dict(zip(data.labeled.ids, data.labeled.labels, strict=True))
    assert kept.labels == tuple(of_labels[i] for i in sorted(valid)) + (None,) * 35
    saved = load_model(tmp_path / "fold")
    sides = [
        Pool(data.labeled, data.labeled.rows_of(sorted(valid)), saved.norms),
        Pool(pool.dataset, pool.dataset.rows_of(kept.ids[len(valid) :]), pool.norms),
    ]
    with torch.no_grad():
        outputs = [saved.model(*side.batch(side.rows)).latents for side in sides]
    z = np.concatenate([torch.cat([each[name] for each in outputs]).numpy() for name in "avl"]).astype(np.float64)
    pca = PCA(2, svd_solver="full").fit(z)
    view = next(view for view in kept.epochs if view.epoch == fold.best_epoch)
    got = np.concatenate([np.reshape(view.points[name], (-1, 2)) for name in "avl"])
    expected = pca.transform(z)
    expected *= np.sign((got * expected).sum(axis=0))
    np.testing.assert_allclose(got, expected, atol=2e-3 * np.abs(expected).max())
    np.testing.assert_allclose(view.shares, pca.explained_variance_ratio_, atol=1e-3)


def test_to_look_changes_no_figure_and_a_stopped_fold_has_the_same_record(data: TrainInput, tmp_path: Path) -> None:
    whole, fold = job(data, tmp_path / "whole"), data.folds[0]
    result = whole.run(silent, silent)
    norms = load_model(whole.folder).norms
    labelled = [Pool(data.labeled, data.labeled.rows_of(ids), norms) for ids in (fold.train, fold.valid)]
    plain = fit(whole.config, data.labels, labelled[0], labelled[1], data.unlabeled_of(fold))
    assert plain.latents is None and tuple(plain.history) == result.history

    def stop(name: str, row: dict[str, float]) -> None:
        if row["epoch"] == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job(data, tmp_path / "stopped", save_seconds=0).run(stop, silent)
    assert (tmp_path / "stopped" / "state.pt").is_file()
    job(data, tmp_path / "stopped").run(silent, silent)
    assert (tmp_path / "stopped" / "fold.json").read_bytes() == (whole.folder / "fold.json").read_bytes()


def test_a_report_shows_the_epochs_with_a_point_for_each_modality_of_an_utterance(tmp_path: Path) -> None:
    train(config_of(modalities=("a", "l"), epochs=2), make_store(tmp_path / "store"), tmp_path / "run")
    run = show_run(tmp_path / "run")
    blocks = training_section([run], {}, []).blocks
    (shown,) = [b.blocks for b in blocks if isinstance(b, Details) and b.summary == "Latents by epoch"]
    assert isinstance(shown[1], Grid)
    clouds = [figure.chart for figure in shown[1].figures]
    latents = run.folds[0].latents
    assert latents is not None and len(clouds) == len(latents.epochs) == 2
    for cloud in clouds:
        assert isinstance(cloud, Points)
        assert len(cloud.x) == len(cloud.y) == len(cloud.tips) == 2 * len(latents.ids)
        assert cloud.colourings["modality"] == ["acoustic"] * len(latents.ids) + ["lexical"] * len(latents.ids)
        assert set(cloud.colourings["label"]) == {"anger", "sadness"}


SOUND: dict[str, Any] = {
    "ids": ["x", "y"],
    "labels": ["anger", None],
    "epochs": [{"epoch": 1, "shares": [0.5, 0.25], "points": {"a": [0.0, 1.5, 2.0, -1.0]}}],
}

WRONG: dict[str, Callable[[dict[str, Any]], object]] = {
    "an utterance without a label": lambda v: v["labels"].pop(),
    "a missing place": lambda v: v["epochs"][0]["points"]["a"].pop(),
    "NaN": lambda v: v["epochs"][0]["points"]["a"].__setitem__(0, float("nan")),
    "infinity": lambda v: v["epochs"][0]["shares"].__setitem__(0, float("inf")),
    "a number that no float holds": lambda v: v["epochs"][0]["points"]["a"].__setitem__(0, 10**400),
    "a text as a place": lambda v: v["epochs"][0]["points"]["a"].__setitem__(0, "0"),
    "a modality that is none": lambda v: v["epochs"][0]["points"].update(x=[0.0] * 4),
    "a name that is not a text": lambda v: v["ids"].__setitem__(0, 3),
    "three shares": lambda v: v["epochs"][0]["shares"].append(0.1),
    "an epoch in words": lambda v: v["epochs"][0].update(epoch="first"),
    "more epochs than can be": lambda v: v.update(epochs=v["epochs"] * 100),
    "more utterances than can be": lambda v: v.update(ids=["x"] * 9999, labels=[None] * 9999, epochs=[]),
}


def test_a_record_comes_back_from_json() -> None:
    assert json.loads(json.dumps(Latents.from_json(SOUND).to_json())) == SOUND


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_a_record_that_is_not_whole_is_refused(change: Callable[[dict[str, Any]], object]) -> None:
    value = copy.deepcopy(SOUND)
    change(value)
    with pytest.raises((ValueError, TypeError)):
        Latents.from_json(value)
