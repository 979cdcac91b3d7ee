"""The contract of a corpus reader: a root in, utterances and problems out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from mmpipe.core.errors import CorpusError
from mmpipe.manifests.schema import Utterance

__all__ = ["CATEGORIES", "Corpus", "CorpusOptions", "Prepared", "Problem", "require"]

CATEGORIES: dict[str, str] = {
    "file_missing": "a file of labels, transcripts or times that the corpus should have is not there",
    "file_damaged": "a file cannot be read, or not to its end",
    "file_refused": "an XML file declares entities or a document type, as XML bombs do",
    "file_empty": "a file holds nothing",
    "wrong_encoding": "bytes of a text file are not in its encoding",
    "unusable_name": "the name of a file is not valid Unicode",
    "leaves_root": "a path, link or URL leads out of the corpus root",
    "malformed_line": "a line, row, cue or element does not have the corpus's form",
    "unknown_label": "a label that the corpus does not define",
    "repeated_id": "an utterance or word stands twice; the first counts",
    "times_backwards": "an end lies before its start",
    "word_without_times": "a word has no times",
    "zero_length_word": "a spoken word has no duration",
    "no_transcript": "an utterance or clip has no text",
    "no_alignment": "an utterance has no words with times",
    "no_camera": "a speaker is on no close-up",
    "no_speaker": "words of somebody whom the list of speakers does not have",
    "duplicate_clip": "two files claim to be the same clip; the first counts",
    "extra_clip": "a clip that no table names",
    "known_damage": "the release is known to be damaged here",
    "media_missing": "a sound or picture file is not there",
    "fewer_crops": "fewer crops than asked for can be drawn",
    "count_differs": "the counts differ from those of the complete release",
    "media_unreadable": "the header of a media file cannot be read",
    "no_audio_stream": "a file named for sound has no audio stream",
    "no_video_stream": "a file named for pictures has no video stream",
    "no_duration": "the header of a media file tells no duration",
    "span_outside": "an utterance ends behind its file",
    "length_differs": "a clip is longer or shorter than the corpus says",
    "cut_off": "a media file holds less than its header says",
    "odd_audio": "a sampling rate or number of channels that differs from the other files, or a rate below 16 kHz",
    "odd_video": "a frame size or rate that differs from the other files",
    "speaker_crosses": "a speaker stands in two splits or more",
}
"""Every category of problem and what it means."""


class CorpusOptions(BaseModel):
    """Base of every corpus's options: frozen, unknown ones refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that a corpus lacks or holds that is odd: it is told, counted, and does not stop the run.

    Attributes:
        category: a name in `CATEGORIES`.
        where: the file, relative to the root, with the line where there is one.
        message: what is wrong and what becomes of it.
        lost: utterances that are left out because of it.
    """

    category: str
    where: str
    message: str
    lost: int = 0


@dataclass
class Prepared:
    """What a reader found.

    Attributes:
        utterances: in an order that depends on the corpus and the options alone.
        problems: what is missing or odd, in the order of reading.
        left_out: utterances that the options leave out, by reason.
        counts: what was read, by name, beside utterances.
    """

    utterances: list[Utterance] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)

    def problem(self, category: str, where: Path | str, message: str, *, lost: int = 0) -> None:
        """Note a problem."""
        assert category in CATEGORIES, category
        self.problems.append(Problem(category, printable(str(where)), printable(message), lost))


class Corpus(ABC):
    """A reader. Subclasses set the class variables and are named in the registry."""

    name: ClassVar[str]
    Options: ClassVar[type[CorpusOptions]] = CorpusOptions
    stages: ClassVar[tuple[str, ...]] = ("audio", "faces", "expression", "text")
    """The stages that `mmpipe extract` runs unless told otherwise."""

    def __init__(self, options: CorpusOptions) -> None:
        self.options = options

    @abstractmethod
    def prepare(self, root: Path) -> Prepared:
        """List the utterances of the corpus at `root`.

        Raises:
            CorpusError: the folder does not look like the corpus.
        """

    def expected(self) -> Mapping[str, Mapping[str, int]]:
        """Counts of the complete release under these options.

        Returns: By attribute of utterances ("label", or "split/label" for two of them) and value. The attribute
            "read" stands for `Prepared.counts`. Empty where there is nothing to expect.
        """
        return {}


def printable(value: Any) -> str:
    r"""A text that any terminal and any Arrow table takes: one line, valid Unicode.

    Example:
        >>> printable("bad \udcff name\n")
        'bad \\udcff name\\n'
    """
    text = str(value).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def require(root: Path, corpus: str, patterns: tuple[str, ...], hint: str) -> None:
    """Check that `root` holds something for each glob pattern.

    Raises:
        CorpusError: it does not; the message says what was expected, what was found and what to do.
    """
    if not root.is_dir():
        state = "is not a folder" if root.exists() else "does not exist"
        raise CorpusError(f"{printable(root)} {state}: expected the root of {corpus}, {hint}")
    for pattern in patterns:
        if next(root.glob(pattern), None) is None:
            names = sorted(path.name for path in root.iterdir())
            found = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
            raise CorpusError(
                f"{printable(root)} does not look like {corpus}: expected {pattern} in it, "
                f"found {printable(found) or 'nothing'}. {_remedy(root, patterns, hint)}"
            )


def _remedy(root: Path, patterns: tuple[str, ...], hint: str) -> str:
    """Where the corpus probably is: a folder below the root that was given, or the folder above it."""
    below = sorted(path for path in root.iterdir() if path.is_dir())
    for folder in (*below[:50], root.parent):
        if all(next(folder.glob(pattern), None) for pattern in patterns):
            return f"{printable(folder)} does: give that as --root"
    return f"Give --root the folder of {hint}"
