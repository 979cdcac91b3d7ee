"""Pseudo-labels of a balanced list, by utterance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mmpipe.core.errors import StoreError
from mmpipe.core.parquet import read_sealed

__all__ = ["PseudoLabels", "read_pseudo_labels"]


@dataclass(frozen=True)
class PseudoLabels:
    """The draws of a balanced list, those with the lowest probability first.

    Attributes:
        path: the list.
        draws: utterance_id, pseudo_label, probability, and fold where the list has one for each fold.
    """

    path: Path
    draws: pa.Table

    def best(self, ids: pa.ChunkedArray) -> tuple[pa.ChunkedArray, npt.NDArray[np.float32]]:
        """Of each utterance the most probable pseudo-label of all folds, and its probability (NaN where none)."""
        held = self.draws.column("utterance_id").combine_chunks()
        unique = held.dictionary_encode()
        last = np.zeros(len(unique.dictionary), np.int64)
        last[unique.indices.to_numpy()] = np.arange(len(held))  # a later draw, which is more probable, takes the place
        place = pc.index_in(ids, value_set=unique.dictionary)
        draw = pc.take(pa.array(last), place)
        probability = pc.take(self.draws.column("probability"), draw).cast(pa.float32())
        labels = pc.take(self.draws.column("pseudo_label"), draw)
        return labels, pc.fill_null(probability, float("nan")).to_numpy()

    def of(self, utterance_id: str) -> tuple[tuple[str | None, str, float], ...]:
        """Fold (None of a list for all folds), pseudo-label and probability of an utterance."""
        rows = self.draws.filter(pc.equal(self.draws.column("utterance_id"), utterance_id)).to_pylist()
        return tuple(sorted({(row.get("fold"), row["pseudo_label"], row["probability"]) for row in rows}, key=str))


def read_pseudo_labels(path: Path) -> PseudoLabels:
    """The pseudo-labels of a list of `mmpipe balance-unlabeled`.

    Raises:
        StoreError: it cannot be read, or is not such a list.
    """
    try:
        table, _ = read_sealed(path)
        wanted = ["utterance_id", "pseudo_label", "probability", *(["fold"] if "fold" in table.column_names else [])]
        return PseudoLabels(path, table.select(wanted).sort_by("probability").replace_schema_metadata(None))
    except (OSError, ValueError, LookupError) as error:
        raise StoreError(
            f"the balanced list {path} cannot be read ({type(error).__name__}: {error}): make it with "
            "`mmpipe balance-unlabeled`"
        ) from error
