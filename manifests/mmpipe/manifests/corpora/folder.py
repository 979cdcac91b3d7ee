"""A folder of clips: media files in a folder, with transcripts beside them or in one table.

A clip's transcript is the file of the same name that ends in .vtt (WebVTT), .srt (SubRip), .TextGrid (Praat) or .txt.
Its audio and its video may be two files of one name, such as talk.wav and talk.mp4. Or `table` names a CSV, TSV or
JSONL file with a column `file` and any of start_seconds, end_seconds, duration_seconds, text, label, speaker, split,
session, dialogue, gender, utterance_id; other columns become annotations. Rows without `file` are text alone; rows
without `text` take that of the transcript beside their file. The ending of a file says whether it has video: media are
not decoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

from mmpipe.core.errors import CorpusError
from mmpipe.core.text import printable
from mmpipe.manifests.contract import Corpus, CorpusOptions, Prepared, require
from mmpipe.manifests.corpora.folder_clips import (
    AUDIO_ENDINGS,
    VIDEO_ENDINGS,
    Clip,
    Listed,
    find_clips,
    listed_clips,
    table_clips,
    transcript_beside,
)
from mmpipe.manifests.formats.riff import riff_seconds
from mmpipe.manifests.formats.transcripts import Cue, Transcript, read_transcript
from mmpipe.manifests.schema import MediaSpan, Utterance, Word
from mmpipe.manifests.windows import CropOptions, Recording, draw, recordings_of

__all__ = ["Folder", "FolderOptions"]


class FolderOptions(CropOptions):
    """Options of a folder of clips."""

    utterances: Literal["clip", "cue", "crop"] = "clip"
    """One utterance a `clip`, one a `cue` of its transcript, or word-centred crops of all words (`crop`)."""
    table: str | None = None
    """A CSV, TSV or JSONL file, relative to the root, that lists the utterances."""
    label: Literal["none", "folder"] = "none"
    """Where a clip's label comes from if there is none in a table: nowhere, or the name of its folder."""
    speaker: Literal["none", "folder"] = "none"
    """Where a clip's speaker comes from if neither table nor transcript names one: nowhere, or its folder's name."""
    tier: str | None = None
    """The TextGrid tier that holds the cues; by default the first that contains neither words nor phones."""


