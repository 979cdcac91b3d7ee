"""Files and folders that commands write: what mmpipe did not write is replaced only where that is asked for."""

from __future__ import annotations

import re
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from mmpipe.core.errors import UsageError
from mmpipe.core.parquet import glance
from mmpipe.core.reading import check_regular, read_object
from mmpipe.core.scratch import sweep_parts

__all__ = ["MARK_COLUMNS", "PAGE_MARK", "PROBLEM_COLUMNS", "Output", "claim", "is_own", "marked_png", "move_into_place"]

Output = Literal[
    "balanced list",
    "clip",
    "evaluation",
    "export",
    "face network",
    "folder of pictures",
    "history",
    "list of marks",
    "list of problems",
    "manifest",
    "picture",
    "predictions",
    "predictions of baselines",
    "report",
    "table of baselines",
    "table of runs",
]
"""What a command writes."""

PAGE_MARK = '<meta name="generator" content="mmpipe">'
"""In the head of a page that mmpipe wrote."""

MARK_COLUMNS = ("utterance_id", "mark", "label", "note")
"""The header of a list of marks."""

PROBLEM_COLUMNS = ("category", "where", "message", "utterances_lost")
"""The header of a list of problems."""

_FOLDERS: tuple[Output, ...] = ("export", "folder of pictures")
"""What is a folder; all else are files."""

_NUMBERED = re.compile(r"\d{2,}-[a-z0-9-]+\.png")
"""Names of the files in a folder of pictures."""

_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_TEXT = b"tEXtSoftware\0mmpipe"
"""Type and data of the PNG chunk that names the program."""


def claim(path: Path, output: Output, *, overwrite: bool = False) -> None:
    """Make sure that an output may be written: nothing is there, or an earlier output of the same kind.

    What killed commands left of it, unfinished, is removed.

    Args:
        path: the file, or the folder of an export or of pictures.
        output: what is going to be written.
        overwrite: replace whatever is there.

    Raises:
        UsageError: something else is there; or a folder is where a file should be, or the reverse.
    """
    sweep_parts(path.parent, path.name, deep=False)
    if not path.exists():
        return
    if path.is_dir() != (output in _FOLDERS):
        raise UsageError(f"{path} is a {'folder' if path.is_dir() else 'file'}: name another place for the {output}")
    article = "an" if output[0] in "aeiou" else "a"
    if not overwrite and not is_own(path, output):
        raise UsageError(
            f"{path} exists and is not {article} {output} that mmpipe wrote: name another place, or replace it with "
            "--overwrite"
        )


def move_into_place(part: Path, folder: Path) -> None:
    """Give a finished folder its name; what has the name now is removed."""
    if not folder.exists():
        part.replace(folder)
        return
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as old:
        folder.replace(Path(old) / "old")
        part.replace(folder)


def marked_png(data: bytes) -> bytes:
    """A PNG file with a chunk that names mmpipe as the program that wrote it."""
    end_of_header = len(_PNG_START) + 25
    chunk = struct.pack(">I", len(_PNG_TEXT) - 4) + _PNG_TEXT + struct.pack(">I", zlib.crc32(_PNG_TEXT))
    return data[:end_of_header] + chunk + data[end_of_header:]


def is_own(path: Path, output: Output) -> bool:
    """Whether a file or folder is an earlier output of that kind."""
    try:
        return _TESTS[output](path)
    except (OSError, ValueError):
        return False


def _has_footer(path: Path, key: str) -> bool:
    return path.is_file() and key in glance(path).metadata


def _starts_with(path: Path, mark: bytes) -> bool:
    check_regular(path)
    with path.open("rb") as stream:
        return mark in stream.read(4096)


def _is_evaluation(path: Path) -> bool:
    value = read_object(path)
    return {"store", "model", "normalise"} <= value.keys()


def _is_export(path: Path) -> bool:
    """Whether a folder holds shards of an export and its card, and nothing else; an empty folder is free."""
    files = [file for file in path.rglob("*") if not file.is_dir()]
    return all(file == path / "README.md" or _is_shard_of_export(file) for file in files)


def _is_shard_of_export(file: Path) -> bool:
    return file.suffix == ".parquet" and _has_footer(file, "fingerprints")


def _is_folder_of_pictures(path: Path) -> bool:
    """Whether a folder holds numbered pictures and nothing else; an empty folder is free."""
    return all(_NUMBERED.fullmatch(file.name) and _starts_with(file, _PNG_TEXT) for file in path.iterdir())


def _is_clip(path: Path) -> bool:
    import av

    try:
        with av.open(str(path)) as container:
            return container.metadata.get("comment") == "mmpipe"
    except av.FFmpegError:
        return False


_TESTS: dict[Output, Callable[[Path], bool]] = {
    "manifest": lambda path: _has_footer(path, "options"),
    "list of problems": lambda path: _starts_with(path, ",".join(PROBLEM_COLUMNS).encode()),
    "balanced list": lambda path: _has_footer(path, "stores"),
    "list of marks": lambda path: _starts_with(path, ",".join(MARK_COLUMNS).encode()),
    "evaluation": _is_evaluation,
    "export": _is_export,
    "folder of pictures": _is_folder_of_pictures,
    "face network": lambda path: any(path.with_suffix(suffix).exists() for suffix in (".checkpoint", ".json")),
    "history": lambda path: _starts_with(path, b"seed,fold,epoch"),
    "predictions": lambda path: _has_footer(path, "labels"),
    "predictions of baselines": lambda path: _has_footer(path, "baselines"),
    "table of baselines": lambda path: _starts_with(path, b"baseline,metric,mean,std,low,high"),
    "table of runs": lambda path: _starts_with(path, b",metric,mean,std,low,high,paper"),
    "picture": lambda path: _starts_with(path, _PNG_TEXT),
    "report": lambda path: _starts_with(path, PAGE_MARK.encode()),
    "clip": _is_clip,
}
"""Whether a file or folder is an earlier output of that kind."""
