"""AMI (Carletta et al. 2006): meetings filmed and recorded speaker by speaker, without emotion labels.

Layout: the manual annotations 1.6.2 (`words/{meeting}.{agent}.words.xml`, `corpusResources/meetings.xml`) unpacked beside the
signals (`{meeting}/audio/{meeting}.Headset-{channel}.wav`, `{meeting}/video/{meeting}.{camera}.avi`). Which channel and
camera belong to a speaker stands in meetings.xml and is NOT positional: 352 of 682 speakers do not follow A = channel 0 = Closeup1.
"""

from __future__ import annotations

import wave
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse
from pydantic import Field

from mmpipe.manifests.corpus import Corpus, CorpusOptions, Prepared, require
from mmpipe.manifests.crops import Crop, SpokenWord, Spread, candidates, draw, inside
from mmpipe.manifests.errors import CorpusError
from mmpipe.manifests.schema import MediaSpan, Utterance

__all__ = ["Ami", "AmiOptions", "Speaker"]

NITE = "{http://nite.sourceforge.net/}"
"""The namespace of NXT's ids."""


class AmiOptions(CorpusOptions):
    """Options of AMI."""

    crop_seconds: float = Field(default=7.2, gt=0)
    """Length of a crop: 7.2 s to go with IEMOCAP, 3.5 s with MELD (paper section 4.2)."""
    num_crops: int = Field(default=25_000, ge=1)
    """Crops to draw; about 11 % have no face, so 25,000 leave the paper's 20,000."""
    seed: int = 0
    """Decides which crops are drawn."""
    spread: Spread = "proportional"
    """`proportional` to the words of meetings and speakers, or `uniform` over speakers."""
    exclude: tuple[str, ...] = ()
    """Meetings to leave out."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """A participant of a meeting, as meetings.xml has it. `camera` is None for the few who are on no close-up."""

    meeting: str
    agent: str
    channel: str
    camera: str | None
    name: str
    role: str | None
    meeting_seconds: float


class Ami(Corpus):
    """Reads AMI as word-centred crops."""

    name: ClassVar[str] = "ami"
    Options: ClassVar[type[CorpusOptions]] = AmiOptions
    options: AmiOptions

    def prepare(self, root: Path) -> Prepared:
        """One utterance a crop, in the order of drawing."""
        require(
            root,
            "AMI",
            ("corpusResources/meetings.xml", "words/*.words.xml"),
            "the AMI corpus: the manual annotations unpacked beside the meetings' folders",
        )
        prepared = Prepared()
        spoken: dict[str, tuple[Speaker, list[SpokenWord]]] = {}
        crops: list[Crop] = []
        for speaker in self._speakers(root, prepared):
            words = _words(root, speaker, prepared)
            key = f"{speaker.meeting}.{speaker.agent}"
            spoken[key] = speaker, words
            seconds = _wav_seconds(root / _audio_uri(speaker)) or speaker.meeting_seconds
            crops += candidates(words, key, self.options.crop_seconds, seconds)
        drawn = draw(crops, self.options.num_crops, self.options.seed, self.options.spread)
        if len(drawn) < self.options.num_crops:
            prepared.problem(
                "fewer crops", "words", f"{self.options.num_crops} were asked for, the meetings at hand hold {len(drawn)}"
            )
        prepared.utterances = [self._utterance(crop, *spoken[crop.speaker]) for crop in drawn]
        return prepared

    def _speakers(self, root: Path, prepared: Prepared) -> Iterator[Speaker]:
        """Speakers of the meetings whose signals are there."""
        absent: set[str] = set()
        for speaker in _read_meetings(root / "corpusResources" / "meetings.xml", prepared):
            if speaker.meeting in self.options.exclude or speaker.meeting in absent:
                continue
            if not (root / speaker.meeting).is_dir():
                absent.add(speaker.meeting)
                continue
            for uri in (_audio_uri(speaker), _video_uri(speaker)):
                if uri and not (root / uri).is_file():
                    prepared.problem("missing media", uri, "crops of this speaker get the status media_missing")
            yield speaker
        if absent:
            prepared.problem("missing meetings", "corpusResources/meetings.xml", f"{len(absent)} meetings have no folder")

    def _utterance(self, crop: Crop, speaker: Speaker, words: list[SpokenWord]) -> Utterance:
        text, inner = inside(words, crop)
        video = _video_uri(speaker)
        return Utterance(
            f"ami/{crop.word_id}@{self.options.crop_seconds:g}",
            "ami",
            session=speaker.meeting,
            dialogue=speaker.meeting,
            speaker=speaker.name,
            gender=speaker.name[0] if speaker.name[:1] in ("F", "M") else None,
            audio=MediaSpan(_audio_uri(speaker), crop.start_seconds, crop.end_seconds),
            video=MediaSpan(video, crop.start_seconds, crop.end_seconds) if video else None,
            text=text,
            words=inner,
            annotations={"agent": speaker.agent, "role": speaker.role},
        )


def _audio_uri(speaker: Speaker) -> str:
    return f"{speaker.meeting}/audio/{speaker.meeting}.Headset-{speaker.channel}.wav"


def _video_uri(speaker: Speaker) -> str | None:
    return speaker.camera and f"{speaker.meeting}/video/{speaker.meeting}.{speaker.camera}.avi"


def _wav_seconds(path: Path) -> float | None:
    """Length of a wav file from its header; None where there is none that can be read."""
    try:
        with wave.open(str(path), "rb") as stream:
            return stream.getnframes() / stream.getframerate()
    except (OSError, EOFError, wave.Error, ZeroDivisionError):
        return None


def _read_meetings(path: Path, prepared: Prepared) -> Iterator[Speaker]:
    try:
        for _, meeting in iterparse(path, events=("end",)):
            if meeting.tag != "meeting":
                continue
            for speaker in meeting.findall("speaker"):
                channel, agent = speaker.get("channel"), speaker.get("nxt_agent")
                if channel is None or agent is None:
                    prepared.problem("malformed element", path.name, f"a speaker of {meeting.get('observation')} lacks a channel")
                    continue
                yield Speaker(
                    meeting.get("observation", ""),
                    agent,
                    channel,
                    speaker.get("camera"),
                    speaker.get("global_name", ""),
                    speaker.get("role"),
                    float(meeting.get("duration") or 0),
                )
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise CorpusError(f"{path} cannot be read: {type(error).__name__}: {error}") from error


def _words(root: Path, speaker: Speaker, prepared: Prepared) -> list[SpokenWord]:
    """A speaker's words by start time. Words without times and words that run backwards are left out and told."""
    path = root / "words" / f"{speaker.meeting}.{speaker.agent}.words.xml"
    where = path.relative_to(root)
    if not path.is_file():
        prepared.problem("missing words", where, "this speaker gives no crops")
        return []
    words: list[SpokenWord] = []
    try:
        for _, element in iterparse(path, events=("end",)):
            if element.tag != "w":
                continue
            word_id, text = element.get(f"{NITE}id", ""), (element.text or "").strip()
            start, end = _time(element.get("starttime")), _time(element.get("endtime"))
            if element.get("punc") == "true":
                if words:
                    words[-1] = replace(words[-1], mark=words[-1].mark + text)
            elif start is None or end is None:
                prepared.problem("word without times", where, f"{word_id} {text!r} is left out")
            elif end < start:
                prepared.problem("times run backwards", where, f"{word_id} {text!r}: {start} to {end} s, left out")
            elif text:
                words.append(SpokenWord(word_id, text, start, end))
    except (ParseError, DefusedXmlException) as error:
        prepared.problem("damaged file", where, f"{type(error).__name__}: {error}; {len(words)} words were read")
    return sorted(words, key=lambda word: word.start_seconds)


def _time(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 <= value < 1e6 else None
