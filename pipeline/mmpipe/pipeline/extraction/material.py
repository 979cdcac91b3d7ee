"""Which stages find anything to read in the rows of a manifest."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from mmpipe.extractors.contract import InputKind
from mmpipe.pipeline.extraction.stages import StageSpec

__all__ = ["split_by_material"]

_READS: dict[InputKind, tuple[tuple[str, ...], str]] = {
    "audio": (("audio",), "no utterance has audio"),
    "frames": (("video",), "no utterance has video"),
    "crops": (("video",), "no utterance has video"),
    "words": (("text", "words"), "no utterance has a transcript"),
}
"""By input kind, the columns of the manifest of which one must hold something, and what is said if none does."""


def split_by_material(rows: pa.Table, specs: Sequence[StageSpec]) -> tuple[list[StageSpec], dict[str, str]]:
    """The stages that have something to read, and why the others have not, by name.

    Media are not opened: a video file whose sound track is missing counts as one that has audio.

    Args:
        rows: the manifest.
        specs: the stages.
    """
    filled = {name for name in ("audio", "video", "text", "words") if rows.column(name).null_count < rows.num_rows}
    idle = {spec.name: _READS[spec.input][1] for spec in specs if not filled & {*_READS[spec.input][0]}}
    return [spec for spec in specs if spec.name not in idle], idle
