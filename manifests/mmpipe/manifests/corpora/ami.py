"""AMI (Carletta et al. 2006): meetings with audio and video of each speaker, without emotion labels.

Layout: the manual annotations 1.6.2 (`words/{meeting}.{agent}.words.xml`, `corpusResources/meetings.xml`) unpacked
beside the signals, or in a folder of their own with the option `annotations`. The signals are
`{meeting}/audio/{meeting}.Headset-{channel}.wav` and `{meeting}/video/{meeting}.{camera}.avi`. Channel and camera of a
speaker are given in meetings.xml and are NOT positional: 352 of 682 speakers do not follow
A = channel 0 = Closeup1.

A window is inside the shorter of the speaker's two files by their headers (some videos end before the meeting does). If
a file is missing or its header cannot be read, the meeting's `duration` of meetings.xml is used.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Set
from pathlib import Path
from typing import ClassVar

from mmpipe.core.errors import CorpusError, UsageError
from mmpipe.manifests.contract import Corpus, CorpusOptions, Prepared, require
from mmpipe.manifests.corpora.ami_xml import Speaker, read_meetings, read_words, words_files
from mmpipe.manifests.formats.riff import riff_seconds
from mmpipe.manifests.io import is_file
from mmpipe.manifests.schema import MediaSpan, Utterance
from mmpipe.manifests.windows import Recording, Window, WindowOptions, draw

__all__ = ["Ami", "AmiOptions"]


_READ = re.compile(
    r"corpusResources/meetings\.xml|words/[^/]*\.words\.xml|[^/]+/audio/[^/]*\.Headset-[^/]*\.wav|[^/]+/video/[^/]*\.avi"
)


class AmiOptions(WindowOptions):
    """Options of AMI."""

    exclude: tuple[str, ...] = ()
    """Meetings to leave out, such as ES2002a, or all whose names begin with this, such as ES2002."""
    annotations: str | None = None
    """The folder of the manual annotations (words, corpusResources), if they are not beside the meetings' folders."""


class Ami(Corpus):
    """Reads AMI as word-centred windows."""

    name: ClassVar[str] = "ami"
    Options: ClassVar[type[CorpusOptions]] = AmiOptions
    options: AmiOptions
    licence: ClassVar[str] = "AMI Meeting Corpus: Creative Commons Attribution 4.0."

    def check(self, root: Path) -> None:
        """The annotations and, if they are elsewhere, the folder of the meetings are there."""
        notes = self._notes(root)
        require(
            notes,
            "AMI" if notes == root else "AMI's annotations",
            ("corpusResources/meetings.xml", "words/*.words.xml"),
            "the AMI corpus: the manual annotations unpacked beside the meetings' folders, or named by --annotations",
        )
        if notes != root:
            require(root, "AMI", (), "the meetings' folders")

    def _notes(self, root: Path) -> Path:
        """The folder of the annotations."""
        return root if self.options.annotations is None else Path(self.options.annotations).expanduser()

    def prepare(self, root: Path) -> Prepared:
        """One utterance a window, in the order of drawing.

        Meetings without media are skipped if any meeting has media. If no meeting has media, the annotations alone are
        read, which is enough for text and for planning.

        Raises:
            CorpusError: the folder does not look like AMI.
            UsageError: a name in `exclude` does not match any meeting.
        """
        self.check(root)
        notes = self._notes(root)
        prepared = Prepared()
        speakers = self._speakers(root, notes, prepared)
        recordings = {f"{s.meeting}.{s.agent}": (s, _recording(root, notes, s, prepared)) for s in speakers}
        drawn = draw((recording for _, recording in recordings.values()), self.options)
        if len(drawn) < self.options.num_crops:
            message = f"{self.options.num_crops} were asked for, {len(drawn)} can be drawn: all of them are taken"
            prepared.problem("fewer_crops", "words", message)
        prepared.utterances = [self._utterance(window, recordings[window.recording.name][0]) for window in drawn]
        prepared.counts["speakers"] = len(recordings)
        prepared.counts["words"] = sum(len(recording.word_ids) for _, recording in recordings.values())
        return prepared

    def reads(self, uri: str) -> bool:
        """The words, meetings.xml, and the headers of headsets and cameras."""
        return bool(_READ.fullmatch(uri))

    def expected(self) -> Mapping[str, Mapping[str, int]]:
        """171 meetings and 687 words files."""
        return {} if self.options.exclude else {"read": {"meetings": 171, "words files": 687}}

    def _speakers(self, root: Path, notes: Path, prepared: Prepared) -> list[Speaker]:
        """The speakers of the wanted meetings that have words, and media if any meeting has media."""
        files = {(meeting, agent): path for meeting, agent, path in words_files(notes)}
        speakers: dict[tuple[str, str], Speaker] = {}
        for speaker in read_meetings(notes, notes / "corpusResources" / "meetings.xml", prepared):
            speakers.setdefault((speaker.meeting, speaker.agent), speaker)
        for key in sorted(files.keys() - speakers.keys()):
            where = files[key].relative_to(notes)
            prepared.problem("no_speaker", where, "meetings.xml has no such speaker: the words are left out")
        _report_absent(speakers.keys(), files.keys(), prepared)
        for prefix in self.options.exclude:
            if not prefix or not any(meeting.startswith(prefix) for meeting, _ in speakers):
                raise UsageError(f"exclude {prefix!r}: no meeting of {notes} has a name that begins so")
        meetings: dict[str, list[Speaker]] = defaultdict(list)
        for (meeting, agent), speaker in speakers.items():
            if self.options.exclude and meeting.startswith(self.options.exclude):
                prepared.left_out[f"meeting {meeting} (excluded)"] += 0
            elif (meeting, agent) in files:
                meetings[meeting].append(speaker)
            elif any(m == meeting for m, _ in files):
                prepared.problem("file_missing", f"words/{meeting}.{agent}.words.xml", "this speaker gives no windows")
        prepared.counts["meetings"] = len({m for m, _ in speakers.keys() & files.keys()})
        prepared.counts["words files"] = len(files)
        if not meetings:
            raise CorpusError(f"{notes}: no words file belongs to a wanted meeting of corpusResources/meetings.xml")
        return _with_media(root, meetings, prepared)

    def _utterance(self, window: Window, speaker: Speaker) -> Utterance:
        start, end = window.start_seconds, window.end_seconds
        text, words = window.recording.words(start, end)
        originals = window.recording.originals_inside(start, end)
        video = _video_uri(speaker)
        return Utterance(
            f"ami/{window.word_id}@{self.options.crop_seconds:.12g}",
            "ami",
            session=speaker.meeting.rstrip("abcd") or speaker.meeting,
            dialogue=speaker.meeting,
            speaker=speaker.name,
            gender=speaker.name[0] if speaker.name[:1] in ("F", "M") else None,
            audio=MediaSpan(_audio_uri(speaker), start, end),
            video=MediaSpan(video, start, end) if video else None,
            text=text,
            words=words,
            annotations={"agent": speaker.agent}
            | ({"role": speaker.role} if speaker.role else {})
            | ({"originals": originals} if originals else {}),
        )


