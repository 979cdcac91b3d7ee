"""Texts that do not fit a text model, found while an extraction is planned."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from mmpipe.manifests.contract import Problem
from mmpipe.pipeline.extraction.stages import StageSpec, naming_remedies

__all__ = ["case_problems"]

_SHARE = 0.5


def case_problems(rows: pa.Table, specs: Sequence[StageSpec]) -> list[Problem]:
    """One problem for each text stage whose model tells upper from lower case, if most texts are in upper case.

    Such a model was trained on sentences: `HELLO THERE` becomes single letters and rare pieces.

    Args:
        rows: the manifest.
        specs: the stages.

    Raises:
        WeightsError: a text model is missing.
    """
    stages = []
    for spec in (s for s in specs if s.input == "words"):
        with naming_remedies(spec, specs):
            if spec.build().is_case_sensitive():
                stages.append(spec)
    texts = rows.column("text").drop_null() if stages else pa.chunked_array([], pa.string())
    lettered = texts.filter(pc.match_substring_regex(texts, r"\p{L}{2}"))
    if not len(lettered):
        return []
    upper = pc.sum(pc.equal(lettered, pc.utf8_upper(lettered))).as_py() or 0
    if upper <= _SHARE * len(lettered):
        return []
    message = (
        f"{upper} of {len(lettered)} texts are in upper case, and the model tells upper from lower case: choose an "
        "uncased model, or a transcript with sentences"
    )
    return [Problem("upper_case", f"stage {spec.name}", message) for spec in stages]
