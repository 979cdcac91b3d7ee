"""Media that change between the plan and their reading: no features of them are kept under the hash of the plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from mmpipe.core.environment import causes, unavailable
from mmpipe.core.errors import Rejected
from mmpipe.pipeline.media.content_hash import MISSING, UNREADABLE, hash_file, media_state

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
        self._changed: dict[str, Rejected] = {}
        for uri in sorted({*uris} & states.keys()):
            self._before[uri], error = self._look(media_state, uri)
            if error is None and self._before[uri] != states[uri]:
                now, error = self._look(hash_file, uri)
                if error is None and now != hashes[uri]:
                    self._changed[uri] = _rejection(uri, now)
            if error is not None and states[uri] != UNREADABLE:
                self._changed[uri] = _rejection(uri, UNREADABLE, error)

    def changed(self) -> dict[str, Rejected]:
        """The media that differ from what was hashed, or that changed while they were read: what their rows get."""
        for uri, state in self._before.items():
            now, error = self._look(media_state, uri)
            if now != state:
                self._changed.setdefault(uri, _rejection(uri, now, error))
        return self._changed

    def _look(self, how: Callable[[Path, str], str], uri: str) -> tuple[str, Exception | None]:
        """What `how` says of a file, or that it is unreadable, and why."""
        try:
            return how(self._root, uri), None
        except Exception as error:
            if not (isinstance(error, Rejected | OSError) or any(map(unavailable, causes(error)))):
                raise
            return UNREADABLE, error


def _rejection(uri: str, now: str, cause: Exception | None = None) -> Rejected:
    if now == MISSING:
        return Rejected("media_missing", f"{uri} is not there any more")
    what = "changed after its content was hashed" if cause is None else f"cannot be read any more ({cause})"
    rejected = Rejected(
        "media_error",
        f"{uri} {what}: run the same command again (with --retry-failed, if the file is again what it was)",
    )
    rejected.__cause__ = cause
    return rejected