class Folder(Corpus):
    """Reads a folder of clips."""

    name: ClassVar[str] = "folder"
    Options: ClassVar[type[CorpusOptions]] = FolderOptions
    options: FolderOptions
    licence: ClassVar[str] = "Not known to mmpipe: that of the recordings."

    def prepare(self, root: Path) -> Prepared:
        """One utterance a clip, cue, crop or row of the table; all but crops in the order of the names or rows.

        Raises:
            CorpusError: the folder or table does not exist, or does not contain a clip.
        """
        require(root, "a folder of clips", (), "the clips")
        prepared = Prepared()
        if self.options.table is None:
            self._found(root, find_clips(root, prepared), prepared)
        elif self.options.utterances == "clip":
            prepared.utterances = list(self._listed(root, self.options.table, prepared))
        else:
            self._found(root, listed_clips(root, self.options.table, prepared), prepared)
        if not prepared.utterances:
            endings = " ".join(VIDEO_ENDINGS + AUDIO_ENDINGS)
            raise CorpusError(
                f"{printable(root)} holds nothing to make an utterance of: expected files that end in {endings}, "
                f"or the option table=FILE{_first_problem(prepared)}"
            )
        return prepared

    def _found(self, root: Path, clips: Iterable[Clip], prepared: Prepared) -> None:
        recordings: dict[str, tuple[Clip, Recording]] = {}
        for clip in clips:
            transcript = _transcript(root, clip, prepared, self.options.tier)
            if self.options.utterances == "crop":
                speaker = self._folder_speaker(clip) or clip.name
                seconds = _media_seconds(root, clip)
                for recording in recordings_of(clip.name, speaker, transcript, seconds):
                    recordings[recording.name] = (clip, recording)
            elif self.options.utterances == "cue" and transcript.cues:
                prepared.utterances += (self._cue(clip, cue, transcript) for cue in transcript.cues)
            else:
                prepared.utterances.append(self._clip(clip, transcript))
        if self.options.utterances == "crop":
            prepared.utterances = list(self._crops(recordings, prepared))

    def _clip(self, clip: Clip, transcript: Transcript) -> Utterance:
        utterance = self._utterance(clip, clip.name, 0.0, None)
        speakers = {cue.speaker for cue in transcript.cues}
        who = speakers.pop() if len(speakers) == 1 else None
        words = transcript.words or None
        return replace(utterance, text=transcript.text or None, words=words, speaker=who or utterance.speaker)

    def _cue(self, clip: Clip, cue: Cue, transcript: Transcript) -> Utterance:
        utterance = self._utterance(clip, f"{clip.name}#{cue.number}", cue.start_seconds, cue.end_seconds)
        return replace(
            utterance,
            text=cue.text,
            words=tuple(_words_inside(transcript, cue.start_seconds, cue.end_seconds)) or None,
            speaker=cue.speaker or utterance.speaker,
        )

    def _crops(self, recordings: dict[str, tuple[Clip, Recording]], prepared: Prepared) -> Iterator[Utterance]:
        drawn = draw((recording for _, recording in recordings.values()), self.options)
        if len(drawn) < self.options.num_crops:
            message = f"{self.options.num_crops} were asked for, {len(drawn)} can be drawn: all of them are taken"
            prepared.problem("fewer_crops", ".", message)
        for crop in drawn:
            clip, recording = recordings[crop.recording.name]
            name = f"{crop.word_id}@{self.options.crop_seconds:.12g}"
            text, words = recording.words(crop.start_seconds, crop.end_seconds)
            utterance = self._utterance(clip, name, crop.start_seconds, crop.end_seconds)
            speaker = None if recording.speaker == clip.name else recording.speaker
            yield replace(utterance, text=text, words=words, speaker=speaker or utterance.speaker)

    def _utterance(self, clip: Clip, name: str, start: float, end: float | None) -> Utterance:
        attributes = self._attributes(clip.name, clip.attributes)
        return Utterance(
            f"folder/{name}",
            "folder",
            audio=MediaSpan(clip.audio, start, end),
            video=MediaSpan(clip.video, start, end) if clip.video else None,
            label_source=attributes.get("label"),
            annotations=clip.annotations,
            **attributes,
        )

    def _attributes(self, name: str, given: Mapping[str, str]) -> dict[str, Any]:
        """What a table gives, and the folder's name as label or speaker where the options say so."""
        folder = PurePosixPath(name).parent.name
        wanted = {"label": self.options.label, "speaker": self.options.speaker}
        return {key: folder for key, source in wanted.items() if folder and source == "folder"} | dict(given)

    def _folder_speaker(self, clip: Clip) -> str | None:
        return self._attributes(clip.name, clip.attributes).get("speaker")

    def _listed(self, root: Path, table: str, prepared: Prepared) -> Iterator[Utterance]:
        transcripts: dict[Path, Transcript] = {}
        for listed in table_clips(root, table, prepared):
            row = self._row(listed)
            path = transcript_beside(root, listed.file) if listed.file and not listed.text else None
            if path is not None:
                if path not in transcripts:
                    transcripts[path] = read_transcript(root, path, prepared, self.options.tier)
                text, words = _said(transcripts[path], listed.start_seconds, listed.end_seconds)
                row = replace(row, text=text or None, words=words or None)
            yield row

    def _row(self, listed: Listed) -> Utterance:
        span = listed.file and MediaSpan(listed.file, listed.start_seconds, listed.end_seconds)
        attributes = self._attributes(listed.file or "", listed.attributes)
        return Utterance(
            f"folder/{listed.name}",
            "folder",
            audio=span or None,
            video=(span or None) if listed.has_video else None,
            text=listed.text or None,
            label_source=attributes.get("label"),
            annotations=listed.annotations,
            **attributes,
        )


def _said(transcript: Transcript, start: float, end: float | None) -> tuple[str, tuple[Word, ...]]:
    """Text and words of a part of a clip: the cues (without cues, the words) inside it."""
    if not start and end is None:
        return transcript.text, transcript.words
    last = float("inf") if end is None else end
    words = tuple(_words_inside(transcript, start, last))
    cues = [cue.text for cue in transcript.cues if start <= cue.start_seconds and cue.end_seconds <= last]
    return " ".join(cues or [word.text for word in words]), words


def _first_problem(prepared: Prepared) -> str:
    if not prepared.problems:
        return ""
    first = prepared.problems[0]
    return f"; {len(prepared.problems)} problems, the first: {first.where}: {first.message}"


def _transcript(root: Path, clip: Clip, prepared: Prepared, tier: str | None) -> Transcript:
    if clip.transcript is None:
        message = "expected a .vtt, .srt, .TextGrid or .txt of the same name beside it"
        prepared.problem("no_transcript", clip.audio, message)
        return Transcript("")
    return read_transcript(root, clip.transcript, prepared, tier)


def _media_seconds(root: Path, clip: Clip) -> float | None:
    """The shorter length of audio and video, if the headers of both give it."""
    lengths = [riff_seconds(root / uri) for uri in {clip.audio, clip.video or clip.audio}]
    known = [length for length in lengths if length is not None]
    return min(known) if len(known) == len(lengths) else None


def _words_inside(transcript: Transcript, start: float, end: float) -> Iterator[Word]:
    """The words of a span, on its own clock."""
    for word in transcript.words:
        opens, closes = word.start_seconds, word.end_seconds
        if opens is not None and closes is not None and start <= opens and closes <= end:
            yield Word(word.text, round(opens - start, 4), round(closes - start, 4))