def _report_absent(known: Set[tuple[str, str]], files: Set[tuple[str, str]], prepared: Prepared) -> None:
    """Note the meetings of meetings.xml that have no words file."""
    if absent := sorted({meeting for meeting, _ in known} - {meeting for meeting, _ in files}):
        shown = ", ".join(absent[:5]) + (" ..." if len(absent) > 5 else "")
        prepared.problem("file_missing", "words", f"{len(absent)} meetings have no words file: {shown}")


def _with_media(root: Path, meetings: dict[str, list[Speaker]], prepared: Prepared) -> list[Speaker]:
    """The speakers of the meetings that have a media file; all speakers where no meeting has one."""
    at_hand = {m: {s: _missing(root, s) for s in speakers} for m, speakers in meetings.items()}
    complete = {m for m, missing in at_hand.items() if any(len(gone) < _files(s) for s, gone in missing.items())}
    if not complete:
        message = f"none of the {len(meetings)} meetings has a media file here: only their text can be used"
        prepared.problem("media_missing", ".", message)
        return [speaker for speakers in meetings.values() for speaker in speakers]
    for meeting in meetings:
        if meeting not in complete:
            prepared.problem("media_missing", meeting, "the meeting has no media file here: it is skipped")
    for meeting in complete:
        for speaker, gone in at_hand[meeting].items():
            for uri in gone:
                message = f"windows of speaker {speaker.agent} get the status media_missing"
                prepared.problem("media_missing", uri, message)
            if speaker.camera is None:
                where = f"{speaker.meeting}.{speaker.agent}"
                prepared.problem("no_camera", where, "the speaker is on no close-up: windows have no video")
    return [speaker for meeting, speakers in meetings.items() if meeting in complete for speaker in speakers]


def _files(speaker: Speaker) -> int:
    return 1 if speaker.camera is None else 2


def _missing(root: Path, speaker: Speaker) -> list[str]:
    return [uri for uri in (_audio_uri(speaker), _video_uri(speaker)) if uri and not is_file(root / uri)]


def _audio_uri(speaker: Speaker) -> str:
    return f"{speaker.meeting}/audio/{speaker.meeting}.Headset-{speaker.channel}.wav"


def _video_uri(speaker: Speaker) -> str | None:
    return speaker.camera and f"{speaker.meeting}/video/{speaker.meeting}.{speaker.camera}.avi"


def _recording(root: Path, notes: Path, speaker: Speaker, prepared: Prepared) -> Recording:
    name = f"{speaker.meeting}.{speaker.agent}"
    words = read_words(notes, notes / "words" / f"{name}.words.xml", prepared)
    uris = [uri for uri in (_audio_uri(speaker), _video_uri(speaker)) if uri]
    seconds = [seconds for uri in uris if (seconds := riff_seconds(root / uri)) is not None]
    return Recording(
        name,
        speaker.name,
        min(seconds) if len(seconds) == len(uris) else min([*seconds, speaker.duration_seconds]),
        words.word_ids,
        words.texts,
        words.marks,
        words.start_seconds,
        words.end_seconds,
        words.originals,
    )
