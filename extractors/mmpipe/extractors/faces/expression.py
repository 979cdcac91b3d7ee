"""Facial expression features: the 342-d activation of a DenseNet trained on FERPlus (paper section 3.1).

Legend: N faces, D = 342.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator

from mmpipe.core.errors import Rejected, UsageError
from mmpipe.extractors.contract import Extractor, ExtractorConfig, InputKind, Precision, Row
from mmpipe.extractors.faces.ferplus import CROP_SIZE, EXPRESSION_WIDTH, FERPLUS_MEAN, FERPLUS_STD
from mmpipe.extractors.weights.bundled import FERPLUS_DENSENET, bundled, sha256

__all__ = ["CALL_SIZE", "Expression", "ExpressionConfig"]

CALL_SIZE = 8
"""Faces in every call of the network; the last one is padded, so that a row does not depend on others. The maps of
eight faces fit into a processor's cache, those of 32 do not."""


class ExpressionConfig(ExtractorConfig):
    """Config of the expression features."""

    weights: Path | None = None
    """A safetensors file; None uses the weights that ship with mmpipe."""

    statistics: Literal["ferplus", "corpus", "numbers"] = "ferplus"
    """Where mean and deviation come from: `ferplus` are those of the training faces; `corpus` those of a seeded sample
    of this corpus's crops, which `mmpipe extract` measures once, before the stage starts; `numbers` the given ones."""

    mean: float | None = Field(default=None, ge=0, le=255)
    """Subtracted from the pixels (0..255 scale)."""

    std: float | None = Field(default=None, gt=0)
    """Divides the pixels after the mean is subtracted."""

    @model_validator(mode="after")
    def _resolve(self) -> Self:
        given = self.mean is not None, self.std is not None
        if any(given) != all(given):
            raise ValueError("mean and std go together: give both, or neither")
        if self.statistics == "numbers" and not all(given):
            raise ValueError("statistics 'numbers' needs mean and std")
        if self.statistics == "ferplus":
            kind = "numbers" if all(given) and (self.mean, self.std) != (FERPLUS_MEAN, FERPLUS_STD) else "ferplus"
            object.__setattr__(self, "statistics", kind)
            object.__setattr__(self, "mean", self.mean if all(given) else FERPLUS_MEAN)
            object.__setattr__(self, "std", self.std if all(given) else FERPLUS_STD)
        return self


class Expression(Extractor):
    """Face crops uint8 [N, 64, 64] to features float32 [N, 342]."""

    input: ClassVar[InputKind] = "crops"
    libraries: ClassVar[tuple[str, ...]] = ("mmpipe.extractors.faces.densenet", "torchvision.models")
    Config: ClassVar[type[ExtractorConfig]] = ExpressionConfig
    licence: ClassVar[str] = "The weights of mmpipe were trained on FER2013, which is for research."
    precisions: ClassVar[tuple[Precision, ...]] = ("float32", "bf16")
    runs_on_device: ClassVar[bool] = True
    revision: ClassVar[int] = 2
    config: ExpressionConfig

    @property
    def _path(self) -> Path:
        return self.config.weights or bundled(FERPLUS_DENSENET)

    def columns(self) -> list[pa.Field]:
        """`features`: a list of N vectors of 342 values, in the order of the crops."""
        return [pa.field("features", pa.list_(pa.list_(pa.float32(), EXPRESSION_WIDTH)))]

    def weights(self) -> dict[str, str]:
        """The hash of the network's file."""
        return {self._path.name: sha256(self._path)}

    def versions(self) -> dict[str, str]:
        """Torch and torchvision decide the values."""
        return {name: importlib.metadata.version(name) for name in ("torch", "torchvision")}

    def prepare(self) -> None:
        """Load the network onto the device.

        Raises:
            WeightsError: the weights do not fit.
            UsageError: the statistics of the corpus were not measured.
        """
        if self.config.mean is None or self.config.std is None:
            raise UsageError(
                "statistics 'corpus' are measured by `mmpipe extract`; elsewhere give mean and std as well"
            )
        import torch

        from mmpipe.extractors.faces.densenet import fused, load_network

        self._mean, self._std = self.config.mean, self.config.std
        network = fused(load_network(self._path))
        self._network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def extract(self, items: Iterable[npt.NDArray[np.uint8]]) -> Iterator[Row | Rejected]:
        """Embed the crops of each item; equal crops, which overlapping utterances share, once."""
        place: dict[bytes, int] = {}
        rows = [[place.setdefault(face.tobytes(), len(place)) for face in item] for item in items]
        if place:
            faces = np.frombuffer(b"".join(place), np.uint8).reshape(-1, CROP_SIZE, CROP_SIZE)
            features = self.embed(faces)
            for row in rows:
                yield {"features": features[row]}

    def embed(self, faces_NHW: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Crops uint8 [N, 64, 64] to features float32 [N, 342]."""
        import torch

        features = np.empty((len(faces_NHW), EXPRESSION_WIDTH), np.float32)
        for start in range(0, len(faces_NHW), CALL_SIZE):
            part = faces_NHW[start : start + CALL_SIZE]
            batch = np.zeros((CALL_SIZE, 1, CROP_SIZE, CROP_SIZE), np.float32)
            batch[: len(part), 0] = (part.astype(np.float32) - self._mean) / self._std
            batch_N1HW: Any = torch.from_numpy(batch).to(self.device, memory_format=torch.channels_last)
            is_low = self.precision == "bf16"
            with torch.inference_mode(), torch.autocast(self.device, torch.bfloat16, enabled=is_low):
                output = self._network.embed(batch_N1HW)
            features[start : start + CALL_SIZE] = output.float().cpu().numpy()[: len(part)]
        return features
