"""Contact sheets of faces: what a store cut, where it cut it, and how often it found nothing to cut."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mmpipe.core.errors import Rejected, StoreError
from mmpipe.core.files import write_bytes
from mmpipe.extractors.faces.crops import decode_crops
from mmpipe.extractors.faces.ferplus import CROP_SIZE
from mmpipe.manifests.io import resolve_media
from mmpipe.manifests.schema import MediaSpan, to_utterances
from mmpipe.pipeline.extraction.contents import FaceCounts, count_faces
from mmpipe.pipeline.extraction.stages import FACES
from mmpipe.pipeline.media.readers import VideoReader
from mmpipe.pipeline.outputs import claim, marked_png
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.store.sampled import spread

__all__ = [
    "FOUND",
    "MISSING",
    "boxed_frame",
    "contact_sheet",
    "face_rows",
    "frame_interval",
    "write_contact_sheet",
]

_Image = npt.NDArray[np.uint8]

_SHOWN_CROPS = 12
"""Crops of an utterance on the sheet, spread over its length."""

_FRAME_HEIGHT, _FRAME_WIDTH, _CAPTION, _GAP = 96, 160, 16, 6

FOUND, MISSING = (60, 160, 60), (30, 120, 240)
"""Colours in OpenCV's order: green marks a face that was found, orange one whose box is that of another frame."""

_INK, _PAPER = (40, 40, 40), (255, 255, 255)


def write_contact_sheet(store: FeatureStore, root: Path | None, out: Path, *, overwrite: bool = False) -> FaceCounts:
    """Save the contact sheet of a store as a PNG file, and count its faces.

    Args:
        store: the store.
        root: the corpus root, for frames; None leaves them out.
        out: the file.
        overwrite: replace whatever is there.

    Raises:
        UsageError: `out` exists and is not such a picture.
        StoreError: the stage `faces` is incomplete, or holds no face.
    """
    claim(out, "picture", overwrite=overwrite)
    counts = count_faces(store)
    write_bytes(out, marked_png(cv2.imencode(".png", contact_sheet(store, root))[1].tobytes()))
    return counts


def contact_sheet(store: FeatureStore, root: Path | None, rows: int = 12) -> _Image:
    """An image of the faces of some utterances, evenly spread over the store.

    Args:
        store: the store.
        root: the corpus root: with it, a frame of each utterance is before its crops, with the box drawn in it.
        rows: utterances to show.

    Returns:
        BGR uint8 [H, W, 3]. Crops of frames in which the face was not found have an orange border.

    Raises:
        StoreError: the stage `faces` is incomplete, or holds no face.
    """
    good = np.flatnonzero(np.array(store.read(FACES, ["status"]).column("status").to_pylist(), object) == "ok")
    if not len(good):
        raise StoreError(f"{store.path} holds no face: see `mmpipe inspect {store.path}` for the reasons")
    chosen = good[spread(len(good), rows)].tolist()
    manifest, lines = store.manifest(), []
    with VideoReader(frame_interval(store)) as reader:
        for place, row in face_rows(store, chosen):
            utterance = to_utterances(manifest.slice(place, 1))[0]
            frame = None
            if root is not None and utterance.video is not None:
                frame = boxed_frame(reader, root, utterance.video, row, (_FRAME_HEIGHT, _FRAME_WIDTH))
            lines.append(_line(utterance.utterance_id, row, frame, with_frame=root is not None))
    return np.concatenate(lines)


def frame_interval(store: FeatureStore) -> int:
    """Every how many frames of a video the stage `faces` took one."""
    return int(store.info["stages"][FACES]["config"]["every"])


def face_rows(store: FeatureStore, places: Sequence[int]) -> list[tuple[int, dict[str, Any]]]:
    """Rows of the stage by their place in the manifest; shards without a wanted one are not read."""
    found, first = [], 0
    for shard in range(store.num_shards):
        length = len(store.ids_of(shard))
        inside = [place for place in places if first <= place < first + length]
        if inside:
            table = store.read_shard(FACES, shard, ["status", "crops", "detected", "box", "frame_index"])
            found += [(place, table.slice(place - first, 1).to_pylist()[0]) for place in inside]
        first += length
    return found


def boxed_frame(
    reader: VideoReader, root: Path, span: MediaSpan, row: dict[str, Any], largest: tuple[int, int]
) -> _Image | None:
    """The first frame with a face, its box drawn in it.

    Args:
        reader: of every frame that `frame_interval` counts; utterances of one file are read in one pass.
        root: the corpus root.
        span: the utterance's video.
        row: `detected`, `box` and `frame_index` of the stage `faces`.
        largest: height and width in pixels that the image fits in.

    Returns:
        BGR uint8 [H, W, 3]; None where the media are not readable any more.
    """
    number = int(np.argmax(row["detected"]))
    try:
        for frame in reader.frames(resolve_media(root, span.uri), span):
            if frame.index == row["frame_index"][number]:
                return _boxed(frame.image, row["box"][number], largest)
    except Rejected:
        return None
    return None


def _boxed(frame: _Image, box: Sequence[float], largest: tuple[int, int]) -> _Image:
    image: Any = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    left, top, width, height = (round(value) for value in box)
    thickness = max(2, round(image.shape[0] / 100))
    cv2.rectangle(image, (left, top), (left + width, top + height), FOUND, thickness)
    scale = min(largest[0] / image.shape[0], largest[1] / image.shape[1])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(small[: largest[0], : largest[1]], np.uint8)


def _line(name: str, row: dict[str, Any], frame: _Image | None, *, with_frame: bool) -> _Image:
    """One utterance: its frame, its crops, its name."""
    offset = _FRAME_WIDTH + _GAP if with_frame else 0
    width = offset + _SHOWN_CROPS * (CROP_SIZE + _GAP)
    line = np.full((_FRAME_HEIGHT + _CAPTION + _GAP, width, 3), _PAPER, np.uint8)
    if frame is not None:
        line[: frame.shape[0], : frame.shape[1]] = frame
    elif with_frame:
        _write(line, "frame unreadable", (4, _FRAME_HEIGHT // 2))
    number = len(row["crops"])
    shown = spread(number, _SHOWN_CROPS)
    crops = decode_crops([row["crops"][n] for n in shown])
    top = (_FRAME_HEIGHT - CROP_SIZE) // 2
    for place, (n, crop) in enumerate(zip(shown, crops, strict=True)):
        left = offset + place * (CROP_SIZE + _GAP) + _GAP // 2
        line[top : top + CROP_SIZE, left : left + CROP_SIZE] = crop[..., None]
        color = FOUND if row["detected"][n] else MISSING
        cv2.rectangle(line, (left - 2, top - 2), (left + CROP_SIZE + 1, top + CROP_SIZE + 1), color, 2)
    _write(line, f"{name}: found in {sum(row['detected'])} of {number} frames", (4, _FRAME_HEIGHT + _CAPTION - 4))
    return line


def _write(image: _Image, text: str, place: tuple[int, int]) -> None:
    plain = text.encode("ascii", "replace").decode()  # what OpenCV's fonts hold
    cv2.putText(image, plain, place, cv2.FONT_HERSHEY_SIMPLEX, 0.38, _INK, 1, cv2.LINE_AA)
