"""Temperatures minimise the likelihood, and calibration errors are those of their definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmpipe.pipeline.balancing.calibration import fit_temperature, measure_reliability, temper


def drawn(temperature: float, number: int = 20_000) -> tuple[torch.Tensor, np.ndarray]:
    """Logits that are `temperature` times too large for the classes that are drawn by them."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(number, 4, generator=generator, dtype=torch.float64) * 2
    truth = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    return logits * temperature, truth.numpy()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_spoilt_the_logits_is_found(temperature: float) -> None:
    logits, truth = drawn(temperature)
    probabilities = logits.softmax(1).float().numpy()
    assert fit_temperature(probabilities, truth) == pytest.approx(temperature, rel=0.05)


def test_no_other_temperature_has_a_lower_loss() -> None:
    """The loss is that of torch, of the logits themselves."""
    logits, truth = drawn(2.0, 500)
    found = fit_temperature(logits.softmax(1).float().numpy(), truth)
    grid = torch.linspace(0.1, 10, 2000, dtype=torch.float64)
    losses = [torch.nn.functional.cross_entropy(logits / t, torch.from_numpy(truth)).item() for t in (found, *grid)]
    assert losses[0] <= min(losses[1:]) + 1e-6


def test_answers_that_are_all_right_give_a_temperature_within_bounds() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    assert fit_temperature(probabilities, np.array([0, 1])) == pytest.approx(0.1, abs=0.001)
    assert fit_temperature(probabilities, np.array([1, 0])) == pytest.approx(10, abs=0.01)


def test_tempered_probabilities_are_those_of_the_divided_logits() -> None:
    logits, _ = drawn(1.5, 100)
    expected = (logits / 2.5).softmax(1).numpy()
    assert np.allclose(temper(logits.softmax(1).float().numpy(), 2.5), expected, atol=1e-5)
    sure = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    assert np.isfinite(temper(sure, 0.1)).all() and np.allclose(temper(sure, 0.1), sure)


@given(st.lists(st.tuples(st.floats(0.501, 1), st.booleans()), min_size=1, max_size=60))
def test_the_calibration_error_is_that_of_its_definition(answers: list[tuple[float, bool]]) -> None:
    """Sum over the bins of their share of the utterances times the distance of mean confidence and accuracy."""
    confidence = np.array([value for value, _ in answers], np.float32)
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    truth = np.array([0 if is_right else 1 for _, is_right in answers])
    bins: dict[int, list[tuple[float, bool]]] = {}
    for value, (_, is_right) in zip(confidence.astype(float).tolist(), answers, strict=True):
        number = next(k for k in range(10) if value <= (k + 1) / 10 or k == 9)
        bins.setdefault(number, []).append((value, is_right))
    expected = sum(
        abs(sum(value for value, _ in held) - sum(right for _, right in held)) / len(answers) for held in bins.values()
    )
    found = measure_reliability(probabilities, truth)
    assert found.error == pytest.approx(expected, abs=2e-6)
    assert {k: part.n for k, part in enumerate(found.bins) if part.n} == {k: len(held) for k, held in bins.items()}


def test_scaling_makes_overconfident_answers_honest() -> None:
    logits, truth = drawn(3.0)
    probabilities = logits.softmax(1).float().numpy()
    half = len(truth) // 2
    temperature = fit_temperature(probabilities[:half], truth[:half])
    before = measure_reliability(probabilities[half:], truth[half:]).error
    after = measure_reliability(temper(probabilities[half:], temperature), truth[half:]).error
    assert before > 0.1 and after < 0.02
