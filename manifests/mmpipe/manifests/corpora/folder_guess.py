"""What a folder of clips seems to be: a table in it that lists its clips, or folders that are the labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from mmpipe.core.errors import CorpusError
from mmpipe.manifests.contract import Prepared
from mmpipe.manifests.corpora.folder_clips import find_clips
from mmpipe.manifests.corpora.folder_table import table_clips
from mmpipe.manifests.formats.tables import TABLE_ENDINGS

__all__ = ["guess_options"]

_CLIPS_A_LABEL = 2
"""Folders are labels if they hold at least so many clips on the average."""


def guess_options(root: Path, *, follow_links: bool = False) -> tuple[dict[str, str], str]:
    """Options of a folder of clips, and in a sentence what they follow from; no options where nothing is found.

    One table directly in the folder that names existing clips is its `table`. Without one, and if every clip is in one
    of two or more folders with two clips or more each on the average, these folders are the labels.

    Args:
        root: the folder.
        follow_links: read what links to folders, and links out of the root, point to.
    """
    tables = [name for name in _tables(root) if _lists_clips(root, name, follow_links=follow_links)]
    if len(tables) == 1:
        return {"table": tables[0]}, f"{tables[0]} lists the clips"
    if tables:
        return {}, f"{', '.join(tables)} all list clips: choose one with --table"
    files = [PurePosixPath(clip.audio) for clip in find_clips(root, Prepared(), follow_links=follow_links)]
    labels = {file.parent for file in files}
    if len(labels) > 1 and PurePosixPath() not in labels and len(files) >= _CLIPS_A_LABEL * len(labels):
        return {"label": "folder"}, f"the {len(labels)} folders of the clips are their labels"
    return {}, "nothing says what the labels are"


def _tables(root: Path) -> Iterator[str]:
    return (path.name for path in sorted(root.iterdir()) if path.suffix.lower() in TABLE_ENDINGS and path.is_file())


def _lists_clips(root: Path, name: str, *, follow_links: bool) -> bool:
    """Whether a table has a column of files, and at least one of them exists."""
    try:
        rows = list(table_clips(root, name, Prepared(), columns={}, follow_links=follow_links))
    except CorpusError:
        return False
    return any(row.file is not None and (root / row.file).is_file() for row in rows)
