"""The media and splits of a corpus checked: what its reader did not note itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from mmpipe.manifests.contract import Prepared, Problem
from mmpipe.manifests.splits import crossing_speakers
from mmpipe.pipeline.media.duplicates import duplicate_problems
from mmpipe.pipeline.media.header_checks import check_headers, media_uses, read_headers

__all__ = ["check_media"]

_SHOWN_NAMES = 5


def check_media(
    prepared: Prepared,
    root: Path,
    manifest: pa.Table,
    on_file: Callable[[int], None] = lambda files: None,
    *,
    logs: Path | None = None,
) -> list[Problem]:
    """Problems of media and splits that the reader of the corpus did not note itself.

    Args:
        prepared: what the reader found.
        root: the corpus root.
        manifest: its utterances as a table.
        on_file: called with the number of files after each of them.
        logs: the folder of a cache of content hashes, which is read only; None for no cache.

    Raises:
        ResourceError: the machine fails while media are compared.
    """
    uses = media_uses(prepared.utterances)
    headers = read_headers(root, list(uses), lambda: on_file(len(uses)))
    noted = {(problem.category, problem.where) for problem in prepared.problems}
    found = [p for p in check_headers(headers, uses) if (p.category, p.where) not in noted]
    if crossing := crossing_speakers(manifest):
        names = list(crossing)
        shown = ", ".join(names[:_SHOWN_NAMES]) + (" ..." if len(names) > _SHOWN_NAMES else "")
        message = f"{len(names)} speakers are in two splits or more, so the corpus's own split hears them all: {shown}"
        found.append(Problem("speaker_crosses", "split", message))
    return [*found, *duplicate_problems(root, prepared.utterances, headers, logs)]
