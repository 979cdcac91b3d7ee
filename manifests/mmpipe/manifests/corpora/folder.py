"""A folder of clips: media files in a folder, with transcripts beside them or in one table.

A clip's transcript is the file of the same name that ends in .vtt (WebVTT), .srt (SubRip), .TextGrid (Praat) or .txt,
with or without a language before the ending. Its audio and its video may be two files of one name, such as talk.wav
and talk.mp4. Or `table` names a CSV, TSV or JSONL file with a column `file` and any of the other columns of
`mmpipe.manifests.corpora.folder_columns.ALIASES`; other columns become annotations. Rows without `file` are text
alone; rows without `text` take that of the transcript beside their file. Media are not decoded.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal

from pydantic import field_validator

from mmpipe.core.errors import CorpusError
from mmpipe.core.text import clean, printable
from mmpipe.manifests.contract import Corpus, CorpusOptions, Prepared, require
from mmpipe.manifests.corpora.folder_attributes import Attributes
from mmpipe.manifests.corpora.folder_clips import AUDIO_ENDINGS, VIDEO_ENDINGS, Clip, find_clips
from mmpipe.manifests.corpora.folder_columns import parse_columns
from mmpipe.manifests.corpora.folder_ids import name_apart, span_name
from mmpipe.manifests.corpora.folder_table import Listed, listed_clips, table_clips
from mmpipe.manifests.corpora.folder_transcripts import Transcripts
from mmpipe.manifests.formats.riff import riff_seconds
from mmpipe.manifests.formats.spoken import Cue, TimedWord, Transcript, on_clock, words_by_cue
from mmpipe.manifests.formats.transcripts import TRANSCRIPT_ENDINGS, read_transcript
from mmpipe.manifests.io import follows_links
from mmpipe.manifests.schema import MediaSpan, Utterance, Word
from mmpipe.manifests.windows import Recording, WindowOptions, draw, recordings_of

__all__ = ["Folder", "FolderOptions"]


class FolderOptions(WindowOptions):
    """Options of a folder of clips."""

    utterances: Literal["clip", "cue", "crop"] = "clip"
    """One utterance a `clip`, one a `cue` of its transcript, or word-centred windows of all words (`crop`)."""
    table: str | None = None
    """A CSV, TSV or JSONL file, relative to the root, that lists the utterances."""
    column: tuple[str, ...] = ()
    """Columns of the table by other names, such as `label=Emotion`."""
    label: Literal["none", "folder"] = "none"
    """Where a clip's label comes from if neither table nor pattern gives it: nowhere, or the name of its folder."""
    speaker: Literal["none", "folder"] = "none"
    """Where a clip's speaker comes from if table, pattern and transcript do not name one: nowhere, or its folder."""
    pattern: str | None = None
    """The form of the names of files, such as `{speaker}_{sentence}_{label}_{level}`."""
    label_map: str = ""
    """Labels by the corpus's own labels, such as `angry=anger,06=fear`; `label_source` keeps the own one."""
    tier: str | None = None
    """The TextGrid tier that holds the cues; by default the names of the tiers decide."""
    follow_links: bool = False
    """Read what links to folders, and links out of the root, point to."""

    @field_validator("column", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    def ignored(self) -> dict[str, str]:
        """Options of windows where none are drawn, and columns of a table where there is none."""
        ignored = {} if self.utterances == "crop" else dict.fromkeys(WindowOptions.model_fields, "utterances=crop")
        return ignored | ({"column": "table"} if self.table is None else {})


class Folder(Corpus):
    """Reads a folder of clips."""

    name: ClassVar[str] = "folder"
    Options: ClassVar[type[CorpusOptions]] = FolderOptions
    options: FolderOptions
    licence: ClassVar[str] = "Not known to mmpipe: that of the recordings."

    def __init__(self, options: CorpusOptions) -> None:
        super().__init__(options)
        self._columns = parse_columns(self.options.column)
        self._follow_links = self.options.follow_links or follows_links()
        self._attributes = self._new_attributes()  # a wrong option is refused before the corpus is read

    def check(self, root: Path) -> None:
        """The folder is there."""
        require(root, "a folder of clips", (), "the clips")

    def prepare(self, root: Path) -> Prepared:
        """One utterance a clip, cue, window or row of the table; all but windows in the order of the names or rows.

        Raises:
            CorpusError: the folder or table does not exist, or does not contain a clip; a column is not in the table;
                no file has a name of the pattern's form.
            UsageError: an option cannot be read.
        """
        self.check(root)
        prepared = Prepared()
        self._attributes = self._new_attributes()
        transcripts = Transcripts(root, prepared, follow_links=self._follow_links)
        if self.options.table is None:
            found = self._found(root, find_clips(root, prepared, follow_links=self._follow_links), prepared)
        elif self.options.utterances == "clip":
            found = self._listed(root, self.options.table, transcripts, prepared)
        else:
            rows = self._rows(root, self.options.table, prepared)
            found = self._found(root, listed_clips(rows, transcripts, prepared), prepared)
        prepared.utterances = name_apart(found, prepared)
        self._attributes.report(prepared)
        if not prepared.utterances:
            raise CorpusError(_nothing(root, self.options.table, prepared))
        return prepared

    def reads(self, uri: str) -> bool:
        """Transcripts, the table, and the headers of media where windows are drawn."""
        ending = PurePosixPath(uri).suffix.lower()
        if ending in AUDIO_ENDINGS + VIDEO_ENDINGS:
            return self.options.utterances == "crop"
        is_table = self.options.table is not None and uri == posixpath.normpath(self.options.table)
        return is_table or ending in {transcript.lower() for transcript in TRANSCRIPT_ENDINGS}

    def prepare_files(self, root: Path, files: Mapping[str, str | None]) -> Prepared:
        """One utterance for each of some media files of a folder, in their order, whatever else the folder holds.

        Args:
            root: the folder.
            files: paths relative to it, each with what is said; None takes that of the transcript beside the file.
        """
        prepared, read, found = Prepared(), dict[Path, Transcript](), list[tuple[str, Utterance]]()
        transcripts = Transcripts(root, prepared, follow_links=self._follow_links)
        names = {uri: PurePosixPath(uri).with_suffix("").as_posix() for uri in files}
        counts = Counter(names.values())
        for uri, text in files.items():
            name = names[uri] if counts[names[uri]] == 1 else uri
            listed = Listed(name, has_own_id=False, where=uri, file=uri, text=clean(text or ""))
            beside = transcripts.beside(uri) if text is None else None
            found.append((uri, self._row(root, listed, beside, read, prepared)))
        prepared.utterances = name_apart(found, prepared)
        return prepared

    def _new_attributes(self) -> Attributes:
        given = self.options
        return Attributes(given.label, given.speaker, given.pattern, given.label_map)

    def _found(self, root: Path, clips: Iterable[Clip], prepared: Prepared) -> Iterator[tuple[str, Utterance]]:
        recordings: dict[str, tuple[Clip, Recording]] = {}
        for clip in clips:
            transcript = self._transcript(root, clip, prepared)
            if self.options.utterances == "crop":
                speaker = self._attributes.of(clip.audio, clip.attributes)[0].get("speaker") or clip.name
                for recording in recordings_of(clip.name, speaker, transcript, _media_seconds(root, clip)):
                    recordings[recording.name] = (clip, recording)
            elif self.options.utterances == "cue" and transcript.cues:
                words = words_by_cue(transcript.cues, transcript.words)
                pairs = zip(transcript.cues, words, strict=True)
                yield from ((clip.audio, self._cue(clip, cue, spoken)) for cue, spoken in pairs)
            else:
                yield clip.audio, self._clip(clip, transcript, prepared)
        if self.options.utterances == "crop":
            yield from self._windows(recordings, prepared)

    def _clip(self, clip: Clip, transcript: Transcript, prepared: Prepared) -> Utterance:
        utterance = self._utterance(clip, clip.name, 0.0, None)
        who = transcript.speakers[0] if len(transcript.speakers) == 1 else None
        _report_speakers(clip.audio, transcript, prepared)
        text, words = transcript.part(0.0, None)
        return replace(utterance, text=text or None, words=words or None, speaker=who or utterance.speaker)

    def _cue(self, clip: Clip, cue: Cue, spoken: list[TimedWord]) -> Utterance:
        name = span_name(clip.name, cue.start_seconds, cue.end_seconds)
        utterance = self._utterance(clip, name, cue.start_seconds, cue.end_seconds)
        return replace(
            utterance,
            text=cue.text,
            words=on_clock(spoken, cue.start_seconds, cue.end_seconds) or None,
            speaker=cue.speaker or utterance.speaker,
        )

    def _windows(
        self, recordings: dict[str, tuple[Clip, Recording]], prepared: Prepared
    ) -> Iterator[tuple[str, Utterance]]:
        drawn = draw((recording for _, recording in recordings.values()), self.options)
        if len(drawn) < self.options.num_crops:
            message = f"{self.options.num_crops} were asked for, {len(drawn)} can be drawn: all of them are taken"
            prepared.problem("fewer_crops", ".", message)
        for window in drawn:
            clip, recording = recordings[window.recording.name]
            name = f"{window.word_id}@{self.options.crop_seconds:.12g}"
            text, words = recording.words(window.start_seconds, window.end_seconds)
            utterance = self._utterance(clip, name, window.start_seconds, window.end_seconds)
            speaker = None if recording.speaker == clip.name else recording.speaker
            yield clip.audio, replace(utterance, text=text, words=words, speaker=speaker or utterance.speaker)

    def _utterance(self, clip: Clip, name: str, start: float, end: float | None) -> Utterance:
        columns, fields = self._attributes.of(clip.audio, clip.attributes)
        return Utterance(
            f"folder/{name}",
            "folder",
            audio=MediaSpan(clip.audio, start, end),
            video=MediaSpan(clip.video, start, end) if clip.video else None,
            annotations=fields | dict(clip.annotations),
            **columns,
        )

    def _rows(self, root: Path, table: str, prepared: Prepared) -> Iterator[Listed]:
        return table_clips(root, table, prepared, columns=self._columns, follow_links=self._follow_links)

    def _listed(
        self, root: Path, table: str, transcripts: Transcripts, prepared: Prepared
    ) -> Iterator[tuple[str, Utterance]]:
        read: dict[Path, Transcript] = {}
        for listed in self._rows(root, table, prepared):
            beside = transcripts.beside(listed.file) if listed.file and not listed.text else None
            yield listed.where, self._row(root, listed, beside, read, prepared)

    def _row(
        self, root: Path, listed: Listed, transcript: Path | None, read: dict[Path, Transcript], prepared: Prepared
    ) -> Utterance:
        """The utterance of a row, with its part of a transcript where one is given; `read` keeps those read before."""
        span = listed.file and MediaSpan(listed.file, listed.start_seconds, listed.end_seconds)
        columns, fields = self._attributes.of(listed.file, listed.attributes)
        text, words = listed.text, tuple[Word, ...]()
        if transcript is not None:
            if transcript not in read:
                read[transcript] = read_transcript(root, transcript, prepared, self.options.tier)
                _report_speakers(transcript.relative_to(root).as_posix(), read[transcript], prepared)
            text, words = read[transcript].part(listed.start_seconds, listed.end_seconds)
        return Utterance(
            f"folder/{listed.name}",
            "folder",
            audio=span or None,
            video=(span or None) if listed.has_video else None,
            text=text or None,
            words=words or None,
            annotations=fields | dict(listed.annotations),
            **columns,
        )

    def _transcript(self, root: Path, clip: Clip, prepared: Prepared) -> Transcript:
        if clip.transcript is None:
            message = "expected a .vtt, .srt, .TextGrid or .txt of the same name beside it"
            prepared.problem("no_transcript", clip.audio, message)
            return Transcript("")
        return read_transcript(root, clip.transcript, prepared, self.options.tier)


def _report_speakers(where: str, transcript: Transcript, prepared: Prepared) -> None:
    """Report a transcript of several speakers that becomes the text of one utterance."""
    if len(transcript.speakers) > 1:
        names = ", ".join(str(name or "(no name)") for name in transcript.speakers[:6])
        message = f"{len(transcript.speakers)} speakers ({names}) in one utterance; --utterances cue keeps them apart"
        prepared.problem("several_speakers", where, message)


def _nothing(root: Path, table: str | None, prepared: Prepared) -> str:
    """The message where nothing can be used, with the first problem."""
    endings = " ".join(VIDEO_ENDINGS + AUDIO_ENDINGS)
    message = (
        f"{printable(root)} holds nothing to make an utterance of: expected files that end in {endings}, "
        "or the option table=FILE"
        if table is None
        else f"{printable(root / table)} holds nothing to make an utterance of: none of its rows can be used"
    )
    if prepared.problems:
        first = prepared.problems[0]
        message += f"; {len(prepared.problems)} problems, the first: {first.where}: {first.message}"
    return message


def _media_seconds(root: Path, clip: Clip) -> float | None:
    """The shorter length of audio and video, if the headers of both give it."""
    lengths = [riff_seconds(root / uri) for uri in {clip.audio, clip.video or clip.audio}]
    known = [length for length in lengths if length is not None]
    return min(known) if len(known) == len(lengths) else None
