"""An extractor applied to the rows of one shard: an error of one utterance costs its own row only.

Errors of the environment are not errors of an utterance: see `watch`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from mmpipe.core.errors import Rejected, ResourceError
from mmpipe.core.object_cache import ObjectCache
from mmpipe.extractors.contract import Extractor, Row
from mmpipe.manifests.schema import Utterance
from mmpipe.pipeline.extraction.inputs import Inputs, Item, crop_makers, item_makers
from mmpipe.pipeline.extraction.stages import StageSpec
from mmpipe.pipeline.extraction.watch import Watch
from mmpipe.pipeline.media.notes import Note, notes_text

__all__ = ["Answer", "run_stage"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one utterance.

    Attributes:
        row: its features, or why there are none.
        warning: what is odd with its media, for the column `error` of a row that is `ok`.
    """

    row: Row | Rejected
    warning: str | None = None


def run_stage(
    spec: StageSpec,
    extractor: Extractor,
    utterances: Sequence[Utterance],
    root: Path,
    upstream: pa.Table | None,
    watch: Watch,
    cache: ObjectCache | None = None,
) -> list[Answer]:
    """The rows of one shard, in order: an error of one utterance costs its own row only.

    Args:
        spec: the stage.
        extractor: its extractor, prepared.
        utterances: the shard's rows of the manifest.
        root: the corpus root.
        upstream: the same shard of the stage that this one needs, if it needs one.
        watch: looks at every error.
        cache: keeps the media of an object store on a local disk; None reads them by ranges.

    Raises:
        ResourceError: see `Watch`.
    """
    if upstream is not None:
        assert upstream.column("utterance_id").to_pylist() == [u.utterance_id for u in utterances]
        return _answer(extractor, crop_makers(upstream), watch)
    fallback = spec.transcode_fallback
    with Inputs(root, spec.every, transcode_fallback=fallback, source=spec.source, cache=cache) as inputs:
        return _answer(extractor, item_makers(spec, utterances, inputs), watch)


def _answer(extractor: Extractor, makers: Sequence[Callable[[], Item]], watch: Watch, first: int = 0) -> list[Answer]:
    """The answers to items, which `makers` make; the first of them has the place `first` in the task."""
    answers: list[Answer | None] = [None] * len(makers)
    places: list[tuple[int, list[Note]]] = []

    def items() -> Iterable[Any]:
        for place, make in enumerate(makers):
            try:
                item = make()
            except Rejected as rejected:
                watch.see(first + place, rejected)
                answers[place] = Answer(rejected)
            else:
                places.append((place, item.notes))
                yield item.value

    try:
        good = list(extractor.extract(items()))
    except ResourceError:
        raise
    except Exception as error:  # an extractor failed on a batch: find the item that it fails on
        watch.refuse_exhaustion(error)
        if len(makers) == 1:
            watch.see(first, error)
            return [Answer(Rejected.failed(type(extractor).__name__, error))]
        return [answer for n, make in enumerate(makers) for answer in _answer(extractor, [make], watch, first + n)]
    for (place, notes), row in zip(places, good, strict=True):
        if isinstance(row, Rejected):
            watch.see(first + place, row)
        answers[place] = Answer(row, None if isinstance(row, Rejected) else notes_text(notes))
    assert all(answer is not None for answer in answers)
    return [answer for answer in answers if answer is not None]
