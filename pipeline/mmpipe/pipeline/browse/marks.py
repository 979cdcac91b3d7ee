"""The list of marks of a running page, and the file in which it is kept."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

from mmpipe.core.seals import file_state
from mmpipe.pipeline.outputs import claim
from mmpipe.pipeline.store.marks import Mark, read_marks, write_marks

__all__ = ["MarkList"]


class MarkList:
    """Marks by utterance, written to a CSV file at every change; what others change in the file meanwhile is kept.

    Args:
        path: the file; one that is there is read.

    Raises:
        UsageError: the file is there and is not such a list.
    """

    def __init__(self, path: Path) -> None:
        claim(path, "list of marks")
        self.path = path
        self._lock = threading.Lock()
        self._state: tuple[int, ...] | None = None
        self._marks: dict[str, Mark] = {}
        self.current()

    def current(self) -> Mapping[str, Mark]:
        """The marks as the file has them now.

        Raises:
            UsageError: the file was changed, and is not such a list any more.
        """
        with self._lock:
            return self._read()

    def put(self, utterance_id: str, mark: Mark) -> None:
        """Set the mark of an utterance; an empty one removes it.

        Raises:
            UsageError: see `current`.
            StorageError: the file cannot be written.
        """
        with self._lock:
            marks = {**self._read(), utterance_id: mark}
            if not mark:
                del marks[utterance_id]
            if marks == self._marks:
                return
            write_marks(self.path, marks)
            self._marks, self._state = marks, file_state(self.path)

    def _read(self) -> dict[str, Mark]:
        state = file_state(self.path) if self.path.exists() else None
        if state != self._state:
            self._marks, self._state = ({} if state is None else read_marks(self.path)), state
        return self._marks
