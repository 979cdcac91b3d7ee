"""An extractor applied to the rows of one shard: an error of any kind costs its own row only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from mmpipe.core.errors import Rejected
from mmpipe.extractors.contract import Extractor, Row
from mmpipe.manifests.schema import Utterance
from mmpipe.pipeline.extraction.inputs import crop_makers, item_makers
from mmpipe.pipeline.extraction.stages import StageSpec

__all__ = ["run_stage"]


def run_stage(
    spec: StageSpec,
    extractor: Extractor,
    utterances: Sequence[Utterance],
    root: Path,
    upstream: pa.Table | None,
) -> list[Row | Rejected]:
    """The rows of one shard, in order: an error of any kind costs its own row only.

    Args:
        spec: the stage.
        extractor: its extractor, prepared.
        utterances: the shard's rows of the manifest.
        root: the corpus root.
        upstream: the same shard of the stage that this one needs, if it needs one.
    """
    if upstream is None:
        return _answer(extractor, item_makers(spec, utterances, root))
    assert upstream.column("utterance_id").to_pylist() == [u.utterance_id for u in utterances]
    return _answer(extractor, crop_makers(upstream))


def _answer(extractor: Extractor, makers: Sequence[Callable[[], Any]]) -> list[Row | Rejected]:
    answers: list[Row | Rejected | None] = [None] * len(makers)
    places: list[int] = []

    def items() -> Iterable[Any]:
        for place, make in enumerate(makers):
            try:
                item = make()
            except Rejected as rejected:
                answers[place] = rejected
            else:
                places.append(place)
                yield item

    try:
        good = list(extractor.extract(items()))
    except Exception as error:  # an extractor failed on a batch: find the item that it fails on
        if len(makers) == 1:
            return [Rejected("extractor_error", f"{type(extractor).__name__}: {type(error).__name__}: {error}")]
        return [answer for make in makers for answer in _answer(extractor, [make])]
    for place, answer in zip(places, good, strict=True):
        answers[place] = answer
    assert all(answer is not None for answer in answers)
    return [answer for answer in answers if answer is not None]
