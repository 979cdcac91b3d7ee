"""The clips of a folder: found by their endings, or listed in a table. Media are not decoded."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from mmpipe.core.errors import CorpusError
from mmpipe.core.text import clean, printable
from mmpipe.manifests.contract import Prepared
from mmpipe.manifests.formats.tables import read_rows
from mmpipe.manifests.formats.text import parse_seconds
from mmpipe.manifests.formats.transcripts import TRANSCRIPT_ENDINGS
from mmpipe.manifests.io import unsafe_uri

__all__ = [
    "ATTRIBUTES",
    "AUDIO_ENDINGS",
    "VIDEO_ENDINGS",
    "Clip",
    "Listed",
    "find_clips",
    "listed_clips",
    "table_clips",
    "transcript_beside",
]

VIDEO_ENDINGS = (
    *(".mp4", ".mkv", ".avi", ".mov", ".flv", ".webm", ".mpg", ".mpeg", ".m4v", ".ts", ".mts", ".m2ts", ".vob"),
    *(".wmv", ".asf", ".3gp", ".3g2", ".ogv", ".mxf", ".dv"),
)
AUDIO_ENDINGS = (
    *(".wav", ".mp3", ".flac", ".m4a", ".ogg", ".opus", ".oga", ".aac", ".wma", ".sph", ".aiff", ".aif", ".au", ".w64"),
    *(".caf", ".amr"),
)
ATTRIBUTES = ("label", "speaker", "split", "session", "dialogue", "gender")
"""Columns of a table that become columns of the manifest."""

_NO_MEDIA = (
    *(".csv", ".tsv", ".xlsx", ".json", ".jsonl", ".parquet", ".md", ".pdf", ".log"),
    *(".py", ".sh", ".yaml", ".toml"),
)
"""Endings of tables, notes and programs beside the clips, which nobody misses in a manifest."""

_KNOWN = {"file", "utterance_id", "start_seconds", "end_seconds", "duration_seconds", "text", *ATTRIBUTES}


@dataclass(frozen=True, slots=True)
class Clip:
    """The files of one clip, which have one name.

    Attributes:
        name: path below the root without an ending.
        audio: the file with the audio, relative to the root; the video file if there is no audio file of its name.
        video: the file with the video, relative to the root; None for audio alone.
        transcript: the transcript beside it; None where there is none.
        attributes: values of `ATTRIBUTES` that a table gives.
        annotations: what else a table gives.
    """

    name: str
    audio: str
    video: str | None
    transcript: Path | None
    attributes: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Listed:
    """A row of a table.

    Attributes:
        name: its `utterance_id`, or the file and line that name it.
        file: relative to the root; None for text alone.
        start_seconds: start in the file.
        end_seconds: end in the file; None for its end.
        text: what is said, as one line; empty if the table does not give it.
        attributes: values of `ATTRIBUTES` that the row gives.
        annotations: all other columns.
    """

    name: str
    file: str | None
    start_seconds: float = 0.0
    end_seconds: float | None = None
    text: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_video(self) -> bool:
        """Whether the file may hold video: an extraction sees in its streams whether it does.

        Files with an ending of audio are not searched for video.
        """
        return self.file is not None and PurePosixPath(self.file).suffix.lower() not in AUDIO_ENDINGS


def find_clips(root: Path, prepared: Prepared) -> list[Clip]:
    """The clips below `root`, by name. Hidden files and folders are skipped, links that leave the root are noted."""
    sounds: dict[str, str] = {}
    films: dict[str, str] = {}
    transcripts: dict[str, dict[str, Path]] = {}
    for path in _files(root, prepared):
        uri = path.relative_to(root).as_posix()
        name, ending = uri.removesuffix(path.suffix), path.suffix.lower()
        if ending in AUDIO_ENDINGS + VIDEO_ENDINGS:
            kind = sounds if ending in AUDIO_ENDINGS else films
            if kind.setdefault(name, uri) != uri:
                prepared.problem("duplicate_clip", uri, f"{kind[name]} has the same name and counts: skipped", lost=1)
        else:
            transcripts.setdefault(name, {}).setdefault(ending, path)
    clips = []
    for name in sorted(sounds.keys() | films.keys()):
        beside = transcripts.get(name, {})
        transcript = next((beside[e.lower()] for e in TRANSCRIPT_ENDINGS if e.lower() in beside), None)
        clips.append(Clip(name, sounds.get(name) or films[name], films.get(name), transcript))
    return clips


def transcript_beside(root: Path, file: str) -> Path | None:
    """The transcript of the same name as a media file, inside the root; None where there is none."""
    stem = PurePosixPath(file).with_suffix("").as_posix()
    for ending in TRANSCRIPT_ENDINGS:
        path = root / f"{stem}{ending}"
        if path.is_file() and path.resolve().is_relative_to(root.resolve()):
            return path
    return None


def listed_clips(root: Path, table: str, prepared: Prepared) -> list[Clip]:
    """The files that a table names, with what it says of each; rows of texts and of parts of files are noted."""
    clips: dict[str, Clip] = {}
    for listed in table_clips(root, table, prepared):
        if listed.file is None or listed.start_seconds or listed.end_seconds is not None:
            message = f"{listed.name} is no whole file: its cues and words cannot be told from the others; skipped"
            prepared.problem("malformed_line", table, message, lost=1)
        elif listed.file in clips:
            prepared.problem("duplicate_clip", table, f"{listed.file} stands twice: the first row counts", lost=1)
        else:
            name = PurePosixPath(listed.file).with_suffix("").as_posix()
            video = listed.file if listed.has_video else None
            transcript = transcript_beside(root, listed.file)
            clips[listed.file] = Clip(name, listed.file, video, transcript, listed.attributes, listed.annotations)
    return list(clips.values())


def _files(root: Path, prepared: Prepared) -> Iterator[Path]:
    """Media and transcripts below `root`, in the order of their names."""
    wanted = {*AUDIO_ENDINGS, *VIDEO_ENDINGS, *(ending.lower() for ending in TRANSCRIPT_ENDINGS)}
    real_root = root.resolve()
    skipped: dict[str, list[str]] = {}
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if name.startswith("."):
                continue
            uri = path.relative_to(root).as_posix()
            if path.suffix.lower() not in wanted:
                skipped.setdefault(path.suffix.lower(), []).append(uri)
                continue
            if printable(uri) != uri or (reason := unsafe_uri(uri)):
                why = "it is not valid printable Unicode" if printable(uri) != uri else f"it reads as {reason}"
                prepared.problem("unusable_name", uri, f"{why}: rename the file; skipped", lost=1)
            elif not path.resolve().is_relative_to(real_root):
                prepared.problem("leaves_root", uri, "a link that leaves the root: skipped", lost=1)
            elif path.is_file():
                yield path
    for ending, uris in sorted(skipped.items()):
        if ending not in _NO_MEDIA:
            what = f"files ending in {ending}" if ending else "files without an ending"
            message = f"{len(uris)} {what} are skipped: not a known medium or transcript; a table can name them"
            prepared.problem("file_skipped", printable(uris[0]), printable(message))


def table_clips(root: Path, table: str, prepared: Prepared) -> Iterator[Listed]:
    """The rows of a table of clips, in its order; rows that cannot be used are noted and skipped.

    Raises:
        CorpusError: the table does not exist, is outside the root, or has neither a column `file` nor a column `text`.
    """
    path = root / table
    if unsafe_uri(table) or not path.resolve().is_relative_to(root.resolve()):
        raise CorpusError(f"the table {printable(table)} must lie in {printable(root)}: give a path relative to it")
    if not path.is_file():
        raise CorpusError(f"the table {printable(path)} does not exist")
    seen: set[str] = set()
    for number, row in read_rows(root, path, prepared):
        where = f"{path.relative_to(root).as_posix()}:{number}"
        if not seen and not {"file", "text"} & row.keys():
            found = printable(", ".join(map(str, row)))
            raise CorpusError(f"{printable(where)}: expected a column `file` or `text`; found {found}")
        listed = _listed(where, number, row, prepared)
        if listed is None:
            continue
        if listed.name in seen:
            prepared.problem("repeated_id", where, f"{listed.name} stands above already: skipped", lost=1)
            continue
        seen.add(listed.name)
        if listed.file and not (root / listed.file).resolve().is_relative_to(root.resolve()):
            prepared.problem("leaves_root", where, f"{listed.file!r} is a link that leaves the root: skipped", lost=1)
            continue
        if listed.file and not (root / listed.file).is_file():
            prepared.problem("media_missing", listed.file, f"{where} names it: its row gets the status media_missing")
        yield listed


def _listed(where: str, number: int, row: Mapping[str, Any], prepared: Prepared) -> Listed | None:
    values = {str(key): clean(str(value)) for key, value in row.items() if value is not None}
    file = values.get("file") or None
    if file is not None and (reason := unsafe_uri(file)):
        prepared.problem("leaves_root", where, f"{file!r} is {reason}: skipped", lost=1)
        return None
    times: dict[str, float | None] = {}
    for name in ("start_seconds", "end_seconds", "duration_seconds"):
        times[name] = parse_seconds(values.get(name))
        if values.get(name) and times[name] is None:
            message = f"{name} {values[name]!r} is no time of 0 or more: skipped"
            prepared.problem("malformed_line", where, message, lost=1)
            return None
    start, end, length = times["start_seconds"] or 0.0, times["end_seconds"], times["duration_seconds"]
    if end is None and length is not None:
        end = start + length
    if end is not None and end <= start:
        prepared.problem("times_backwards", where, f"from {start} to {end} s: skipped", lost=1)
        return None
    if file is None and not values.get("text"):
        prepared.problem("malformed_line", where, "the row names no file and has no text: skipped", lost=1)
        return None
    return Listed(
        name=values.get("utterance_id") or (file or "text") + f"#{number}",
        file=file,
        start_seconds=start,
        end_seconds=end,
        text=values.get("text", ""),
        attributes={name: values[name] for name in ATTRIBUTES if values.get(name)},
        annotations={name: value for name, value in values.items() if name not in _KNOWN and value},
    )
