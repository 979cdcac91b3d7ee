"""Face crops: one 64x64 gray crop for every sampled frame of an utterance (paper section 4.2).

A detector finds the faces of a frame, a tracker chooses the one to follow, and the crop is a square around its box,
framed as in FER2013. A followed face is first searched near its last box, which costs less, and only then in the whole
frame. If no face is found, the previous box is used; the frames before the first face use the first box found. An
utterance without a face in any frame is rejected.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import math
import struct
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Literal, Self

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, ValidationError, model_validator

from mmpipe.core.errors import Rejected
from mmpipe.core.options import explain
from mmpipe.extractors.contract import Extractor, ExtractorConfig, Frame, InputKind, Precision, Row
from mmpipe.extractors.faces.detectors.contract import Box, Detection, Detector, Image
from mmpipe.extractors.faces.detectors.registry import DETECTORS
from mmpipe.extractors.faces.detectors.views import overlap, square
from mmpipe.extractors.faces.ferplus import CROP_SIZE

__all__ = ["FaceCrops", "FaceCropsConfig", "crop", "decode_crops"]

_CACHED_FRAMES = 4096
"""Frames whose faces are cached for overlapping utterances of the same video. Only searches of the whole frame are
cached, since what is found near a box depends on the utterance."""

_KEPT_BEFORE_FACE = 64
"""Frames before the first face that are kept as lossless gray PNG; where there are more, all are read again."""

_LOST_FRAMES = 5
"""Frames in a row without the followed face after which the tracker starts again with the largest one."""

_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 6, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT]


class FaceCropsConfig(ExtractorConfig):
    """Config of the face crops. What follows from the detector is filled in, so that it is recorded."""

    detector: str = "mtcnn"
    """Name in the registry of detectors: `mtcnn`, `yunet`, `seetaface`, `full-frame`, or one of a package."""

    detector_options: dict[str, Any] = Field(default_factory=dict)
    """Fields of the detector's own config."""

    margin: float | None = Field(default=None, gt=-0.9, le=4)
    """The crop's side is (1 + margin) times the longer side of the box; None takes the detector's calibrated
    margin."""

    choose: Literal["track", "largest", "central"] = "track"
    """Which of several faces: `track` starts with the largest score times area and stays with that person;
    `largest` and `central` choose again in every frame."""

    @model_validator(mode="after")
    def _resolve(self) -> Self:
        detector = DETECTORS.load(self.detector)
        try:
            options = detector.Config.model_validate(self.detector_options).model_dump(mode="json")
        except ValidationError as error:
            raise ValueError(explain(error, detector.Config.model_fields, "detector_options.")) from error
        object.__setattr__(self, "detector_options", options)
        object.__setattr__(self, "margin", detector.margin if self.margin is None else self.margin)
        return self


