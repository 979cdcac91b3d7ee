"""Speech features: the last hidden layer of a wav2vec 2.0 (Baevski et al. 2020) or a similar encoder.

Legend: T samples of a waveform, N frames (about 50 a second), W width.

Any checkpoint works that transformers' AutoModel reads and that turns a waveform into vectors through strided
convolutions: wav2vec2, HuBERT, WavLM, data2vec-audio, UniSpeech, SEW and their fine-tuned forms. Every call holds one
waveform of its own length, without padding, so the bits of a row depend on its audio alone.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from mmpipe.core.errors import Rejected, WeightsError
from mmpipe.core.reading import read_object
from mmpipe.extractors.contract import (
    SAMPLING_RATE_HZ,
    Audio,
    ExtractorConfig,
    InputKind,
    PerItemExtractor,
    Precision,
    Row,
)
from mmpipe.extractors.weights.bundled import sha256
from mmpipe.extractors.weights.checkpoints import (
    check_architecture,
    find_model,
    preprocessor_files,
    quiet,
    weight_files,
)

__all__ = ["SpeechEncoder", "SpeechEncoderConfig"]

_TRAINING_ONLY = {"masked_spec_embed"}
"""Tensors that a checkpoint may lack: they replace masked frames in training."""


class SpeechEncoderConfig(ExtractorConfig):
    """Config of the speech features."""

    model: str = "facebook/wav2vec2-base-960h"
    """A model of the Hugging Face hub, or a local folder, with safetensors weights and preprocessor_config.json."""

    revision: str | None = None
    """Commit, tag or branch of a hub model; None is the cached one, else `main`. Unused for folders."""

    pool: Literal["mean", "none"] = "mean"
    """`mean` gives an utterance one vector, the mean of its frames; `none` keeps every frame (7.2 s of a model 768
    wide are 0.55 MB)."""

    window_seconds: float = Field(default=30.0, ge=1, le=3600)
    """A longer waveform is encoded in equal windows of at most this length: attention costs its square."""


class SpeechEncoder(PerItemExtractor):
    """A waveform float32 [T] to features float32 [W], or float16 [N, W] with `pool = "none"`."""

    input: ClassVar[InputKind] = "audio"
    Config: ClassVar[type[ExtractorConfig]] = SpeechEncoderConfig
    licence: ClassVar[str] = "That of the model that the config names."
    precisions: ClassVar[tuple[Precision, ...]] = ("float32", "bf16")
    runs_on_device: ClassVar[bool] = True
    config: SpeechEncoderConfig
    _folder: Path | None = None

    def columns(self) -> list[pa.Field]:
        """`features`, and with `pool = "none"` one vector a frame; W is read from the model's config.json.

        Raises:
            WeightsError: the model cannot be found, or is not a speech encoder.
        """
        width = int(self._architecture()["hidden_size"])
        kind = pa.list_(pa.float32(), width) if self.config.pool == "mean" else pa.list_(pa.list_(pa.float16(), width))
        return [pa.field("features", kind)]

    def weights(self) -> dict[str, str]:
        """Hashes of the model's config, weights and preprocessor config.

        Raises:
            WeightsError: the model cannot be found, or has no safetensors weights.
        """
        folder = self._find()
        names = ["config.json", *weight_files(folder), *preprocessor_files(folder)]
        return {name: sha256(folder / name) for name in sorted(names)}

    def versions(self) -> dict[str, str]:
        """Torch and transformers decide the values."""
        return {name: importlib.metadata.version(name) for name in ("torch", "transformers")}

    def prepare(self) -> None:
        """Load the network onto the device.

        Raises:
            WeightsError: the model cannot be found, is not a speech encoder, does not take 16 kHz, or its tensors do
                not fit its config.
        """
        folder = self._find()
        self._shortest = _receptive_field(self._architecture())
        check_architecture(folder / "config.json", self._architecture())
        preprocessor_files(folder)
        with quiet():
            transformers: Any = importlib.import_module("transformers")
            options = {"local_files_only": True}
            try:
                self._normalise = transformers.AutoFeatureExtractor.from_pretrained(folder, **options)
                network, info = transformers.AutoModel.from_pretrained(
                    folder, output_loading_info=True, use_safetensors=True, **options
                )
            except Exception as error:  # transformers raises many kinds of errors for a file that does not fit
                raise WeightsError(f"the speech model in {folder} cannot be loaded: {error}") from error
        if missing := sorted(name for name in info["missing_keys"] if name not in _TRAINING_ONLY):
            raise WeightsError(
                f"the speech model in {folder} lacks {len(missing)} of its tensors, first {missing[0]}: "
                "its weights are of another architecture than its config.json says"
            )
        if self._normalise.sampling_rate != SAMPLING_RATE_HZ:
            raise WeightsError(
                f"the speech model in {folder} takes {self._normalise.sampling_rate} samples a second; "
                f"extractors receive {SAMPLING_RATE_HZ}: choose a model of that rate"
            )
        self._network = network.float().eval().to(self.device)

    def extract_one(self, item: Audio) -> Row:
        """The features of one waveform.

        Raises:
            Rejected: `too_short` if the waveform is shorter than the convolutions need (0.025 s with wav2vec2).
        """
        if len(item.waveform) < self._shortest:
            raise Rejected(
                "too_short",
                f"{len(item.waveform) / SAMPLING_RATE_HZ:.3f} s of audio is too short: {self.config.model} needs "
                f"{self._shortest / SAMPLING_RATE_HZ:.3f} s",
            )
        count = -(-len(item.waveform) // round(self.config.window_seconds * SAMPLING_RATE_HZ))
        features_NW = np.concatenate([self._encode(window) for window in np.array_split(item.waveform, count)])
        if not np.isfinite(features_NW).all():
            raise Rejected("extractor_error", f"{self.config.model} gave a value that is not finite")
        if self.config.pool == "mean":
            return {"features": features_NW.mean(axis=0, dtype=np.float64).astype(np.float32)}
        if np.abs(features_NW).max() > np.finfo(np.float16).max:
            raise Rejected("extractor_error", f"a value does not fit float16: {np.abs(features_NW).max():g}")
        return {"features": features_NW.astype(np.float16)}

    def _encode(self, waveform: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The last hidden layer float32 [N, W] of one window."""
        import torch

        inputs = self._normalise(waveform, sampling_rate=SAMPLING_RATE_HZ, return_tensors="pt")
        is_low = self.precision == "bf16"
        with torch.inference_mode(), torch.autocast(self.device, torch.bfloat16, enabled=is_low):
            output = self._network(inputs["input_values"].to(self.device))
        hidden: npt.NDArray[np.float32] = output.last_hidden_state[0].float().cpu().numpy()
        return hidden

    def _find(self) -> Path:
        if self._folder is None:
            self._folder = find_model(self.config.model, self.config.revision, preprocessor_files)
        return self._folder

    def _architecture(self) -> dict[str, Any]:
        """The model's config.json, checked."""
        path = self._find() / "config.json"
        try:
            architecture = read_object(path)
            int(architecture["hidden_size"]), _receptive_field(architecture)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WeightsError(
                f"{path} is not the config of a speech encoder of the wav2vec2 kind (hidden_size, conv_kernel and "
                f"conv_stride are expected): {type(error).__name__}: {error}"
            ) from error
        return architecture


def _receptive_field(architecture: dict[str, Any]) -> int:
    """Samples of the first frame's receptive field: a shorter waveform does not have a frame.

    Example:
        >>> _receptive_field({"conv_kernel": [10, 3, 3, 3, 3, 2, 2], "conv_stride": [5, 2, 2, 2, 2, 2, 2]})
        400
    """
    kernels: Sequence[int] = architecture["conv_kernel"]
    samples = 1
    for kernel, stride in zip(reversed(kernels), reversed(architecture["conv_stride"]), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples
