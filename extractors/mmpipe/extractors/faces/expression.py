"""Facial expression features: the 342-d activation of a DenseNet trained on FERPlus (paper section 3.1).

Legend: N faces, C classes, D = 342.

The network is a DenseNet-BC of depth 100, growth 12 and compression 0.5 on one 64x64 gray channel: a 3x3 stem
of stride 2 without norm, ReLU or pool, three dense blocks of 16 bottleneck layers at 32x32, 16x16 and 8x8,
then BatchNorm, ReLU and global average pooling (the feature), then a linear layer to the eight FERPlus
classes. It is torchvision's DenseNet with another stem, so the tensors keep torchvision's names.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mmpipe.core.errors import Rejected, UsageError, WeightsError
from mmpipe.extractors.contract import Extractor, ExtractorConfig, InputKind, Row
from mmpipe.extractors.weights.bundled import FERPLUS_DENSENET, bundled, sha256

__all__ = [
    "CROP_SIZE",
    "FERPLUS_CLASSES",
    "FERPLUS_MEAN",
    "FERPLUS_STD",
    "Expression",
    "ExpressionConfig",
    "FerplusDenseNet",
    "load_network",
]

CROP_SIZE = 64
"""Height and width of a face crop in pixels."""

FERPLUS_CLASSES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
"""The classes of FERPlus in the order of its vote columns (Barsoum et al. 2016)."""

FERPLUS_MEAN, FERPLUS_STD = 129.42, 64.86
"""Mean and deviation of the FER2013 training faces on the 0..255 scale."""

CALL_SIZE = 8
"""Faces in every call of the network; the last one is padded, so that a row does not depend on others. The maps of
eight faces stay in a processor's cache, those of 32 do not."""


class FerplusDenseNet(nn.Module):
    """The DenseNet of the paper's visual features: 768,044 parameters, 0.287 GMAC a face."""

    width = 342

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import DenseNet  # takes a second to import, which planning need not wait for

        network = DenseNet(
            growth_rate=12,
            block_config=(16, 16, 16),
            num_init_features=24,
            bn_size=4,
            num_classes=len(FERPLUS_CLASSES),
        )
        network.features.conv0 = nn.Conv2d(1, 24, kernel_size=3, stride=2, padding=1, bias=False)
        for name in ("norm0", "relu0", "pool0"):
            setattr(network.features, name, nn.Identity())
        self.features = network.features
        self.classifier = network.classifier

    def embed(self, faces_N1HW: Tensor) -> Tensor:
        """Normalised faces [N, 1, 64, 64] to features [N, 342]."""
        maps = self.features(faces_N1HW)
        return torch.relu(maps).mean(dim=(2, 3))

    def forward(self, faces_N1HW: Tensor) -> Tensor:
        """Normalised faces [N, 1, 64, 64] to class logits [N, 8], in the order of `FERPLUS_CLASSES`."""
        return cast(Tensor, self.classifier(self.embed(faces_N1HW)))


def load_network(path: Path) -> FerplusDenseNet:
    """The network with the weights of a safetensors file, in evaluation mode.

    Raises:
        WeightsError: the file is no safetensors file (a pickle is never opened), or its tensors do not fit.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is not a readable safetensors file ({error}); mmpipe opens no pickles: "
            "train weights with `mmpipe train-face` or convert them with safetensors.torch.save_file"
        ) from error
    network = FerplusDenseNet()
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    got = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if wrong := sorted(n for n in expected.keys() | got.keys() if expected.get(n) != got.get(n)):
        name = wrong[0]
        raise WeightsError(
            f"{path} does not fit the FERPlus DenseNet: {len(wrong)} tensors differ, first {name}: "
            f"expected {expected.get(name, 'no such tensor')}, got {got.get(name, 'no such tensor')}"
        )
    network.load_state_dict(tensors)
    return network.eval()


def _fused(network: FerplusDenseNet) -> FerplusDenseNet:
    """The same function with the norm inside each layer taken into the convolution before it."""
    for number in (1, 2, 3):
        layer: Any
        for layer in cast(nn.ModuleDict, getattr(network.features, f"denseblock{number}")).values():
            layer.conv1, layer.norm2 = fuse_conv_bn_eval(layer.conv1, layer.norm2), nn.Identity()
    return network


class ExpressionConfig(ExtractorConfig):
    """Config of the expression features."""

    weights: Path | None = None
    """A safetensors file; None takes the weights that ship with mmpipe."""

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
    libraries: ClassVar[tuple[str, ...]] = ("torchvision.models",)
    Config: ClassVar[type[ExtractorConfig]] = ExpressionConfig
    revision: ClassVar[int] = 2
    config: ExpressionConfig

    @property
    def _path(self) -> Path:
        return self.config.weights or bundled(FERPLUS_DENSENET)

    def columns(self) -> list[pa.Field]:
        """`features`: a list of N vectors of 342 values, in the order of the crops."""
        return [pa.field("features", pa.list_(pa.list_(pa.float32(), FerplusDenseNet.width)))]

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
        self._mean, self._std = self.config.mean, self.config.std
        network = _fused(load_network(self._path))
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

    @torch.inference_mode()
    def embed(self, faces_NHW: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Crops uint8 [N, 64, 64] to features float32 [N, 342]."""
        features = np.empty((len(faces_NHW), FerplusDenseNet.width), np.float32)
        for start in range(0, len(faces_NHW), CALL_SIZE):
            part = faces_NHW[start : start + CALL_SIZE]
            batch = np.zeros((CALL_SIZE, 1, CROP_SIZE, CROP_SIZE), np.float32)
            batch[: len(part), 0] = (part.astype(np.float32) - self._mean) / self._std
            batch_N1HW: Any = torch.from_numpy(batch).to(self.device, memory_format=torch.channels_last)
            with torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bf16"):
                output = self._network.embed(batch_N1HW)
            features[start : start + CALL_SIZE] = output.float().cpu().numpy()[: len(part)]
        return features
