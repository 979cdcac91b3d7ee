"""Face strips of the report: crops of single utterances, those without a face in their frame marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from mmpipe.extractors.faces.crops import decode_crops
from mmpipe.manifests.schema import to_utterances
from mmpipe.pipeline.extraction.contents import count_faces
from mmpipe.pipeline.extraction.stages import FACES
from mmpipe.pipeline.media.readers import VideoReader
from mmpipe.pipeline.report.blocks import Block, Sheet, Strip, Text
from mmpipe.pipeline.report.contact_sheet import boxed_frame, face_rows, frame_interval
from mmpipe.pipeline.report.stores import ShownStore
from mmpipe.pipeline.store.sampled import spread

__all__ = ["face_blocks", "face_strips"]

_STRIPS = 8
"""Utterances of a contact sheet."""

_FACES = 8
"""Crops of an utterance, spread over its length."""

_FRAME = (96, 170)
"""Height and width that the frame beside a strip fits in."""


def face_blocks(store: ShownStore) -> list[Block]:
    """How many faces a store has, and a contact sheet of some; nothing until all are extracted."""
    if store.store is None or not store.has(FACES):
        return []
    counts = count_faces(store.store)
    text = (
        f"{counts.without_face:,} of {counts.utterances:,} filmed utterances "
        f"({100 * counts.without_face / (counts.utterances or 1):.1f} %) without a face in any frame"
    )
    if counts.frames:
        share = 100 * counts.detected / counts.frames
        text += (
            f"; in the others it was found in {counts.detected:,} of {counts.frames:,} sampled frames ({share:.1f} %)"
        )
    blocks: list[Block] = [Text(f"{text}.")]
    statuses = store.store.read(FACES, ["status"]).column("status")
    good = np.flatnonzero(pc.equal(statuses, "ok").to_numpy())
    chosen = {int(good[place]): "" for place in spread(len(good), _STRIPS)}
    strips = face_strips(store, chosen, with_frame=True)
    if any(missing for strip in strips for missing in strip.missing):
        remark = (
            "An orange bar marks a frame in which no face was found: its crop is cut at the box of the frame before."
        )
        blocks.append(Text(remark, quiet=True))
    return [*blocks, Sheet(strips)]


def face_strips(store: ShownStore, chosen: Mapping[int, str], *, with_frame: bool, most: int = _FACES) -> list[Strip]:
    """The crops of some utterances; those without a face are left out.

    Args:
        store: the store; all of its faces are extracted.
        chosen: what each is chosen for, by its place in the manifest; empty shows its label.
        with_frame: whether a frame with the face's box is shown where the corpus's root is known.
        most: crops of an utterance.
    """
    if store.store is None:
        return []
    strips: dict[int, Strip] = {}
    with VideoReader(frame_interval(store.store)) as reader:
        for place, row in face_rows(store.store, sorted(chosen)):
            if row["status"] != "ok":
                continue
            utterance = to_utterances(store.manifest.slice(place, 1))[0]
            shown = spread(len(row["crops"]), most)
            frame = None
            if with_frame and store.root is not None and utterance.video is not None:
                frame = boxed_frame(reader, store.root, utterance.video, row, _FRAME)
            strips[place] = Strip(
                utterance.utterance_id,
                chosen[place] or utterance.label or "",
                utterance.text or "",
                f"found in {sum(row['detected'])} of {len(row['crops'])} sampled frames",
                _png(_side_by_side(row, shown)),
                [not row["detected"][number] for number in shown],
                None if frame is None else _png(frame),
            )
    return [strips[place] for place in chosen if place in strips]


def _side_by_side(row: Mapping[str, Any], shown: Sequence[int]) -> npt.NDArray[np.uint8]:
    return np.concatenate(list(decode_crops([row["crops"][number] for number in shown])), axis=1)


def _png(image: npt.NDArray[np.uint8]) -> bytes:
    return bytes(cv2.imencode(".png", image)[1].tobytes())
