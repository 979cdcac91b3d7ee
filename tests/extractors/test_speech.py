"""Features of speech encoders equal the network's own, for every encoder of the wav2vec2 kind."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import torch

from mmpipe.core.errors import Rejected, WeightsError
from mmpipe.extractors.audio.speech_encoder import SpeechEncoder, SpeechEncoderConfig
from mmpipe.extractors.contract import Audio
from mmpipe.extractors.weights.checkpoints import quiet

from .conftest import save_speech_model

KINDS = ["wav2vec2", "hubert", "wavlm", "data2vec-audio", "unispeech", "unispeech-sat", "sew", "wav2vec2-conformer"]

WAVE = np.random.default_rng(5).uniform(-0.4, 0.4, 20_000).astype(np.float32)


def made(folder: Path, **options: Any) -> SpeechEncoder:
    extractor = SpeechEncoder(SpeechEncoderConfig(model=str(folder), **options))
    extractor.prepare()
    return extractor


def features(extractor: SpeechEncoder, waveform: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    row = next(extractor.extract([Audio(waveform)]))
    assert not isinstance(row, Rejected), row
    values: npt.NDArray[Any] = row["features"]
    return values


def direct(folder: Path, waveform: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The last hidden layer [N, W] by transformers alone."""
    transformers: Any = importlib.import_module("transformers")
    with quiet(), torch.inference_mode():
        normalise = transformers.AutoFeatureExtractor.from_pretrained(folder)
        model = transformers.AutoModel.from_pretrained(folder).eval()
        inputs = normalise(waveform, sampling_rate=16_000, return_tensors="pt")
        hidden: npt.NDArray[np.float32] = model(**inputs).last_hidden_state[0].numpy()
    return hidden


@pytest.fixture
def folder(tiny_speech: Path, tmp_path: Path) -> Path:
    """A copy of the small checkpoint that a test may damage."""
    return Path(shutil.copytree(tiny_speech, tmp_path / "model"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_features_are_the_last_hidden_layer(kind: str, tmp_path: Path) -> None:
    with quiet():
        save_speech_model(tmp_path, kind)
    expected = direct(tmp_path, WAVE)
    pooled = features(made(tmp_path), WAVE)
    assert pooled.dtype == np.float32
    np.testing.assert_allclose(pooled, expected.mean(axis=0), rtol=1e-5, atol=1e-5)
    frames = features(made(tmp_path, pool="none"), WAVE)
    assert frames.dtype == np.float16
    np.testing.assert_allclose(frames, expected, rtol=2**-11 + 1e-5, atol=1e-5)


def test_long_audio_is_encoded_in_equal_windows(tiny_speech: Path) -> None:
    wave = np.random.default_rng(6).uniform(-0.4, 0.4, 40_000).astype(np.float32)
    windows = [wave[:13_334], wave[13_334:26_667], wave[26_667:]]
    expected = np.concatenate([direct(tiny_speech, window) for window in windows])
    frames = features(made(tiny_speech, pool="none", window_seconds=1.0), wave)
    np.testing.assert_allclose(frames, expected, rtol=2**-11 + 1e-5, atol=1e-5)


def test_the_columns_follow_from_the_config(tiny_speech: Path) -> None:
    (pooled,) = SpeechEncoder(SpeechEncoderConfig(model=str(tiny_speech))).columns()
    (frames,) = SpeechEncoder(SpeechEncoderConfig(model=str(tiny_speech), pool="none")).columns()
    assert pooled.type == pa.list_(pa.float32(), 16)
    assert frames.type == pa.list_(pa.list_(pa.float16(), 16))


def test_audio_shorter_than_the_convolutions_is_too_short(tiny_speech: Path) -> None:
    extractor = made(tiny_speech)
    answer = next(extractor.extract([Audio(WAVE[:399])]))
    assert isinstance(answer, Rejected)
    assert answer.status == "too_short"
    assert "0.025 s of audio is too short" in answer.message
    assert features(extractor, WAVE[:400]).shape == (16,)


def test_the_hashes_cover_config_weights_and_preprocessor(folder: Path) -> None:
    before = SpeechEncoder(SpeechEncoderConfig(model=str(folder))).weights()
    assert sorted(before) == ["config.json", "model.safetensors", "preprocessor_config.json"]
    (folder / "preprocessor_config.json").write_text(
        (folder / "preprocessor_config.json").read_text().replace('"do_normalize": true', '"do_normalize": false')
    )
    after = SpeechEncoder(SpeechEncoderConfig(model=str(folder))).weights()
    assert [name for name in before if before[name] != after[name]] == ["preprocessor_config.json"]


def test_what_is_no_speech_encoder_is_refused(folder: Path, tiny_bert: Path) -> None:
    with pytest.raises(WeightsError, match=r"is not the config of a speech encoder .* 'conv_kernel'"):
        SpeechEncoder(SpeechEncoderConfig(model=str(tiny_bert))).columns()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(WeightsError, match=r"lacks 16 of its tensors, first encoder\.layers\.2"):
        made(folder)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(WeightsError, match=r"has no preprocessor_config\.json"):
        made(folder)


def test_a_model_of_another_sampling_rate_is_refused(folder: Path) -> None:
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(settings | {"sampling_rate": 8_000}))
    with pytest.raises(WeightsError, match="takes 8000 samples a second; extractors receive 16000"):
        made(folder)


def test_pickles_are_never_opened(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"no safetensors weights .*opens no pickles"):
        made(folder)
