"""The face strip of one utterance: its crops side by side."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from mmpipe.core.errors import UsageError
from mmpipe.core.files import write_bytes
from mmpipe.extractors.faces.crops import decode_crops
from mmpipe.pipeline.extraction.stages import FACES
from mmpipe.pipeline.outputs import claim, marked_png
from mmpipe.pipeline.store.utterance_view import UtteranceView

__all__ = ["write_face_strip"]


def write_face_strip(view: UtteranceView, out: Path, *, overwrite: bool = False) -> None:
    """Save the crops of an utterance as one PNG file, those without a detection darkened.

    Raises:
        UsageError: `out` exists and is not such a picture, or the utterance has no crops.
    """
    row = view.stages.get(FACES, {})
    if not row.get("crops"):
        reason = row.get("error") or f"the store has no such row of stage {FACES}"
        raise UsageError(f"{view.utterance.utterance_id} has no face crops: {reason}")
    claim(out, "picture", overwrite=overwrite)
    shade = np.where(row["detected"], 1.0, 0.5)[:, None, None]
    strip = np.concatenate(list((decode_crops(row["crops"]) * shade).astype(np.uint8)), axis=1)
    write_bytes(out, marked_png(cv2.imencode(".png", strip)[1].tobytes()))
