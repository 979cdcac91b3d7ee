"""Media that change between the plan and their reading: no features of them are kept under the hash of the plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from mmpipe.core.errors import Rejected
from mmpipe.pipeline.media.content_hash import hash_file, media_state

__all__ = ["MediaGuard"]


class MediaGuard:
    """Says which media are not those that were hashed. Make it before they are read, ask it afterwards.

    A file whose state differs from that of the plan is hashed again at once: it may have been copied or touched only.

    Args:
        root: the corpus root.
        uris: the media that are about to be read.
        hashes: their content hashes, as planned.
        states: their states when they were hashed; a file without one is not guarded.
    """

    def __init__(self, root: Path, uris: Iterable[str], hashes: Mapping[str, str], states: Mapping[str, str]) -> None:
        self._root = root
        self._before: dict[str, str] = {}
        self._changed: set[str] = set()
        for uri in sorted({*uris} & states.keys()):
            self._before[uri] = media_state(root, uri)
            if self._before[uri] != states[uri] and hash_file(root, uri) != hashes[uri]:
                self._changed.add(uri)

    def changed(self) -> set[str]:
        """The media that differ from what was hashed, or that changed while they were read."""
        return self._changed | {uri for uri, state in self._before.items() if media_state(self._root, uri) != state}

    @staticmethod
    def rejection(uri: str) -> Rejected:
        """What the rows of a changed file get."""
        return Rejected(
            "media_error",
            f"{uri} changed after its content was hashed: run the same command again (with --retry-failed, if the "
            "file is again what it was)",
        )
