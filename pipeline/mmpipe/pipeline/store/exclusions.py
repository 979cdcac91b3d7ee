"""What a list of marks changes: utterances that are left out, and corrected labels."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mmpipe.core.files import canonical_json
from mmpipe.pipeline.store.marks import read_marks

__all__ = ["Exclusions", "read_exclusions"]

_SHOWN = 3


@dataclass(frozen=True)
class Exclusions:
    """What a list of marks changes of a manifest; unlike marks, it holds no notes of other utterances.

    Attributes:
        name: of the list's file.
        bad: the note of each utterance that is left out.
        labels: corrected labels, by utterance.
    """

    name: str
    bad: Mapping[str, str]
    labels: Mapping[str, str]

    @property
    def reason(self) -> str:
        """Why utterances are left out.

        Example:
            >>> Exclusions("marks.csv", {}, {}).reason
            'marked as bad in marks.csv'
        """
        return f"marked as bad in {self.name}"

    @property
    def sha256(self) -> str:
        """A hash of what the list changes; notes have no effect on it."""
        return sha256(canonical_json([sorted(self.bad), dict(self.labels)]).encode()).hexdigest()

    def among(self, ids: Collection[str]) -> Exclusions:
        """What the list changes of these utterances."""
        known = set(ids)
        bad, labels = ({i: value for i, value in held.items() if i in known} for held in (self.bad, self.labels))
        return Exclusions(self.name, bad, labels)

    def unknown(self, ids: Collection[str], where: str) -> str | None:
        """A sentence about utterances of the list that are not among these; None where there are none.

        Args:
            ids: the utterances that there are.
            where: what they are the utterances of.
        """
        known = set(ids)
        absent = sorted(i for i in {*self.bad, *self.labels} if i not in known)
        shown = ", ".join(absent[:_SHOWN]) + (", ..." if len(absent) > _SHOWN else "")
        return f"{len(absent)} utterances of {self.name} are not in {where}: {shown}" if absent else None

    def is_bad(self, ids: pa.ChunkedArray) -> Any:
        """Which of the utterances are left out, as an Arrow array."""
        return pc.is_in(ids, value_set=pa.array(list(self.bad), pa.string()))

    def relabelled(self, manifest: pa.Table) -> pa.Table:
        """A manifest with the corrected labels."""
        if not self.labels:
            return manifest
        place = pc.index_in(manifest.column("utterance_id"), value_set=pa.array(list(self.labels), pa.string()))
        corrected = pc.take(pa.array(list(self.labels.values()), pa.string()), place)
        label = pc.coalesce(corrected, manifest.column("label"))
        return manifest.set_column(manifest.schema.get_field_index("label"), "label", label)

    def to_json(self) -> dict[str, Any]:
        """As store.json and run.json hold it."""
        return {"name": self.name, "bad": dict(sorted(self.bad.items())), "labels": dict(sorted(self.labels.items()))}


def read_exclusions(path: Path) -> Exclusions:
    """What a list of marks changes.

    Raises:
        UsageError: it cannot be read, or is not such a list.
    """
    marks = read_marks(path)
    bad = {name: mark.note for name, mark in marks.items() if mark.is_bad}
    labels = {name: mark.label for name, mark in marks.items() if mark.label is not None and not mark.is_bad}
    return Exclusions(path.name, bad, labels)
