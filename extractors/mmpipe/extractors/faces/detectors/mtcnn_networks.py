"""The three networks of MTCNN (Zhang et al. 2016) in torch, with the weights that the `mtcnn` wheel carries.

Legend: B images or patches, H and W pixels, P proposals a row and column.

The wheel stores each network as a list of arrays in Keras order and layout (HWIO kernels, IO matrices). Its
pools are padded at the bottom and right only, which is PyTorch's `ceil_mode`.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import joblib
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmpipe.core.errors import WeightsError
from mmpipe.extractors.weights.bundled import sha256

__all__ = ["SHA256", "ONet", "PNet", "RNet", "load_arrays", "weight_paths"]

SHA256 = {
    "pnet.lz4": "ea6b0c3e685ebee3165326ad6484acc95f2ef78f1c94fbf40a55704fa989f7b5",
    "rnet.lz4": "cb00e6460f3c98b0bfafaba3c0a0ded4bdf6e62cee7174d969e8670d7e757fee",
    "onet.lz4": "94f6ea2f4cf985275ee958cdd762d17b6009348a4fb9d8c6be39ba73ffd22ca3",
}
"""Hashes of the weight files of mtcnn 1.0.0. The files are pickles, so nothing else is ever opened."""

Arrays = list[npt.NDArray[np.float32]]


def weight_paths() -> dict[str, Path]:
    """Paths of the weight files in the installed `mtcnn` package, which is not imported: it wants TensorFlow.

    Raises:
        WeightsError: the package or a file is missing, or a file is not the one that mmpipe was tested with.
    """
    spec = find_spec("mtcnn")
    if spec is None or spec.origin is None:
        raise WeightsError("the package mtcnn, which carries the MTCNN weights, is missing: `pip install mtcnn`")
    folder = Path(spec.origin).parent / "assets" / "weights"
    for name, expected in SHA256.items():
        if (got := sha256(folder / name)) != expected:
            raise WeightsError(
                f"{folder / name} is not the file that mmpipe knows: expected SHA-256 {expected}, got {got}; "
                f"installed is mtcnn {importlib.metadata.version('mtcnn')}, known is 1.0.0: "
                "`pip install --force-reinstall mtcnn==1.0.0`"
            )
    return {name: folder / name for name in SHA256}


def load_arrays(name: str) -> Arrays:
    """The arrays of one weight file, whose hash is checked before it is opened."""
    return cast(Arrays, joblib.load(weight_paths()[name]))


class _Network(nn.Module):
    """Convolutions and matrices whose tensors are taken from the wheel's list in order."""

    def __init__(self, arrays: Arrays) -> None:
        super().__init__()
        self._arrays: Iterator[npt.NDArray[np.float32]] = iter(arrays)

    def _tensor(self, *axes: int) -> nn.Parameter:
        array = next(self._arrays)
        ordered = array.transpose(axes) if axes else array
        return nn.Parameter(torch.from_numpy(np.ascontiguousarray(ordered)), requires_grad=False)

    def _convolution(self) -> nn.Conv2d:
        weight, bias = self._tensor(3, 2, 0, 1), self._tensor()
        layer = nn.Conv2d(weight.shape[1], weight.shape[0], (weight.shape[2], weight.shape[3]))
        layer.weight, layer.bias = weight, bias
        return layer

    def _matrix(self) -> nn.Linear:
        weight, bias = self._tensor(1, 0), self._tensor()
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.weight, layer.bias = weight, bias
        return layer

    def _prelu(self) -> nn.PReLU:
        slope = next(self._arrays).reshape(-1)
        layer = nn.PReLU(len(slope))
        layer.weight = nn.Parameter(torch.from_numpy(slope.copy()), requires_grad=False)
        return layer


def _flat(maps_BCHW: Tensor) -> Tensor:
    """Feature maps as vectors in the order of the original networks: columns, rows, channels."""
    return maps_BCHW.permute(0, 3, 2, 1).flatten(1)


class PNet(_Network):
    """Proposals: slides a 12x12 window over an image in steps of 2 pixels."""

    def __init__(self, arrays: Arrays) -> None:
        super().__init__(arrays)
        self.conv1, self.prelu1 = self._convolution(), self._prelu()
        self.conv2, self.prelu2 = self._convolution(), self._prelu()
        self.conv3, self.prelu3 = self._convolution(), self._prelu()
        self.box, self.face = self._convolution(), self._convolution()

    def forward(self, images_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """Images in [-1, 1] to offsets of left, top, right, bottom [B, 4, P, P] and face scores [B, P, P]."""
        x = F.max_pool2d(self.prelu1(self.conv1(images_B3HW)), 2, 2, ceil_mode=True)
        x = self.prelu3(self.conv3(self.prelu2(self.conv2(x))))
        return self.box(x), self.face(x).softmax(1)[:, 1]


class RNet(_Network):
    """Refinement: judges 24x24 patches."""

    def __init__(self, arrays: Arrays) -> None:
        super().__init__(arrays)
        self.conv1, self.prelu1 = self._convolution(), self._prelu()
        self.conv2, self.prelu2 = self._convolution(), self._prelu()
        self.conv3, self.prelu3 = self._convolution(), self._prelu()
        self.hidden, self.prelu4 = self._matrix(), self._prelu()
        self.box, self.face = self._matrix(), self._matrix()

    def forward(self, patches_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """Patches [B, 3, 24, 24] in [-1, 1] to box offsets [B, 4] and face scores [B]."""
        x = F.max_pool2d(self.prelu1(self.conv1(patches_B3HW)), 3, 2, ceil_mode=True)
        x = F.max_pool2d(self.prelu2(self.conv2(x)), 3, 2)
        x = self.prelu4(self.hidden(_flat(self.prelu3(self.conv3(x)))))
        return self.box(x), self.face(x).softmax(1)[:, 1]


class ONet(_Network):
    """Output: judges 48x48 patches and finds five landmarks."""

    def __init__(self, arrays: Arrays) -> None:
        super().__init__(arrays)
        self.conv1, self.prelu1 = self._convolution(), self._prelu()
        self.conv2, self.prelu2 = self._convolution(), self._prelu()
        self.conv3, self.prelu3 = self._convolution(), self._prelu()
        self.conv4, self.prelu4 = self._convolution(), self._prelu()
        self.hidden, self.prelu5 = self._matrix(), self._prelu()
        self.box, self.landmarks, self.face = self._matrix(), self._matrix(), self._matrix()

    def forward(self, patches_B3HW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Patches [B, 3, 48, 48] to box offsets [B, 4], face scores [B], five x and five y."""
        x = F.max_pool2d(self.prelu1(self.conv1(patches_B3HW)), 3, 2, ceil_mode=True)
        x = F.max_pool2d(self.prelu2(self.conv2(x)), 3, 2)
        x = F.max_pool2d(self.prelu3(self.conv3(x)), 2, 2)
        x = self.prelu5(self.hidden(_flat(self.prelu4(self.conv4(x)))))
        return self.box(x), self.face(x).softmax(1)[:, 1], self.landmarks(x)