class FaceCrops(Extractor):
    """Frames to N crops with their boxes, N being the number of frames.

    One frame is held at a time. A few frames before the first face are kept as lossless gray PNG; many are read again,
    so an hour without a face takes no memory. For that an item must be an iterable that starts again each time; of an
    iterator, which cannot, all frames before the first face are kept.
    """

    input: ClassVar[InputKind] = "frames"
    revision: ClassVar[int] = 2
    Config: ClassVar[type[ExtractorConfig]] = FaceCropsConfig
    licence: ClassVar[str] = (
        "Detector: that of its weights (MTCNN of the package mtcnn and YuNet of OpenCV: MIT; SeetaFace: BSD-2-Clause)."
    )
    config: FaceCropsConfig

    def __init__(self, config: ExtractorConfig, *, device: str = "cpu", precision: Precision = "float32") -> None:
        super().__init__(config, device=device, precision=precision)
        detector = DETECTORS.load(self.config.detector)
        options = detector.Config.model_validate(self.config.detector_options)
        self._detector: Detector = detector(options)
        self._cache: OrderedDict[str, list[Detection]] = OrderedDict()

    def columns(self) -> list[pa.Field]:
        """One entry for each frame: `crops` (PNG, 64x64 gray), where they come from, and how they were found.

        `box` is left, top, width, height in pixels of the frame or region, as the detector gave it;
        `detected` is False and `score` 0 where a box of another frame is used.
        """
        return [
            pa.field("crops", pa.list_(pa.binary())),
            pa.field("frame_index", pa.list_(pa.int64())),
            pa.field("time_seconds", pa.list_(pa.float64())),
            pa.field("detected", pa.list_(pa.bool_())),
            pa.field("box", pa.list_(pa.list_(pa.float32(), 4))),
            pa.field("score", pa.list_(pa.float32())),
        ]

    def weights(self) -> dict[str, str]:
        """The detector's weight files.

        Raises:
            WeightsError: a file is missing or altered.
        """
        return self._detector.weights()

    def versions(self) -> dict[str, str]:
        """OpenCV decides the crops, the detector's libraries the boxes."""
        name = "opencv-python-headless"
        return {name: importlib.metadata.version(name), **self._detector.versions()}

    def prepare(self) -> None:
        """Load the detector.

        Raises:
            WeightsError: its weights are missing or altered.
        """
        self._detector.prepare()

    def extract(self, items: Iterable[Iterable[Frame]]) -> Iterator[Row | Rejected]:
        """Process the utterances one by one; frames are read lazily and may raise `Rejected`."""
        for frames in items:
            try:
                yield self._extract_one(frames)
            except Rejected as rejected:
                yield rejected
            except Exception as error:  # a library's failure on one utterance must not cost the others
                yield Rejected.failed("FaceCrops", error)

    def _extract_one(self, frames: Iterable[Frame]) -> Row:
        tracker = _Tracker(self.config.choose)
        seen: list[tuple[int, float]] = []
        scores: list[float] = []
        boxes: list[Box] = []
        crops: list[bytes] = []
        waiting = _Waiting(frames)
        for frame in frames:
            seen.append((frame.index, frame.time_seconds))
            score = self._follow(tracker, frame)
            if tracker.box is None:
                waiting.add(frame)
                continue
            boxes.append(tracker.box)
            scores.append(score)
            crops.append(self._crop(frame.image, tracker.box))
        if not seen:
            raise Rejected("too_short", "the utterance's video span holds no sampled frame")
        if not crops:
            raise Rejected("no_face", f"{self.config.detector} found no face in any of {len(seen)} sampled frames")
        crops = [*(self._crop(image, boxes[0]) for image in waiting.images()), *crops]
        found = np.array([0.0] * waiting.count + scores, np.float32)
        return {
            "crops": crops,
            "frame_index": np.array([index for index, _ in seen], np.int64),
            "time_seconds": np.array([seconds for _, seconds in seen], np.float64),
            "detected": found > 0,
            "box": np.array([boxes[0]] * waiting.count + boxes, np.float32),
            "score": found,
        }

    def _crop(self, image: npt.NDArray[np.uint8], box: Box) -> bytes:
        assert self.config.margin is not None  # filled in by the config's validator
        return _png(crop(image, box, self.config.margin))

    def _follow(self, tracker: _Tracker, frame: Frame) -> float:
        """Move the tracker to the face of this frame; the face's score, or 0 if there is no face to follow."""
        if (box := tracker.near) is not None:
            score = tracker.follow(self._detector.detect_near(frame.image, box), frame.image)
            if score:
                return score
        score = tracker.follow(self._detect(frame), frame.image)
        if not score:
            tracker.lose()
        return score

    def _detect(self, frame: Frame) -> list[Detection]:
        """The faces of the whole frame; a frame that was searched before, in any utterance, is not searched again."""
        if frame.source not in self._cache:
            (self._cache[frame.source],) = self._detector.detect([frame.image])
        self._cache.move_to_end(frame.source)
        if len(self._cache) > _CACHED_FRAMES:
            self._cache.popitem(last=False)
        return self._cache[frame.source]


class _Waiting:
    """The frames before the first face, which get its box once it is found."""

    def __init__(self, frames: Iterable[Frame]) -> None:
        self.count = 0
        self._frames = frames
        self._is_iterator = iter(frames) is frames
        self._kept: list[bytes] = []

    def add(self, frame: Frame) -> None:
        """Count one more frame."""
        self.count += 1
        if self._is_iterator or self.count <= _KEPT_BEFORE_FACE:
            self._kept.append(_png(cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY)))
        else:
            self._kept.clear()

    def images(self) -> Iterator[npt.NDArray[np.uint8]]:
        """The frames in order, gray or RGB: a crop of either is the same."""
        if len(self._kept) == self.count:
            yield from map(_image, self._kept)
        else:
            for frame in itertools.islice(self._frames, self.count):
                yield frame.image


class _Tracker:
    """Which face to follow within one utterance."""

    def __init__(self, choose: Literal["track", "largest", "central"]) -> None:
        self.box: Box | None = None
        self._choose = choose
        self._lost = 0

    def follow(self, detections: Sequence[Detection], image: Image) -> float:
        """Move `box` to the followed face, if it is among these; its score, or 0 where the box stays."""
        face = self._pick(detections, image)
        if face is None:
            return 0.0
        self.box, self._lost = face.box, 0
        return face.score

    @property
    def near(self) -> Box | None:
        """The box to search first; None if any face of the frame may be the one to follow."""
        return self.box if self._choose == "track" and self._lost < _LOST_FRAMES else None

    def lose(self) -> None:
        """Count a frame without the followed face."""
        self._lost += 1

    def _pick(self, detections: Sequence[Detection], image: Image) -> Detection | None:
        if not detections:
            return None
        if self._choose == "central":
            height, width = image.shape[:2]
            return min(detections, key=lambda d: _distance(d.box, (0.0, 0.0, float(width), float(height))))
        if self._choose == "largest" or self.box is None or self._lost >= _LOST_FRAMES:
            return max(detections, key=lambda d: d.score * d.box[2] * d.box[3])
        box = self.box
        near = [d for d in detections if _same_person(box, d.box)]
        return max(near, key=lambda d: (overlap(box, d.box), -_distance(box, d.box)), default=None)


