"""MTCNN (Zhang et al. 2016): a cascade of three small networks over an image pyramid.

Legend: H and W pixels, N boxes, S pixels of a patch's side.

The arithmetic is that of the `mtcnn` wheel, whose weights it uses: area-averaged pyramid, thresholds, order
of regression and suppression, bilinear patches that are mid-gray beyond the border. What is ours: torch, the
smallest face tied to the frame, further looks where the first finds nothing, and the search around a known box.

Boxes are float64 [N, 4] of left, top, right, bottom.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, ClassVar

import cv2
import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from mmpipe.extractors.faces.detectors.contract import Box, Detection, Detector, DetectorConfig, Image
from mmpipe.extractors.faces.detectors.mtcnn_networks import SHA256, ONet, PNet, RNet, load_arrays, weight_paths
from mmpipe.extractors.faces.detectors.views import TILT_DEGREES, View, around, evened, faces_in, reduced, tilted
from mmpipe.extractors.weights.bundled import sha256

__all__ = ["MTCNN", "MTCNNConfig"]

Floats = npt.NDArray[np.float64]

WINDOW, STRIDE = 12, 2
"""Side of the window of the proposal network, and its step, in pixels of a pyramid level."""

PYRAMID_STEP = 0.709
"""Size of a pyramid level relative to the one before: about half the area."""

RNET_MULTIPLE, ONET_MULTIPLE, PATCHES_PER_CALL = 8, 4, 256
"""Patches of a call; several are padded to a multiple: libraries prepare a convolution anew for every shape."""

FOLLOWED_SCORE = 0.9
"""Score that a face needs where its last box is the only proposal; below it, its surroundings are searched."""

NEAR_TIMES, NEAR_SIDE = 2.0, 144
"""The search around a box: a square of twice its longer side, scaled to 144 pixels, so that the face has 72."""

NEAR_SCALES = tuple(WINDOW / (72 * part) for part in (0.5, 0.7, 1.0, 1.4))
"""Its pyramid: windows of half to 1.4 times the longer side of the box, as faces hardly grow within 0.4 s."""

LYING_DEGREES, REDUCTION = 40.0, 0.6
"""The last views of a frame without a face: heads laid to one side, and faces between two levels of the pyramid."""


class MTCNNConfig(DetectorConfig):
    """Config of MTCNN; the first three thresholds are the wheel's."""

    min_face_fraction: float = Field(default=0.1, gt=0, le=1)
    """Smallest face to look for, as a part of the frame's shorter side. So the work hardly grows with the
    frame: 0.1 is 29 pixels of an AMI close-up, 36 of an IEMOCAP half frame, 72 of 1280x720."""

    min_face_pixels: int = Field(default=20, ge=WINDOW)
    """Smallest face to look for, in pixels, whatever the fraction says."""

    thresholds: tuple[float, float, float] = (0.6, 0.7, 0.8)
    """Scores that a face needs to pass the proposal, the refinement and the output network."""

    retry_thresholds: tuple[float, ...] = Field(default=(0.9, 0.95), max_length=2)
    """Where a frame shows no face, it is searched again for faces twice as large: turned by 18 degrees to either side
    and with its contrast evened, and if that shows none, turned by 40 degrees and reduced to 0.6 of its size. These
    are the scores that a face needs in the one and in the other; an empty list looks once."""


