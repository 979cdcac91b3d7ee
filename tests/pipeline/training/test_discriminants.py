"""Linear discriminants as a share of a network's answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from mmpipe.core.errors import UsageError
from mmpipe.pipeline.training.checkpoint import load_model, save_model
from mmpipe.pipeline.training.config import TrainConfig, make_config
from mmpipe.pipeline.training.data.dataset import Pool
from mmpipe.pipeline.training.discriminants import WithDiscriminants
from mmpipe.pipeline.training.loop import fit, predict
from mmpipe.pipeline.training.model import Network

from .test_objectives import LABELS, made, pool, small, truth_of

LIMIT = 2.0


def shared(**values: Any) -> TrainConfig:
    return small(**({"lda_share": 0.4, "clip": LIMIT, "epochs": 2} | values))


def by_hand(model: Network, data: Pool, train: Pool, share: float, modalities: str = "avl") -> Any:
    """Probabilities [N, K] of scikit-learn's discriminants beside those of the network alone."""
    assert isinstance(model, WithDiscriminants)
    found, y = [], np.array([LABELS.index(label) for label in truth_of(train)])
    for name in modalities:
        x_by_side = []
        for side in (train, data):
            x = side.dataset.features[name][side.rows].astype(np.float64)
            x = (x - side.norms[name].mean.numpy()) * side.norms[name].scale.numpy()
            x_by_side.append(np.clip(x if x.ndim == 2 else x.mean(axis=1), -LIMIT, LIMIT))
        full = np.zeros((len(data.rows), len(LABELS)))
        known = np.unique(y)
        found.append(full)
        lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=np.full(len(known), 1 / len(known)))
        full[:, known] = lda.fit(x_by_side[0], y).predict_proba(x_by_side[1])
    return share * np.mean(found, axis=0) + (1 - share) * predict(model.network, data)


@pytest.mark.parametrize(
    ("modalities", "objective"), [("avl", "self-train"), ("a", "consistency"), ("vl", "self-train")]
)
def test_the_answer_is_the_mean_of_the_network_and_of_scikit_learns_discriminants(
    tmp_path: Path, modalities: str, objective: str
) -> None:
    data = made(208, modalities=modalities)
    train, test = pool(data, range(160)), pool(data, range(160, 208))
    config = shared(modalities=tuple(modalities), objective=objective, ensemble=2)
    model = fit(config, LABELS, train, test).model
    answers = predict(model, test)
    np.testing.assert_allclose(answers, by_hand(model, test, train, 0.4, modalities), atol=1e-4)
    assert not np.allclose(answers, predict(model.network, test), atol=0.05)  # type: ignore[arg-type]
    save_model(tmp_path, model, config, LABELS, train.norms, data, {})
    assert np.array_equal(load_model(tmp_path).predict(data, test.rows), answers)


def test_two_classes_and_a_class_without_a_row() -> None:
    data = made(400)
    test = pool(data, range(360, 400))
    for held in ([0, 1], [1, 2, 3]):
        train = pool(data, [row for row in range(360) if row % 4 in held])
        model = fit(shared(epochs=1), LABELS, train, test).model
        np.testing.assert_allclose(predict(model, test), by_hand(model, test, train, 0.4), atol=1e-4)


def test_of_few_rows_a_class_they_have_no_share() -> None:
    data = made(200)
    test = pool(data, range(160, 200))
    for rows, share in ((160, 0.4), (159, 0.0), (2, 0.0)):
        model = fit(shared(epochs=1), LABELS, pool(data, range(rows)), test).model
        np.testing.assert_allclose(predict(model, test), by_hand(model, test, pool(data, range(160)), share), atol=1e-4)


def test_the_network_learns_as_it_would_alone() -> None:
    data = pool(made(160))
    with_them, alone = (fit(shared(lda_share=share, clip=3), LABELS, data, data) for share in (0.5, 0.0))
    for both, single in zip(with_them.history, alone.history, strict=True):
        assert both["cls"] == single["cls"] and both["valid_loss"] != single["valid_loss"]


def test_frequent_classes_are_not_favoured() -> None:
    data = made(800, signal=0.25)
    often = [row for row in range(520) if row % 4 == 0] + [row for row in range(520) if row % 4][:30]
    train, valid, test = pool(data, often), pool(data, range(600, 700)), pool(data, range(700, 800))
    answers = [
        predict(fit(shared(lda_share=share, epochs=4), LABELS, train, valid).model, test) for share in (0.5, 0.0)
    ]
    shares = [np.mean(said.argmax(axis=1) == 0) for said in answers]
    assert shares[0] < shares[1] - 0.05, shares


def test_size_small_has_them_and_the_papers_objective_cannot() -> None:
    assert make_config(size="small").lda_share == 0.5 and make_config().lda_share == 0.0
    assert make_config(size="small", objective="paper").lda_share == 0.0
    with pytest.raises(UsageError, match="lda_share"):
        make_config(objective="paper", lda_share=0.5)
    with pytest.raises(UsageError, match="lda_share"):
        make_config(size="small", lda_share=1.0)
