"""The clips of a folder, found by the endings of their files. Media are not decoded."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from mmpipe.core.text import printable
from mmpipe.manifests.contract import Prepared
from mmpipe.manifests.corpora.folder_transcripts import Transcripts
from mmpipe.manifests.formats.tables import TABLE_ENDINGS
from mmpipe.manifests.formats.transcripts import TRANSCRIPT_ENDINGS
from mmpipe.manifests.io import is_file, lies_inside, unsafe_uri

__all__ = [
    "AUDIO_ENDINGS",
    "VIDEO_ENDINGS",
    "Clip",
    "find_clips",
]

VIDEO_ENDINGS = (
    *(".mp4", ".mkv", ".avi", ".mov", ".flv", ".webm", ".mpg", ".mpeg", ".m4v", ".ts", ".mts", ".m2ts", ".vob"),
    *(".wmv", ".asf", ".3gp", ".3g2", ".ogv", ".mxf", ".dv", ".divx"),
)
AUDIO_ENDINGS = (
    *(".wav", ".mp3", ".flac", ".m4a", ".ogg", ".opus", ".oga", ".aac", ".wma", ".sph", ".aiff", ".aif", ".au", ".w64"),
    *(".caf", ".amr"),
)


@dataclass(frozen=True, slots=True)
class Clip:
    """The files of one clip, which have one name.

    Attributes:
        name: path below the root without an ending; with the ending where two clips would have one name.
        audio: the file with the audio, relative to the root; the video file if there is no audio file of its name.
        video: the file with the video, relative to the root; None for audio alone.
        transcript: the transcript beside it; None where there is none.
        attributes: values of the manifest's columns that a table gives.
        annotations: what else a table gives.
    """

    name: str
    audio: str
    video: str | None
    transcript: Path | None
    attributes: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, Any] = field(default_factory=dict)


def find_clips(root: Path, prepared: Prepared, *, follow_links: bool = False) -> list[Clip]:
    """The clips below `root`, by name; what is not read is reported by kind.

    Hidden files and folders are skipped.

    Args:
        root: the folder.
        prepared: takes the problems.
        follow_links: read what links to folders, and links out of the root, point to.
    """
    transcripts = Transcripts(root, prepared, follow_links=follow_links)
    media: list[str] = []
    beside: list[Path] = []
    for path in _files(root, prepared, follow_links=follow_links):
        if path.suffix.lower() in AUDIO_ENDINGS + VIDEO_ENDINGS:
            media.append(path.relative_to(root).as_posix())
        else:
            beside.append(path)
    clips = [
        Clip(name, audio, video, transcripts.beside(audio)) for name, audio, video in _group_files(media, prepared)
    ]
    unused = [path for path in beside if path not in transcripts.given]
    if unused:
        shown = unused[0].relative_to(root).as_posix()
        message = f"transcripts without a clip of their name: {len(unused)}, such as {shown}"
        prepared.problem("skipped_file", shown, message)
    return clips


def _group_files(uris: Iterable[str], prepared: Prepared) -> list[tuple[str, str, str | None]]:
    """Name, audio file and video file of each clip, by name.

    An audio file and a video file of one name are one clip. Other files of one name are clips of their own, each with
    its ending in the name, so that none is lost.
    """
    by_stem: dict[str, list[str]] = defaultdict(list)
    for uri in dict.fromkeys(uris):
        by_stem[PurePosixPath(uri).with_suffix("").as_posix()].append(uri)
    clips: dict[str, tuple[str, str | None]] = {}
    for stem, files in sorted(by_stem.items()):
        sounds = [uri for uri in files if PurePosixPath(uri).suffix.lower() in AUDIO_ENDINGS]
        videos = [uri for uri in files if uri not in sounds]
        if len(sounds) <= 1 and len(videos) <= 1 and stem not in clips:
            clips[stem] = ((sounds or videos)[0], videos[0] if videos else None)
            continue
        for uri in files:
            # `a.wav.mp3` has the stem `a.wav`: whichever comes second takes its whole name, which no other file has.
            if uri in clips:
                other = clips.pop(uri)
                clips[other[0]] = other
            clips[uri] = (uri, None if uri in sounds else uri)
        message = f"{' and '.join(files)}: without the ending another file has this name: each is a clip of its own"
        prepared.problem("duplicate_clip", files[0], message)
    return [(name, *files) for name, files in sorted(clips.items())]


def _files(root: Path, prepared: Prepared, *, follow_links: bool) -> Iterator[Path]:
    """Media and transcripts below `root`, in the order of their names; all else is reported by kind."""
    wanted = {*AUDIO_ENDINGS, *VIDEO_ENDINGS, *(ending.lower() for ending in TRANSCRIPT_ENDINGS)}
    real_root = root.resolve()
    skipped: dict[str, list[str]] = defaultdict(list)
    seen = {real_root}
    for folder, folders, names in os.walk(root, followlinks=follow_links):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in [name for name in folders if Path(folder, name).is_symlink()]:
            target = Path(folder, name).resolve()
            if not follow_links:
                skipped["links to folders (--follow-links reads them)"].append(f"{folder}/{name}")
            elif target in seen or real_root.is_relative_to(target):
                folders.remove(name)
                skipped["links to folders that are read already"].append(f"{folder}/{name}")
            seen.add(target)
        for name in sorted(names):
            path = Path(folder, name)
            if name.startswith("."):
                continue
            if (ending := path.suffix.lower()) not in wanted:
                hint = " (read as a table with --table FILE)" if ending in TABLE_ENDINGS else ""
                skipped[f"files that end in {ending!r}{hint}" if ending else "files without an ending"].append(
                    str(path)
                )
                continue
            uri = path.relative_to(root).as_posix()
            if printable(uri) != uri or (reason := unsafe_uri(uri)):
                why = "it is not valid printable Unicode" if printable(uri) != uri else f"it reads as {reason}"
                prepared.problem("unusable_name", uri, f"{why}: rename the file; skipped", lost=1)
            elif not follow_links and not lies_inside(path, root):
                message = "a link that leaves the root: skipped (--follow-links reads it)"
                prepared.problem("leaves_root", uri, message, lost=1)
            elif is_file(path):
                yield path
    for kind, paths in sorted(skipped.items()):
        shown = Path(paths[0]).relative_to(root).as_posix()
        prepared.problem("skipped_file", shown, f"{kind}: {len(paths)}, such as {shown}")