def _distance(a: Box, b: Box) -> float:
    """Distance of the boxes' centres in pixels."""
    return math.hypot(a[0] + a[2] / 2 - b[0] - b[2] / 2, a[1] + a[3] / 2 - b[1] - b[3] / 2)


def _same_person(before: Box, now: Box) -> bool:
    """Whether a face can have moved so far and grown so much between two sampled frames (0.4 s)."""
    size = max(before[2:])
    return _distance(before, now) <= 1.5 * size and 0.5 <= max(now[2:]) / size <= 2


def crop(image: npt.NDArray[np.uint8], box: Box, margin: float) -> npt.NDArray[np.uint8]:
    """The square around a box as a gray crop uint8 [64, 64]; beyond the image its border is repeated.

    Args:
        image: RGB [H, W, 3] or gray [H, W], uint8.
        box: left, top, width, height in pixels.
        margin: the square's side is (1 + margin) times the longer side of the box, rounded to pixels.

    Example:
        >>> crop(np.full((90, 120, 3), 7, np.uint8), (100.0, 10.0, 40.0, 50.0), margin=0.2)[[0, 63], [0, 63]]
        array([7, 7], dtype=uint8)
    """
    left, top, width, height = box
    side = max(1, round((1 + margin) * max(width, height)))
    first_x, first_y = round(left + width / 2 - side / 2), round(top + height / 2 - side / 2)
    part = np.ascontiguousarray(square(image, first_x, first_y, side))
    gray: npt.NDArray[Any] = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY) if part.ndim == 3 else part
    method = cv2.INTER_AREA if side > CROP_SIZE else cv2.INTER_LINEAR
    return cv2.resize(gray, (CROP_SIZE, CROP_SIZE), interpolation=method).astype(np.uint8, copy=False)


def decode_crops(crops: Sequence[bytes | None] | None) -> npt.NDArray[np.uint8]:
    """The crops of an utterance as uint8 [N, 64, 64].

    Raises:
        Rejected: an entry is not a gray PNG of 64x64 pixels (`media_error`); nothing of another size is decoded.
    """
    if crops is None:
        raise Rejected("media_error", "the row has no face crops: run `mmpipe extract` again to redo the faces")
    images = np.empty((len(crops), CROP_SIZE, CROP_SIZE), np.uint8)
    for number, data in enumerate(crops):
        image = _decoded(data)
        if image is None:
            raise Rejected(
                "media_error",
                f"crop {number}: expected a gray PNG of {CROP_SIZE}x{CROP_SIZE} pixels, got {_described(data)}: run "
                "`mmpipe extract` again to redo the faces",
            )
        images[number] = image
    return images


def _png(image: npt.NDArray[Any]) -> bytes:
    """A gray image as PNG; the settings are fixed, so equal images give equal bytes."""
    _, data = cv2.imencode(".png", image, _PNG)
    return bytes(data)


def _image(data: bytes) -> Any:
    """What the data of an image hold; None where that is nothing."""
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


_HEADER = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">IIBB", CROP_SIZE, CROP_SIZE, 8, 0)
"""How the PNG of a crop begins: width, height, bits of a pixel, gray."""

_MOST_BYTES = 1 << 16
"""Of the PNG of a crop, whose pixels have 4,096 bytes."""


def _decoded(data: bytes | None) -> npt.NDArray[np.uint8] | None:
    if not data or not data.startswith(_HEADER) or len(data) > _MOST_BYTES:
        return None
    try:
        image: Any = _image(data)
    except cv2.error:
        return None
    fits = image is not None and image.shape == (CROP_SIZE, CROP_SIZE) and image.dtype == np.uint8
    return image if fits else None


def _described(data: bytes | None) -> str:
    if data and data.startswith(_HEADER[:16]) and len(data) > 26 and not data.startswith(_HEADER):
        width, height, bits, kind = struct.unpack(">IIBB", data[16:26])
        return f"a PNG of {width}x{height} pixels ({bits} bits, colour type {kind})"
    return f"{len(data or b'')} bytes that are not one"