class MTCNN(Detector):
    """The embedded default: finds faces from 20 pixels, with five landmarks each."""

    Config: ClassVar[type[DetectorConfig]] = MTCNNConfig
    margin: ClassVar[float] = -0.05
    """Measured on 1,000 faces of FER2013's PublicTest part (seed 0), enlarged to 144 pixels in a gray frame
    of 240: of the 89 % found, the picture's side is 0.95 times the longer side of the box (quartiles 0.87 and
    1.05), and the centres agree (median difference under 1 % of the side both ways)."""

    config: MTCNNConfig

    def weights(self) -> dict[str, str]:
        """Hashes of the three weight files in the `mtcnn` package.

        Raises:
            WeightsError: the package or a file is missing or altered.
        """
        return {name: sha256(path) for name, path in weight_paths().items()}

    def versions(self) -> dict[str, str]:
        """Torch and OpenCV decide the values."""
        return {name: importlib.metadata.version(name) for name in ("torch", "opencv-python-headless")}

    def prepare(self) -> None:
        """Load the three networks onto the device.

        Raises:
            WeightsError: the package or a file is missing or altered.
        """
        arrays = {name: load_arrays(name) for name in SHA256}
        self._pnet = self._placed(PNet(arrays["pnet.lz4"]))
        self._rnet = self._placed(RNet(arrays["rnet.lz4"]))
        self._onet = self._placed(ONet(arrays["onet.lz4"]))

    def _placed(self, network: Any) -> Any:
        return network.eval().to(self.device, memory_format=torch.channels_last)

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        """The faces of each image, best score first."""
        return [self._looked_again(image) for image in images]

    def detect_near(self, image: Image, box: Box) -> list[Detection]:
        """The face that the box still holds, or those around it, best score first.

        Around it is a square of twice the box, searched for faces of half to one and a half times its size.
        """
        left, top, width, height = box
        last = _squares(np.array([[left, top, left + width, top + height]]))
        if faces := self._judged(image, last, max(FOLLOWED_SCORE, self.config.thresholds[2])):
            return faces
        view = around(image, box, NEAR_TIMES, NEAR_SIDE)
        return [view.placed(face) for face in self._search(view.image, NEAR_SCALES, self.config.thresholds[2])]

    def _looked_again(self, image: Image) -> list[Detection]:
        found = self._search(image, _scales(image, self.config), self.config.thresholds[2])
        for views, threshold in zip(_further_views(image), self.config.retry_thresholds, strict=False):
            if found:
                break
            found = faces_in(views, partial(self._search_large, threshold=threshold))
        return found

    def _search_large(self, image: Image, threshold: float) -> list[Detection]:
        return self._search(image, _scales(image, self.config, times=2), threshold)

    def _search(self, image: Image, scales: Sequence[float], threshold: float) -> list[Detection]:
        """The faces of an image at the levels of a pyramid, best score first."""
        return self._judged(image, self._propose(image, scales), threshold)

    def _judged(self, image: Image, boxes: Floats, threshold: float) -> list[Detection]:
        """The faces among the proposed squares, best score first."""
        if not len(boxes):
            return []
        packed = _packed(image)
        offsets, scores = _calls(self._rnet, packed, boxes, 24, RNET_MULTIPLE, self.device)
        boxes = _moved(boxes, offsets)
        keep = _survivors(boxes, scores, self.config.thresholds[1], 0.7, "union")
        if not len(keep):
            return []
        boxes = _squares(boxes[keep])
        offsets, scores, relative = _calls(self._onet, packed, boxes, 48, ONET_MULTIPLE, self.device)
        points = _placed_landmarks(boxes, relative)
        boxes = _moved(boxes, offsets)
        faces = []
        for n in _survivors(boxes, scores, threshold, 0.7, "smaller"):
            left, top, right, bottom = boxes[n].tolist()
            landmarks = tuple((x, y) for x, y in points[n].tolist())
            faces.append(Detection((left, top, right - left, bottom - top), float(scores[n]), landmarks))
        return faces

    @torch.inference_mode()
    def _propose(self, image: Image, scales: Sequence[float]) -> Floats:
        """Squares that the proposal network takes for faces."""
        height, width = image.shape[:2]
        pixels = _averaged(image, scales[0] if scales else 1.0)
        found, certain = [np.empty((0, 4))], [np.empty(0, np.float32)]
        for scale in scales:
            size = int(width * scale), int(height * scale)
            level = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
            offsets_4PP, scores_PP = (t[0].cpu().numpy() for t in self._pnet(_tensor(level[None], self.device)))
            rows, columns = np.nonzero(scores_PP > self.config.thresholds[0])
            if len(rows):
                scores = scores_PP[rows, columns]
                corner = np.stack([columns, rows], 1) * STRIDE + 1.0
                side = WINDOW - 1.0
                boxes = np.hstack([corner, corner + side]) + offsets_4PP[:, rows, columns].T * side
                keep = _suppress(boxes, scores, 0.5, "union")
                found.append(boxes[keep] / scale)
                certain.append(scores[keep])
        boxes, scores = np.concatenate(found), np.concatenate(certain)
        return _squares(boxes[_suppress(boxes, scores, 0.7, "union")])


def _scales(image: Image, config: MTCNNConfig, times: float = 1) -> list[float]:
    """Sizes of the pyramid's levels, relative to the image, for faces of `times` the smallest size and larger."""
    shorter = min(image.shape[:2])
    scale, scales = WINDOW / (times * max(config.min_face_pixels, config.min_face_fraction * shorter)), []
    while int(shorter * scale) >= WINDOW:
        scales.append(scale)
        scale *= PYRAMID_STEP
    return scales


