"""Labels, speakers and other attributes of a clip: from a table, from the name of its file, or from its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Literal

from mmpipe.core.errors import CorpusError
from mmpipe.manifests.contract import Prepared
from mmpipe.manifests.corpora.folder_columns import ATTRIBUTES
from mmpipe.manifests.corpora.folder_names import NamePattern, parse_label_map

__all__ = ["Attributes"]

_Source = Literal["none", "folder"]


class Attributes:
    """Gives the attributes of clips: what a table says counts first, then the file's name, then its folder.

    Args:
        label: `folder`: the name of the folder is the label.
        speaker: `folder`: the name of the folder is the speaker.
        pattern: the form of the names of files.
        label_map: labels by the corpus's own labels, as `angry=anger,06=fear`.

    Raises:
        UsageError: pattern or label map cannot be read.
    """

    def __init__(self, label: _Source, speaker: _Source, pattern: str | None, label_map: str) -> None:
        self._folder = [name for name, source in (("label", label), ("speaker", speaker)) if source == "folder"]
        self._pattern = NamePattern(pattern) if pattern else None
        self._label_map = parse_label_map(label_map)
        self._read: dict[str, Mapping[str, str] | None] = {}
        self._labels: set[str] = set()

    def of(self, file: str | None, given: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
        """Columns of the manifest (`label_source` is the corpus's own label), and what else the name says."""
        folder = PurePosixPath(file or "").parent.name
        columns: dict[str, Any] = dict.fromkeys(self._folder, folder) if folder else {}
        fields: Mapping[str, str] = {}
        if self._pattern and file:
            if file not in self._read:
                self._read[file] = self._pattern.read(file)
            fields = self._read[file] or {}
        columns |= {name: value for name, value in fields.items() if name in ATTRIBUTES} | dict(given)
        if own := columns.get("label"):
            self._labels.add(own)
            columns |= {"label_source": own, "label": self._label_map.get(own, own)}
        return columns, {name: value for name, value in fields.items() if name not in ATTRIBUTES}

    def report(self, prepared: Prepared) -> None:
        """Report the files whose names do not match, and the labels to map that no clip has.

        Raises:
            CorpusError: no name matches.
        """
        if self._pattern and self._read:
            unmatched = [file for file, fields in self._read.items() if fields is None]
            if len(unmatched) == len(self._read):
                raise CorpusError(
                    f"pattern {self._pattern.text!r}: none of the {len(unmatched)} files has a name of this form, "
                    f"for example {unmatched[0]!r}. The pattern is matched against the name without its ending"
                )
            for file in unmatched:
                message = f"the name does not have the form {self._pattern.text}: it gives no label or speaker"
                prepared.problem("unmatched_name", file, message)
        for own in sorted(self._label_map.keys() - self._labels):
            found = ", ".join(sorted(self._labels)[:20]) or "none"
            prepared.problem("unknown_label", f"label_map {own}", f"no clip has the label {own!r}; labels: {found}")
