"""Any folder of clips, with transcripts beside them or in one table.

A clip's transcript is the file of the same name that ends in .vtt (WebVTT), .srt (SubRip) or .txt. Or `table` names a CSV or
JSONL file with a column `file` and any of start_seconds, end_seconds, text, label, speaker, split, session, dialogue, gender. Whether
a clip has a picture follows from its ending: no media file is opened.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

from mmpipe.manifests.corpus import Corpus, CorpusOptions, Prepared, require
from mmpipe.manifests.errors import CorpusError
from mmpipe.manifests.schema import MediaSpan, Utterance

__all__ = ["AUDIO_ENDINGS", "VIDEO_ENDINGS", "Folder", "FolderOptions"]

VIDEO_ENDINGS = (".mp4", ".mkv", ".avi", ".mov", ".flv", ".webm", ".mpg", ".m4v")
AUDIO_ENDINGS = (".wav", ".mp3", ".flac", ".m4a", ".ogg", ".opus")
CUE_ENDINGS = (".vtt", ".srt")
ATTRIBUTES = ("label", "speaker", "split", "session", "dialogue", "gender")


class FolderOptions(CorpusOptions):
    """Options of a folder of clips."""

    utterances: Literal["clip", "cue"] = "clip"
    """One utterance a `clip` (its cues joined), or one a `cue` of its transcript."""
    table: str | None = None
    """A CSV or JSONL file, relative to the root, that lists the utterances."""
    label: Literal["none", "folder"] = "none"
    """Where a clip's label comes from if no table gives it: nowhere, or the name of its folder."""


class Folder(Corpus):
    """Reads a folder of clips."""

    name: ClassVar[str] = "folder"
    Options: ClassVar[type[CorpusOptions]] = FolderOptions
    options: FolderOptions

    def prepare(self, root: Path) -> Prepared:
        """One utterance a clip, cue or line of the table, in the order of the files' names."""
        require(root, "a folder of clips", (), "clips")
        prepared = Prepared()
        if self.options.table is not None:
            prepared.utterances += _from_table(root, root / self.options.table, prepared)
        else:
            for path in sorted(root.rglob("*")):
                if path.suffix.lower() in VIDEO_ENDINGS + AUDIO_ENDINGS and path.is_file():
                    prepared.utterances += self._clip(root, path, prepared)
        if not prepared.utterances:
            endings = " ".join(VIDEO_ENDINGS + AUDIO_ENDINGS)
            raise CorpusError(f"{root} holds no clip: expected files that end in {endings}, or the option table=FILE")
        return prepared

    def _clip(self, root: Path, path: Path, prepared: Prepared) -> Iterator[Utterance]:
        uri = path.relative_to(root).as_posix()
        cues = _transcript(root, path, prepared)
        label = path.parent.name if self.options.label == "folder" and path.parent != root else None
        if self.options.utterances == "clip" or not cues:
            text = " ".join(text for *_, text in cues) or None
            yield _utterance(uri, uri.removesuffix(path.suffix), 0.0, None, {"text": text, "label": label})
            return
        for number, (start, end, text) in enumerate(cues):
            utterance_id = f"{uri.removesuffix(path.suffix)}#{number}"
            yield _utterance(uri, utterance_id, start, end, {"text": text, "label": label})


def _utterance(uri: str, name: str, start: float, end: float | None, row: dict[str, Any]) -> Utterance:
    span = MediaSpan(uri, start, end) if uri else None
    has_video = PurePosixPath(uri).suffix.lower() in VIDEO_ENDINGS
    attributes = {key: str(row[key]) for key in ATTRIBUTES if row.get(key) not in (None, "")}
    return Utterance(
        f"folder/{name}",
        "folder",
        audio=span,
        video=span if has_video else None,
        text=row.get("text") or None,
        label_source=attributes.get("label"),
        **attributes,
    )


def _transcript(root: Path, clip: Path, prepared: Prepared) -> list[tuple[float, float | None, str]]:
    """The cues of a clip: start, end and text."""
    for ending in (*CUE_ENDINGS, ".txt"):
        path = clip.with_suffix(ending)
        if not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            prepared.problem("wrong encoding", path.relative_to(root), "expected UTF-8; the clip has no transcript")
            return []
        if ending == ".txt":
            words = " ".join(text.split())
            if not words:
                prepared.problem("empty transcript", path.relative_to(root), "the clip has no words")
            return [(0.0, None, words)] if words else []
        return _cues(root, path, prepared)
    prepared.problem("no transcript", clip.relative_to(root), "expected a .vtt, .srt or .txt of the same name beside it")
    return []


def _cues(root: Path, path: Path, prepared: Prepared) -> list[tuple[float, float | None, str]]:
    import webvtt
    from webvtt.errors import MalformedCaptionError, MalformedFileError

    try:
        read = webvtt.read if path.suffix == ".vtt" else webvtt.from_srt
        captions = list(read(str(path)))
    except (MalformedFileError, MalformedCaptionError, ValueError, IndexError) as error:
        prepared.problem("malformed transcript", path.relative_to(root), f"{type(error).__name__}: {error}")
        return []
    cues: list[tuple[float, float | None, str]] = []
    for number, caption in enumerate(captions, 1):
        start, end = caption.start_in_seconds, caption.end_in_seconds
        if end <= start:
            prepared.problem("times run backwards", f"{path.relative_to(root)}: cue {number}", "left out")
        elif caption.text.strip():
            cues.append((float(start), float(end), " ".join(caption.text.split())))
    return cues


def _table_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    if not path.is_file():
        raise CorpusError(f"the table {path} does not exist")
    with path.open(encoding="utf-8-sig", newline="") as stream:
        if path.suffix == ".jsonl":
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield number, json.loads(line)
        else:
            reader = csv.DictReader(stream)
            for row in reader:
                yield reader.line_num, row


def _seconds(value: Any) -> float | None:
    if value in (None, ""):
        return None
    number = float(value)
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{value!r} is not a time in seconds")
    return number


def _from_table(root: Path, path: Path, prepared: Prepared) -> Iterator[Utterance]:
    seen: set[str] = set()
    try:
        for number, row in _table_rows(path):
            where = f"{path.name}:{number}"
            if "file" not in row and "text" not in row:
                raise CorpusError(f"{where}: expected a column `file` or `text`; found {', '.join(map(str, row))}")
            try:
                start, end = _seconds(row.get("start_seconds")) or 0.0, _seconds(row.get("end_seconds"))
            except ValueError as error:
                prepared.problem("malformed line", where, f"skipped: {error}")
                continue
            if end is not None and end <= start:
                prepared.problem("times run backwards", where, f"skipped: {start} to {end} s")
                continue
            uri = str(row.get("file") or "")
            name = str(row.get("utterance_id") or f"{uri or 'text'}#{number}")
            if name in seen:
                prepared.problem("repeated id", where, f"skipped: {name}")
                continue
            seen.add(name)
            yield _utterance(uri, name, start, end, row)
    except (UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
        raise CorpusError(f"{path} cannot be read: {error}") from error
