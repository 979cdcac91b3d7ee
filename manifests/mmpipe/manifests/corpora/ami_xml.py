"""The XML files of AMI's manual annotations 1.6.2 (NXT format), read with entities and document types refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from mmpipe.core.errors import CorpusError
from mmpipe.core.statuses import Category
from mmpipe.core.text import clean
from mmpipe.manifests.contract import Prepared
from mmpipe.manifests.formats.text import parse_seconds, read_bytes

__all__ = ["Speaker", "SpokenWords", "joined_letters", "read_meetings", "read_words", "words_files"]

_NITE_ID = "http://nite.sourceforge.net/}id"
"""The attribute as expat names it."""

_SPELLED = re.compile(r"(?<![^\W_])([^\W_])_")
"""A spoken letter or digit with its underscore."""

_NAME = re.compile(r"[A-Za-z0-9_]{1,40}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Speaker:
    """A participant of a meeting, as meetings.xml has it.

    Attributes:
        meeting: such as ES2002a.
        agent: the letter in the names of the words files.
        channel: number of the headset.
        camera: such as Closeup3; None for the few who are not on a close-up.
        name: the person, across meetings (`global_name`), else meeting and agent.
        role: PM, ID, UI or ME in scenario meetings.
        duration_seconds: length of the meeting; infinite if meetings.xml does not give it.
    """

    meeting: str
    agent: str
    channel: str
    camera: str | None
    name: str
    role: str | None
    duration_seconds: float


@dataclass(frozen=True, slots=True)
class SpokenWords:
    """Words of a words file by start time; see `mmpipe.manifests.windows.Recording` for the columns."""

    word_ids: list[str]
    texts: list[str]
    marks: list[str]
    start_seconds: np.ndarray[Any, np.dtype[np.float64]]
    end_seconds: np.ndarray[Any, np.dtype[np.float64]]
    originals: dict[int, str] = field(default_factory=dict)


def joined_letters(text: str) -> str:
    """A word without AMI's underscores after spoken letters: the annotators wrote T_V_ for TV.

    Example:
        >>> [joined_letters(text) for text in ("T_V_", "L_C_D_s", "T_V_'s", "A_", "okay")]
        ['TV', 'LCDs', "TV's", 'A', 'okay']
    """
    return _SPELLED.sub(r"\1", text)


def _parse(data: bytes, target: Any) -> None:
    """Run `target` over XML.

    Raises:
        DefusedXmlException: the file declares a document type or entities.
        ParseError: it is not XML.
        ValueError, LookupError: its encoding does not exist or cannot be read.
    """
    parser = DefusedXMLParser(target=target, forbid_dtd=True)
    expat = parser.parser
    # The guards against document types and entities stay; elements go straight to the target, which halves the time.
    expat.StartElementHandler, expat.EndElementHandler = target.start, target.end
    expat.CharacterDataHandler = target.data
    expat.ordered_attributes, expat.buffer_text = False, True
    target.line = lambda: expat.CurrentLineNumber
    parser.feed(data)
    parser.close()


class _Meetings:
    """Collects the speakers of meetings.xml."""

    def __init__(self, where: str, prepared: Prepared) -> None:
        self.speakers: list[Speaker] = []
        self.line: Any = None
        self._where, self._prepared = where, prepared
        self._meeting: dict[str, str] = {}

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "meeting":
            self._meeting = attributes
        elif tag == "speaker":
            self._speaker(self._meeting.get("observation", ""), attributes)

    def _speaker(self, meeting: str, attributes: dict[str, str]) -> None:
        agent, channel, camera = (attributes.get(name) for name in ("nxt_agent", "channel", "camera"))
        where = f"{self._where}:{self.line()}"
        for name, value in (("observation", meeting), ("nxt_agent", agent), ("channel", channel), ("camera", camera)):
            if not _NAME.fullmatch(value or "") and not (name == "camera" and value is None):
                message = f"a speaker of {meeting[:40]!r} has {name} {value!r}: left out"
                self._prepared.problem("malformed_line", where, message)
                return
        duration = parse_seconds(self._meeting.get("duration"))
        if not duration:
            self._prepared.problem("malformed_line", where, f"{meeting} has no duration: only its media's counts")
        self.speakers.append(
            Speaker(
                meeting,
                str(agent),
                str(channel),
                camera,
                clean(attributes.get("global_name", "")) or f"{meeting}.{agent}",
                clean(attributes.get("role", "")) or None,
                duration or float("inf"),
            )
        )

    def end(self, tag: str) -> None:
        """Ends of elements are ignored."""

    def data(self, text: str) -> None:
        """Speakers have no text."""

    def close(self) -> None:
        """The speakers stay in `speakers`."""


def read_meetings(root: Path, path: Path, prepared: Prepared) -> list[Speaker]:
    """The speakers of all meetings in the order of meetings.xml.

    Raises:
        CorpusError: the file cannot be read.
    """
    data = read_bytes(root, path, prepared)
    target = _Meetings(path.relative_to(root).as_posix(), prepared)
    try:
        _parse(data or b"", target)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise CorpusError(
            f"{path} cannot be read: {type(error).__name__}: {error}. Unpack the manual annotations 1.6.2 of AMI again"
        ) from error
    if not target.speakers:
        raise CorpusError(f"{path} does not name a speaker: expected <meeting><speaker nxt_agent= channel= camera=/>")
    return target.speakers


class _Words:
    """Collects the `w` elements of a words file; all other elements are ignored."""

    def __init__(self, where: str, prepared: Prepared) -> None:
        self.rows: list[tuple[float, float, str, str]] = []
        self.marks: list[str] = []
        self.line: Any = None
        self.seen: set[str] = set()
        self._where, self._prepared = where, prepared
        self._open: dict[str, str] | None = None
        self._text: list[str] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "w":
            self._open, self._text = attributes, []

    def data(self, text: str) -> None:
        if self._open is not None:
            self._text.append(text)

    def end(self, tag: str) -> None:
        if tag == "w" and self._open is not None:
            self._word(self._open, clean("".join(self._text)))
            self._open = None

    def close(self) -> None:
        """The words stay in `rows` and `marks`."""

    def _word(self, attributes: dict[str, str], text: str) -> None:
        if not text:
            return
        if attributes.get("punc") == "true":
            if self.marks:
                self.marks[-1] += text
            return
        if not any(c.isalnum() for c in text):
            return  # `..` and `...` are not words
        word_id = clean(attributes.get(_NITE_ID, ""))
        start, end = parse_seconds(attributes.get("starttime")), parse_seconds(attributes.get("endtime"))
        if not word_id or word_id in self.seen:
            self._skip("repeated_id" if word_id else "malformed_line", f"{text!r} has the nite:id {word_id!r}")
        elif start is None or end is None:
            times = f"{attributes.get('starttime')} to {attributes.get('endtime')}"
            self._skip("word_without_times", f"{word_id} {text!r} runs from {times}")
        elif end < start:
            self._skip("times_backwards", f"{word_id} {text!r} runs from {start} to {end} s")
        else:
            if end == start:
                message = f"{word_id} {text!r} starts and ends at {start} s: it stays"
                self._prepared.problem("zero_length_word", f"{self._where}:{self.line()}", message)
            self.seen.add(word_id)
            self.rows.append((start, end, word_id, text))
            self.marks.append("")

    def _skip(self, category: Category, message: str) -> None:
        self._prepared.problem(category, f"{self._where}:{self.line()}", f"{message}: left out")


def read_words(root: Path, path: Path, prepared: Prepared) -> SpokenWords:
    """The words of a words file, without punctuation (`punc="true"`), which becomes the mark after its word.

    Words without times (4 in the whole corpus), with times that run backwards and with an id that occurs twice are left
    out and reported. What has no letter or digit (`..`) is not a word. Spelled letters are joined (`T_V_` is `TV`); the
    original is kept in `originals`. Of a file that is cut off, the words before the cut are kept. A file with entities
    is refused.
    """
    data = read_bytes(root, path, prepared)
    where = path.relative_to(root).as_posix()
    target = _Words(where, prepared)
    if data is not None and not data.strip():
        prepared.problem("file_empty", where, "the file is empty")
    elif data is not None:
        try:
            _parse(data, target)
        except DefusedXmlException as error:
            target.rows = []
            prepared.problem("file_refused", where, f"{type(error).__name__}: its words are not used")
        except (ParseError, ValueError, LookupError) as error:
            kept = f"the {len(target.rows)} words before it are used"
            prepared.problem("file_damaged", where, f"{type(error).__name__}: {error}; {kept}")
    order = sorted(range(len(target.rows)), key=lambda n: target.rows[n][:2])
    rows = [target.rows[n] for n in order]
    texts = [joined_letters(row[3]) if "_" in row[3] else row[3] for row in rows]
    return SpokenWords(
        [row[2] for row in rows],
        texts,
        [target.marks[n] for n in order],
        np.array([row[0] for row in rows], np.float64),
        np.array([row[1] for row in rows], np.float64),
        {n: row[3] for n, (row, text) in enumerate(zip(rows, texts, strict=True)) if text != row[3]},
    )


def words_files(root: Path) -> Iterator[tuple[str, str, Path]]:
    """Meeting, agent and path of every words file, by name."""
    for path in sorted((root / "words").glob("*.words.xml")):
        parts = path.name.split(".")
        if len(parts) == 4:
            yield parts[0], parts[1], path
