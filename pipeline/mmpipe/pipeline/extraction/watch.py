"""Failures of the environment, which must not become rows: they say nothing about an utterance.

Where memory, file handles or disk are used up, the task ends at once. Where storage does not answer (an I/O error, a
lost mount or connection), it ends after `MAX_EQUAL_FAILURES` equal failures, or if all of its rows fail so. Fewer may
be a damaged sector, and become rows. A media file that was there when the run was planned and is gone now ends it too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mmpipe.core.environment import MAX_EQUAL_FAILURES, causes, exhausted, storage_remedy, unavailable
from mmpipe.core.errors import MmpipeError, Rejected, ResourceError

__all__ = ["Watch", "refusing_failures"]

_AGAIN = "no row was written for it and finished shards are safe"


class Watch:
    """Looks at the errors of one task.

    Args:
        what: the task, for messages.
        ids: the utterances of its rows.
        known: whether the media of a row could be read when the run was planned; None for a row without media.
        lenient: failures of storage become rows however many there are, as `--accept-missing` asks for.
    """

    def __init__(self, what: str, ids: Sequence[str], known: Sequence[bool | None], *, lenient: bool = False) -> None:
        self._what, self._ids, self._known, self._lenient = what, ids, known, lenient
        self._failed: defaultdict[str, set[int]] = defaultdict(set)

    def refuse_exhaustion(self, error: BaseException) -> None:
        """Raise `ResourceError` if memory, file handles or disk are used up."""
        for one in causes(error):
            if cause := exhausted(one):
                raise ResourceError(
                    f"{self._what}: {cause}; {_AGAIN}: {_remedy(one)}, then run the same command again"
                ) from error

    def see(self, place: int, error: BaseException) -> None:
        """Look at the error of one row.

        Raises:
            ResourceError: it is the environment's, see above.
        """
        self.refuse_exhaustion(error)
        if self._known[place] is False:
            return
        if self._known[place] and isinstance(error, Rejected) and error.status == "media_missing":
            raise ResourceError(
                f"{self._what}: the media of {self._ids[place]} were there when the run was planned and are gone "
                f"({error}); {_AGAIN}: is the disk still mounted? Then run the same command again"
            ) from error
        cause = next((cause for one in causes(error) if (cause := unavailable(one))), None)
        if cause is None or self._lenient:
            return
        failed = self._failed[cause]
        failed.add(place)
        if len(failed) >= min(MAX_EQUAL_FAILURES, len(self._ids)):
            raise ResourceError(
                f"{self._what}: {cause} in {len(failed)} of its rows, the last {self._ids[place]} ({error}); {_AGAIN}: "
                f"{storage_remedy(error)}, then run the same command again (--accept-missing writes rows without "
                "features instead)"
            ) from error


@contextmanager
def refusing_failures(what: str) -> Iterator[None]:
    """Turn an error of the environment that is no row's into a `ResourceError`.

    Args:
        what: what the block does, for messages.
    """
    try:
        yield
    except MmpipeError:
        raise
    except Exception as error:
        for one in causes(error):
            if cause := exhausted(one) or unavailable(one):
                raise ResourceError(
                    f"{what}: {cause}; finished shards are safe: {_remedy(one)}, then run the same command again"
                ) from error
        raise


def _remedy(error: BaseException) -> str:
    text = exhausted(error) or ""
    if "memory" in text.lower():
        return "free memory, or take fewer --workers"
    if "open files" in text:
        return "allow more open files (`ulimit -n`), or take fewer --workers"
    return "free space (or lift the quota)" if text else storage_remedy(error)
