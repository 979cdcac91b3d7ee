"""The expression network: a DenseNet-BC of depth 100, growth 12 and compression 0.5 on one 64x64 gray channel.

A 3x3 stem of stride 2 without norm, ReLU or pool, three dense blocks of 16 bottleneck layers at 32x32, 16x16 and 8x8,
then BatchNorm, ReLU and global average pooling (the feature), then a linear layer to the eight FERPlus classes. It is
torchvision's DenseNet with another stem, so the tensors keep torchvision's names.

Legend: N faces, H height, W width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mmpipe.core.errors import WeightsError
from mmpipe.extractors.faces.ferplus import EXPRESSION_WIDTH, FERPLUS_CLASSES

__all__ = ["FerplusDenseNet", "fused", "load_network"]


class FerplusDenseNet(nn.Module):
    """The DenseNet of the paper's visual features: 768,044 parameters, 0.287 GMAC a face."""

    width = EXPRESSION_WIDTH

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
        WeightsError: the file is not a safetensors file (a pickle is never opened), or its tensors do not fit.
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


def fused(network: FerplusDenseNet) -> FerplusDenseNet:
    """The same function with the norm inside each layer taken into the convolution before it."""
    for number in (1, 2, 3):
        layer: Any
        for layer in cast(nn.ModuleDict, getattr(network.features, f"denseblock{number}")).values():
            layer.conv1, layer.norm2 = fuse_conv_bn_eval(layer.conv1, layer.norm2), nn.Identity()
    return network
