"""The three networks of MTCNN (Zhang et al. 2016) in torch, with the weights of the `mtcnn` wheel.

Legend: B images or patches, H and W pixels, P proposals a row and column.

The wheel stores each network as a list of arrays in Keras order and layout (HWIO kernels, IO matrices). Its
pools are padded at the bottom and right only, which is PyTorch's `ceil_mode`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmpipe.extractors.faces.detectors.mtcnn_weights import Arrays

__all__ = ["ONet", "PNet", "RNet"]


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
