"""The cascade of MTCNN: proposals over an image pyramid, refined and judged by two further networks.

Legend: B images, H and W pixels, N boxes, P proposals a row and column, S pixels of a patch's side.

Boxes are float64 [N, 4] of left, top, right, bottom.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mmpipe.extractors.faces.detectors.contract import Detection, Image
from mmpipe.extractors.faces.detectors.mtcnn_networks import ONet, PNet, RNet
from mmpipe.extractors.faces.detectors.mtcnn_weights import SHA256, WINDOW, load_arrays

__all__ = ["Cascade"]

_Floats = npt.NDArray[np.float64]

_STRIDE = 2
"""Step of the window of the proposal network in pixels of a pyramid level."""

_RNET_MULTIPLE, _ONET_MULTIPLE, _PATCHES_PER_CALL = 8, 4, 256
"""Patches of a call; several are padded to a multiple: libraries prepare a convolution for every new shape."""


class Cascade:
    """The three networks.

    Args:
        thresholds: scores that a face needs to pass the proposal, the refinement and the output network.

    Raises:
        WeightsError: the package or a file is missing or altered.
    """

    def __init__(self, thresholds: tuple[float, float, float]) -> None:
        arrays = {name: load_arrays(name) for name in SHA256}
        networks = PNet(arrays["pnet.lz4"]), RNet(arrays["rnet.lz4"]), ONet(arrays["onet.lz4"])
        self._pnet, self._rnet, self._onet = (_ready(network) for network in networks)
        self._thresholds = thresholds

    def search(self, image: Image, scales: Sequence[float], threshold: float) -> list[Detection]:
        """The faces of an image at the levels of a pyramid, best score first."""
        return self.judged(image, self._propose(image, scales), threshold)

    def judged(self, image: Image, boxes: _Floats, threshold: float) -> list[Detection]:
        """The faces in the squares around proposed boxes, best score first."""
        if not len(boxes):
            return []
        boxes = _squares(boxes)
        packed = _packed(image)
        offsets, scores = _calls(self._rnet, packed, boxes, 24, _RNET_MULTIPLE)
        boxes = _moved(boxes, offsets)
        keep = _survivors(boxes, scores, self._thresholds[1], 0.7, "union")
        if not len(keep):
            return []
        boxes = _squares(boxes[keep])
        offsets, scores, relative = _calls(self._onet, packed, boxes, 48, _ONET_MULTIPLE)
        points = _placed_landmarks(boxes, relative)
        boxes = _moved(boxes, offsets)
        faces = []
        for n in _survivors(boxes, scores, threshold, 0.7, "smaller"):
            left, top, right, bottom = boxes[n].tolist()
            landmarks = tuple((x, y) for x, y in points[n].tolist())
            faces.append(Detection((left, top, right - left, bottom - top), float(scores[n]), landmarks))
        return faces

    @torch.inference_mode()
    def _propose(self, image: Image, scales: Sequence[float]) -> _Floats:
        """Boxes that the proposal network classifies as faces."""
        height, width = image.shape[:2]
        pixels = _averaged(image, scales[0] if scales else 1.0)
        found, certain = [np.empty((0, 4))], [np.empty(0, np.float32)]
        for scale in scales:
            size = int(width * scale), int(height * scale)
            level = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
            offsets_4PP, scores_PP = (t[0].cpu().numpy() for t in self._pnet(_tensor(level[None])))
            rows, columns = np.nonzero(scores_PP > self._thresholds[0])
            if len(rows):
                scores = scores_PP[rows, columns]
                corner = np.stack([columns, rows], 1) * _STRIDE + 1.0
                side = WINDOW - 1.0
                boxes = np.hstack([corner, corner + side]) + offsets_4PP[:, rows, columns].T * side
                keep = _suppress(boxes, scores, 0.5, "union")
                found.append(boxes[keep] / scale)
                certain.append(scores[keep])
        boxes, scores = np.concatenate(found), np.concatenate(certain)
        return boxes[_suppress(boxes, scores, 0.7, "union")]


def _ready(network: Any) -> Any:
    return network.eval().to(memory_format=torch.channels_last)


def _averaged(image: Image, largest: float) -> npt.NDArray[np.float32]:
    """The image as float32; one of many pixels averaged to twice the pyramid's largest level or more.

    With the default config, frames below 480 pixels on the shorter side keep the wheel's exact pyramid.
    """
    step = max(1, int(0.5 / largest))
    if step > 1:
        size = image.shape[1] // step, image.shape[0] // step
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    return image.astype(np.float32)


def _tensor(pixels_BHW3: npt.NDArray[Any]) -> Tensor:
    """Pixels 0..255 [B, H, W, 3] as a tensor [B, 3, H, W] in [-1, 1], channels last in memory."""
    return (torch.from_numpy(pixels_BHW3).permute(0, 3, 1, 2).float() - 127.5) / 128


def _packed(image: Image) -> npt.NDArray[np.uint32]:
    """An RGB image as one array [H, W] of four bytes a pixel, so that patches are gathered by pixels."""
    return cv2.cvtColor(image, cv2.COLOR_RGB2RGBA).view(np.uint32)[..., 0]


def _patches(packed_HW: npt.NDArray[np.uint32], boxes: _Floats, side: int) -> npt.NDArray[np.float32]:
    """The pixels in the boxes, sampled bilinearly to [N, S, S, 3]; 127.5 beyond the image."""
    height, width = packed_HW.shape
    steps = np.arange(side) / (side - 1)

    def axis(first: _Floats, last: _Floats, size: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32], Any]:
        place = (first[:, None] + steps * (last - first)[:, None]) * ((size - 1) / size)
        before = np.clip(np.floor(place), 0, size - 2).astype(np.intp)
        return before, (place - before).astype(np.float32), (place >= 0) & (place <= size - 1)

    x, part_x, inside_x = axis(boxes[:, 0], boxes[:, 2], width)
    y, part_y, inside_y = axis(boxes[:, 1], boxes[:, 3], height)
    corner = (y * width)[:, :, None] + x[:, None, :]
    flat = packed_HW.reshape(-1)

    def pixels(offset: int) -> npt.NDArray[np.float32]:
        colours: npt.NDArray[np.uint8] = flat[corner + offset].view(np.uint8).reshape(*corner.shape, 4)[..., :3]
        return colours.astype(np.float32)

    top: npt.NDArray[np.float32] = pixels(0) + (pixels(1) - pixels(0)) * part_x[:, None, :, None]
    bottom = pixels(width) + (pixels(width + 1) - pixels(width)) * part_x[:, None, :, None]
    patches: npt.NDArray[np.float32] = top + (bottom - top) * part_y[:, :, None, None]
    patches[~(inside_y[:, :, None] & inside_x[:, None, :])] = 127.5
    return patches


@torch.inference_mode()
def _calls(
    network: Callable[[Tensor], tuple[Tensor, ...]],
    packed: npt.NDArray[np.uint32],
    boxes: _Floats,
    side: int,
    multiple: int,
) -> list[npt.NDArray[np.float32]]:
    """The network's outputs for all boxes; calls of several are padded with black to a multiple of patches."""
    outputs: list[list[npt.NDArray[np.float32]]] = []
    for start in range(0, len(boxes), _PATCHES_PER_CALL):
        part = boxes[start : start + _PATCHES_PER_CALL]
        size = 1 if len(part) == 1 else -(-len(part) // multiple) * multiple
        batch = np.zeros((size, side, side, 3), np.float32)
        batch[: len(part)] = _patches(packed, part, side)
        outputs.append([output[: len(part)].cpu().numpy() for output in network(_tensor(batch))])
    return [np.concatenate(parts) for parts in zip(*outputs, strict=True)]


def _squares(boxes: _Floats) -> _Floats:
    """Squares around the boxes' centres, as large as their longer sides."""
    size = boxes[:, 2:] - boxes[:, :2]
    side = size.max(axis=1, initial=0, keepdims=True)
    corner = boxes[:, :2] + size * 0.5 - side * 0.5
    return np.hstack([corner, corner + side])


def _moved(boxes: _Floats, offsets: npt.NDArray[np.float32]) -> _Floats:
    """Boxes moved by offsets that are relative to their width and height."""
    size = boxes[:, 2:] - boxes[:, :2] + 1
    return boxes + offsets * np.hstack([size, size])


def _placed_landmarks(boxes: _Floats, landmarks_N10: npt.NDArray[np.float32]) -> _Floats:
    """Landmarks [N, 5, 2] in pixels of the image from five x and five y relative to the boxes."""
    size = boxes[:, None, 2:] - boxes[:, None, :2] + 1
    return landmarks_N10.reshape(-1, 2, 5).transpose(0, 2, 1) * size + boxes[:, None, :2] - 1


def _survivors(
    boxes: _Floats, scores: npt.NDArray[np.float32], threshold: float, overlap: float, relative_to: str
) -> npt.NDArray[np.intp]:
    """Indices of the boxes above the threshold that are not suppressed by a better box, best first."""
    good = np.flatnonzero(scores > threshold)
    return good[_suppress(boxes[good], scores[good], overlap, relative_to)]


def _suppress(
    boxes: _Floats, scores: npt.NDArray[np.float32], overlap: float, relative_to: str
) -> npt.NDArray[np.intp]:
    """Indices of the boxes that no better one overlaps by more than `overlap`, best first.

    The overlap is relative to the union or to the smaller box. As in the wheel, a box counts against worse
    ones even if it is suppressed itself.
    """
    order = np.argsort(-scores, kind="stable")
    sorted_boxes = boxes[order]
    area = (sorted_boxes[:, 2] - sorted_boxes[:, 0]) * (sorted_boxes[:, 3] - sorted_boxes[:, 1])
    first = np.maximum(sorted_boxes[:, None, :2], sorted_boxes[None, :, :2])
    last = np.minimum(sorted_boxes[:, None, 2:], sorted_boxes[None, :, 2:])
    shared = np.maximum(last - first, 0).prod(axis=2)
    whole = area[:, None] + area - shared if relative_to == "union" else np.minimum(area[:, None], area)
    covered = np.triu(shared > overlap * whole, k=1).any(axis=0)
    kept: npt.NDArray[np.intp] = order[~covered]
    return kept
