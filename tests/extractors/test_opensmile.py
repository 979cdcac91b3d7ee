"""IS10 and eGeMAPS functionals equal opensmile's own, whatever came before, and unusable audio says why it is."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import opensmile
import pytest

from mmpipe.core.errors import Rejected, UsageError
from mmpipe.extractors.audio.opensmile import IS10, EGeMAPS, FunctionalsConfig
from mmpipe.extractors.contract import Audio

CONFIGS = Path(opensmile.__file__).parent / "core" / "config"
GENERATOR = np.random.default_rng(3)
SECOND = np.arange(16_000) / 16_000

WAVES: dict[str, npt.NDArray[np.float32]] = {
    "noise": GENERATOR.uniform(-0.5, 0.5, 24_000).astype(np.float32),
    "voiced": (0.4 * np.sign(np.sin(2 * np.pi * 140 * SECOND)) * np.hanning(16_000)).astype(np.float32),
    "full scale": np.sin(2 * np.pi * 250 * SECOND).astype(np.float32),
    "silence": np.zeros(16_000, np.float32),
    "constant": np.full(16_000, 0.25, np.float32),
    "one click": np.eye(1, 16_000, 8_000, dtype=np.float32)[0] * np.float32(0.9),
    "0.07 seconds": GENERATOR.uniform(-0.5, 0.5, 1_120).astype(np.float32),
}


@pytest.fixture(scope="module")
def is10() -> IS10:
    extractor = IS10(FunctionalsConfig())
    extractor.prepare()
    return extractor


def extract(extractor: IS10, waveform: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    row = next(extractor.extract([Audio(waveform)]))
    assert not isinstance(row, Rejected), row
    features: npt.NDArray[np.float32] = row["features"]
    return features


def rejected(extractor: IS10, waveform: npt.NDArray[np.float32]) -> Rejected:
    answer = next(extractor.extract([Audio(waveform)]))
    assert isinstance(answer, Rejected)
    return answer


@pytest.mark.parametrize("name", WAVES)
def test_the_values_are_those_of_opensmile(is10: IS10, name: str) -> None:
    reference = opensmile.Smile(opensmile.FeatureSet.IS10, opensmile.FeatureLevel.Functionals)
    expected = reference.process_signal(WAVES[name], 16_000).to_numpy()[0]
    features = extract(is10, WAVES[name])
    assert features.dtype == np.float32
    assert features.shape == (1_582,)
    assert np.array_equal(features, expected)


@pytest.mark.parametrize("name", ["noise", "voiced", "full scale", "silence"])
def test_the_values_of_egemaps_are_those_of_opensmile(name: str) -> None:
    reference = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    expected = reference.process_signal(WAVES[name], 16_000)
    extractor = EGeMAPS(FunctionalsConfig())
    assert np.array_equal(extract(extractor, WAVES[name]), expected.to_numpy()[0])
    (field,) = extractor.columns()
    assert field.type.list_size == 88
    assert field.metadata[b"opensmile_config"] == b"egemaps/v02/eGeMAPSv02"
    assert json.loads(field.metadata[b"feature_names"]) == list(expected.columns)


def test_a_value_does_not_depend_on_what_came_before(is10: IS10) -> None:
    forward = {name: extract(is10, wave) for name, wave in WAVES.items()}
    for name in reversed(WAVES):
        assert np.array_equal(extract(is10, WAVES[name]), forward[name])


def test_the_waveform_is_left_as_it_was(is10: IS10) -> None:
    wave = WAVES["noise"].copy()
    extract(is10, wave)
    assert np.array_equal(wave, WAVES["noise"])


def test_the_column_carries_the_names_and_the_config(is10: IS10) -> None:
    (field,) = is10.columns()
    names = json.loads(field.metadata[b"feature_names"])
    assert names == is10.feature_names()
    assert len(set(names)) == 1_582
    assert names[0] == "pcm_loudness_sma_maxPos"
    assert field.metadata[b"opensmile_config"] == b"is09-13/IS10_paraling_compat"
    assert is10.weights() == {}


@pytest.mark.parametrize("samples", [0, 1, 400, 800, 1_119])
def test_less_than_70_milliseconds_are_too_short(is10: IS10, samples: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer = rejected(is10, np.zeros(samples, np.float32))
    assert answer.status == "too_short"
    assert f"{samples / 16_000:.3f} s" in answer.message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_refused(is10: IS10, value: float) -> None:
    wave = WAVES["noise"].copy()
    wave[5_000] = value
    answer = rejected(is10, wave)
    assert answer.status == "media_error"
    assert "not finite" in answer.message


def test_samples_beyond_full_scale_would_wrap_around_and_are_refused(is10: IS10) -> None:
    answer = rejected(is10, WAVES["noise"] * np.float32(4))
    assert answer.status == "extractor_error"
    assert "got a peak of 1.99" in answer.message


@pytest.mark.parametrize("wave", [np.zeros(16_000, np.int16), np.zeros(16_000), np.zeros((2, 16_000), np.float32)])
def test_anything_but_a_mono_float32_waveform_is_refused(is10: IS10, wave: npt.NDArray[np.float32]) -> None:
    answer = rejected(is10, wave)
    assert answer.status == "extractor_error"
    assert f"got {wave.dtype} {list(wave.shape)}" in answer.message


def test_another_config_gives_its_own_columns_and_enters_the_hashes() -> None:
    extractor = IS10(FunctionalsConfig(config_file=CONFIGS / "compare" / "ComParE_2016.conf"))
    assert extractor.columns()[0].type.list_size == 6_373
    assert extract(extractor, WAVES["noise"]).shape == (6_373,)
    assert sorted(extractor.weights()) == [
        "ComParE_2016.conf",
        "ComParE_2016_core.func.conf.inc",
        "ComParE_2016_core.lld.conf.inc",
    ]


def test_a_changed_include_changes_the_hashes(tmp_path: Path) -> None:
    shutil.copytree(CONFIGS / "compare", tmp_path / "compare")
    config = FunctionalsConfig(config_file=tmp_path / "compare" / "ComParE_2016.conf")
    before = IS10(config).weights()
    include = tmp_path / "compare" / "ComParE_2016_core.func.conf.inc"
    include.write_text(include.read_text() + "\n// changed\n")
    after = IS10(config).weights()
    assert [name for name in before if before[name] != after[name]] == [include.name]


def test_a_config_that_is_missing_or_none_of_opensmiles_is_refused(tmp_path: Path) -> None:
    missing = IS10(FunctionalsConfig(config_file=tmp_path / "none.conf"))
    for ask in (missing.columns, missing.weights, missing.prepare):
        with pytest.raises(UsageError, match=r"none\.conf does not exist; leave config_file empty for IS10"):
            ask()
    (tmp_path / "text.conf").write_text("hello\n")
    with pytest.raises(UsageError, match=r"openSMILE refuses the config .*text\.conf"):
        IS10(FunctionalsConfig(config_file=tmp_path / "text.conf")).prepare()
