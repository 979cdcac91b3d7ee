"""The expression network is the paper's, its features repeat to the bit, only fitting weights are taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mmpipe.core.errors import Rejected, WeightsError
from mmpipe.extractors.faces.densenet import FerplusDenseNet, load_network
from mmpipe.extractors.faces.expression import Expression, ExpressionConfig


@pytest.fixture(scope="module")
def expression(expression_weights: Path) -> Expression:
    extractor = Expression(ExpressionConfig(weights=expression_weights))
    extractor.prepare()
    return extractor


def faces(count: int, seed: int = 0) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (count, 64, 64), np.uint8)


def test_the_network_has_the_papers_size() -> None:
    network = FerplusDenseNet()
    assert sum(tensor.numel() for tensor in network.parameters()) == 768_044
    assert network(torch.zeros(2, 1, 64, 64)).shape == (2, 8)
    assert network.embed(torch.zeros(2, 1, 64, 64)).shape == (2, 342)


def test_the_tensors_have_torchvisions_names() -> None:
    names = FerplusDenseNet().state_dict().keys()
    assert {
        "features.conv0.weight",
        "features.denseblock3.denselayer16.conv2.weight",
        "classifier.bias",
    } <= names
    assert not any("norm0" in name for name in names)


def test_a_feature_is_the_pooled_last_activation_of_the_normalised_face(
    expression: Expression, expression_weights: Path
) -> None:
    network = load_network(expression_weights)
    images = faces(3)
    pixels = (torch.from_numpy(images)[:, None].float() - 129.42) / 64.86  # mean and deviation of FER2013
    with torch.inference_mode():
        expected = network.features(pixels).relu().mean((2, 3))
        logits = network(pixels)
        np.testing.assert_allclose(network.classifier(expected), logits, atol=1e-5)
    row = next(expression.extract([images]))
    assert not isinstance(row, Rejected)
    assert row["features"].dtype == np.float32
    np.testing.assert_allclose(row["features"], expected, atol=1e-5)


def test_crops_of_one_utterance_share_calls_with_others_without_a_trace(expression: Expression) -> None:
    items = [faces(5, 1), faces(30, 2), faces(1, 3)]
    together = [row["features"] for row in expression.extract(items) if not isinstance(row, Rejected)]
    assert [part.shape for part in together] == [(5, 342), (30, 342), (1, 342)]
    for item, part in zip(items, together, strict=True):
        assert np.array_equal(expression.embed(item), part)


def test_other_statistics_change_the_features(expression: Expression, expression_weights: Path) -> None:
    iemocap = Expression(ExpressionConfig(weights=expression_weights, mean=131.0754, std=47.858177))
    iemocap.prepare()
    assert not np.allclose(iemocap.embed(faces(1)), expression.embed(faces(1)))


def test_weights_of_another_shape_are_refused_with_both_shapes(expression_weights: Path, tmp_path: Path) -> None:
    tensors = load_file(expression_weights)
    tensors["classifier.weight"] = torch.zeros(7, 342)
    save_file(tensors, tmp_path / "seven.safetensors")
    with pytest.raises(WeightsError, match=r"first classifier\.weight: expected \(8, 342\), got \(7, 342\)"):
        load_network(tmp_path / "seven.safetensors")
    del tensors["classifier.weight"]
    save_file(tensors, tmp_path / "lacking.safetensors")
    with pytest.raises(WeightsError, match="got no such tensor"):
        load_network(tmp_path / "lacking.safetensors")


def test_a_pickle_or_a_damaged_file_is_refused(expression_weights: Path, tmp_path: Path) -> None:
    torch.save(load_file(expression_weights), tmp_path / "pickle.pt")
    (tmp_path / "cut.safetensors").write_bytes(expression_weights.read_bytes()[:1_000])
    for name in ("pickle.pt", "cut.safetensors", "missing.safetensors"):
        with pytest.raises(WeightsError, match="is not a readable safetensors file"):
            load_network(tmp_path / name)


def test_missing_weights_are_reported_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"none\.safetensors cannot be read"):
        Expression(ExpressionConfig(weights=tmp_path / "none.safetensors")).weights()