def _further_views(image: Image) -> Iterator[tuple[View, ...]]:
    """What to search where the frame itself shows no face, one group after the other."""
    yield tilted(image, TILT_DEGREES), tilted(image, -TILT_DEGREES), evened(image)
    yield tilted(image, LYING_DEGREES), tilted(image, -LYING_DEGREES), reduced(image, REDUCTION)


def _averaged(image: Image, largest: float) -> npt.NDArray[np.float32]:
    """The image as float32; one of many pixels averaged to twice the pyramid's largest level or more.

    With the default config, frames below 480 pixels on the shorter side keep the wheel's exact pyramid.
    """
    step = max(1, int(0.5 / largest))
    if step > 1:
        size = image.shape[1] // step, image.shape[0] // step
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    return image.astype(np.float32)


def _tensor(pixels_BHW3: npt.NDArray[Any], device: str) -> Tensor:
    """Pixels 0..255 [B, H, W, 3] as a tensor [B, 3, H, W] in [-1, 1], channels last in memory."""
    return (torch.from_numpy(pixels_BHW3).to(device).permute(0, 3, 1, 2).float() - 127.5) / 128


def _packed(image: Image) -> npt.NDArray[np.uint32]:
    """An RGB image as one array [H, W] of four bytes a pixel, so that patches are gathered by pixels."""
    return cv2.cvtColor(image, cv2.COLOR_RGB2RGBA).view(np.uint32)[..., 0]


def _patches(packed_HW: npt.NDArray[np.uint32], boxes: Floats, side: int) -> npt.NDArray[np.float32]:
    """The pixels in the boxes, sampled bilinearly to [N, S, S, 3]; 127.5 beyond the image."""
    height, width = packed_HW.shape
    steps = np.arange(side) / (side - 1)

    def axis(first: Floats, last: Floats, size: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32], Any]:
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
    boxes: Floats,
    side: int,
    multiple: int,
    device: str,
) -> list[npt.NDArray[np.float32]]:
    """The network's outputs for all boxes; calls of several are padded with black to a multiple of patches."""
    outputs: list[list[npt.NDArray[np.float32]]] = []
    for start in range(0, len(boxes), PATCHES_PER_CALL):
        part = boxes[start : start + PATCHES_PER_CALL]
        size = 1 if len(part) == 1 else -(-len(part) // multiple) * multiple
        batch = np.zeros((size, side, side, 3), np.float32)
        batch[: len(part)] = _patches(packed, part, side)
        outputs.append([output[: len(part)].cpu().numpy() for output in network(_tensor(batch, device))])
    return [np.concatenate(parts) for parts in zip(*outputs, strict=True)]


def _squares(boxes: Floats) -> Floats:
    """Squares around the boxes' centres, as large as their longer sides."""
    size = boxes[:, 2:] - boxes[:, :2]
    side = size.max(axis=1, initial=0, keepdims=True)
    corner = boxes[:, :2] + size * 0.5 - side * 0.5
    return np.hstack([corner, corner + side])


def _moved(boxes: Floats, offsets: npt.NDArray[np.float32]) -> Floats:
    """Boxes moved by offsets that are relative to their width and height."""
    size = boxes[:, 2:] - boxes[:, :2] + 1
    return boxes + offsets * np.hstack([size, size])


def _placed_landmarks(boxes: Floats, landmarks_N10: npt.NDArray[np.float32]) -> Floats:
    """Landmarks [N, 5, 2] in pixels of the image from five x and five y relative to the boxes."""
    size = boxes[:, None, 2:] - boxes[:, None, :2] + 1
    return landmarks_N10.reshape(-1, 2, 5).transpose(0, 2, 1) * size + boxes[:, None, :2] - 1


def _survivors(
    boxes: Floats, scores: npt.NDArray[np.float32], threshold: float, overlap: float, relative_to: str
) -> npt.NDArray[np.intp]:
    """Numbers of the boxes above the threshold that no better box covers, best first."""
    good = np.flatnonzero(scores > threshold)
    return good[_suppress(boxes[good], scores[good], overlap, relative_to)]


def _suppress(boxes: Floats, scores: npt.NDArray[np.float32], overlap: float, relative_to: str) -> npt.NDArray[np.intp]:
    """Numbers of the boxes that no better one overlaps by more than `overlap`, best first.

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
