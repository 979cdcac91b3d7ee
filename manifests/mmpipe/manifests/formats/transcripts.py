"""Transcripts beside clips: WebVTT, SubRip, Praat TextGrid and plain text. Bad cues are reported and skipped."""

from __future__ import annotations

from pathlib import Path

from mmpipe.core.text import clean
from mmpipe.manifests.contract import Prepared
from mmpipe.manifests.formats.captions import subrip_blocks, webvtt_blocks
from mmpipe.manifests.formats.markup import has_times, read_markup, timed_words
from mmpipe.manifests.formats.rolling import without_repeats
from mmpipe.manifests.formats.spoken import Cue, TimedWord, Transcript
from mmpipe.manifests.formats.text import read_text
from mmpipe.manifests.formats.tiers import read_tiers

__all__ = ["TRANSCRIPT_ENDINGS", "read_transcript"]

TRANSCRIPT_ENDINGS = (".vtt", ".srt", ".TextGrid", ".txt")
"""Endings of transcripts, in the order in which they are searched for beside a clip."""


def read_transcript(root: Path, path: Path, prepared: Prepared, tier: str | None = None) -> Transcript:
    """Read a transcript by its ending; of captions, the first line decides between WebVTT and SubRip.

    Args:
        root: the corpus root, which contains `path`.
        path: the file.
        prepared: takes the problems.
        tier: the TextGrid tier that holds the cues; by default see `mmpipe.manifests.formats.tiers`.
    """
    text = read_text(root, path, prepared)
    ending, where = path.suffix.lower(), path.relative_to(root).as_posix()
    if not text or not text.strip():
        return Transcript("")
    if ending == ".txt":
        return Transcript(clean(text))
    if ending == ".textgrid":
        return read_tiers(where, text, prepared, tier)
    return _captions(where, text, ending, prepared)


def _captions(where: str, text: str, ending: str, prepared: Prepared) -> Transcript:
    """The cues of a caption file, and its words where it has inline times."""
    if text.lstrip("\ufeff\n").startswith("WEBVTT"):
        blocks = webvtt_blocks(where, text, prepared)
    else:
        if ending == ".vtt":
            prepared.problem("malformed_line", f"{where}:1", "expected WEBVTT in the first line: read as SubRip")
        blocks = subrip_blocks(where, text, prepared)
    has_inline = any(has_times(line) for block in blocks for line in block.lines)
    cues: list[Cue] = []
    words: list[TimedWord] = []
    for block in without_repeats(blocks):
        pieces = read_markup("\n".join(block.lines))
        if not pieces:
            prepared.problem("empty_cue", f"{where}:{block.line}", "the cue has no text: left out")
        for said in pieces:
            start, end = block.times
            cue = Cue(start, end, said.text, said.voice)
            cues.append(cue)
            if end <= start:
                message = f"{said.text[:40]!r} runs from {start} to {end} s: left out"
                prepared.problem("times_backwards", f"{where}:{block.line}", message)
            elif has_inline:
                words += timed_words(said, start, end)
    good = tuple(cue for cue in cues if cue.end_seconds > cue.start_seconds)
    return Transcript(" ".join(cue.text for cue in good), good, tuple(words))
