"""IEMOCAP (Busso et al. 2008): five sessions of acted and improvised dyads.

Layout and formats are those of the full release: `Session{1..5}/dialog/EmoEvaluation/{dialog}.txt` (turns, labels,
votes), `dialog/transcriptions/{dialog}.txt`, `sentences/ForcedAlignment/{dialog}/{turn}.wdseg`,
`sentences/wav/{dialog}/{turn}.wav`, `dialog/avi/DivX/{dialog}.avi` with both actors side by side. Only the top-level
files of EmoEvaluation are read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Literal

from mmpipe.manifests.contract import Corpus, CorpusOptions, Prepared, require
from mmpipe.manifests.corpora.iemocap_text import Turn, read_alignment, read_transcription, read_turns
from mmpipe.manifests.io import is_file
from mmpipe.manifests.schema import MediaSpan, Region, Utterance

__all__ = ["Iemocap", "IemocapOptions"]

_SOURCE_LABELS = {
    "neu": "neutral",
    "hap": "happiness",
    "exc": "excitement",
    "ang": "anger",
    "sad": "sadness",
    "fea": "fear",
    "sur": "surprise",
    "fru": "frustration",
    "dis": "disgust",
    "oth": "other",
    "xxx": None,
}
"""The corpus's labels; a turn with `xxx` has no majority and so no label."""

_FOUR_CLASSES = {"hap": "happiness", "exc": "happiness", "ang": "anger", "sad": "sadness", "neu": "neutral"}
"""The paper's task: 5,531 utterances, excitement merged into happiness (section 4.1)."""

_NOT_ALIGNED = frozenset({"Ses03M_impro03_M001"})
"""Turns for which the release has no forced alignment."""

_TURNS = {"Session1": 1819, "Session2": 1811, "Session3": 2136, "Session4": 2103, "Session5": 2170}
_COUNTED = ("ang", "hap", "exc", "neu", "sad")
_COUNTS = {
    "Session1": (229, 135, 143, 384, 194),
    "Session2": (137, 117, 210, 362, 197),
    "Session3": (240, 135, 151, 320, 305),
    "Session4": (327, 65, 238, 258, 143),
    "Session5": (170, 143, 299, 384, 245),
}
_ALL = {
    "neutral": 1708,
    "happiness": 595,
    "excitement": 1041,
    "anger": 1103,
    "sadness": 1084,
    "fear": 40,
    "surprise": 107,
    "frustration": 1849,
    "disgust": 2,
    "other": 3,
    "none": 2507,
}
"""The labels of all turns; `none` is the number of turns without a majority."""

_LEFT, _RIGHT = Region(0.0, 0.0, 0.5, 1.0), Region(0.5, 0.0, 0.5, 1.0)


_READ = re.compile(
    r"Session[1-5]/(dialog/(EmoEvaluation|transcriptions)/[^/]*\.txt|sentences/ForcedAlignment/[^/]+/[^/]*\.wdseg)"
)


class IemocapOptions(CorpusOptions):
    """Options of IEMOCAP."""

    labels: Literal["merge", "drop-exc", "all"] = "merge"
    """`merge`: four classes, excitement as happiness; `drop-exc`: four without excitement; `all`: every turn."""


class Iemocap(Corpus):
    """Reads IEMOCAP."""

    name: ClassVar[str] = "iemocap"
    Options: ClassVar[type[CorpusOptions]] = IemocapOptions
    options: IemocapOptions
    licence: ClassVar[str] = (
        "IEMOCAP: for those who signed the release form of USC; recordings, faces and transcripts may not be shared."
    )

    def check(self, root: Path) -> None:
        """A session with its labels is there."""
        require(
            root,
            "IEMOCAP",
            ("Session[1-5]/dialog/EmoEvaluation/Ses*.txt",),
            "IEMOCAP_full_release, with Session1 ... Session5",
        )

    def prepare(self, root: Path) -> Prepared:
        """One utterance for each turn of EmoEvaluation with a label of the task, by session, dialog and time."""
        self.check(root)
        prepared = Prepared()
        seen: set[str] = set()
        for session in _TURNS:
            dialogs = sorted((root / session / "dialog" / "EmoEvaluation").glob("Ses*.txt"))
            if not dialogs:
                prepared.problem("file_missing", f"{session}/dialog/EmoEvaluation", f"{session} gives no utterances")
            prepared.counts["dialogs"] += len(dialogs)
            for path in dialogs:
                prepared.utterances += self._dialog(root, path, seen, prepared)
        return prepared

    def reads(self, uri: str) -> bool:
        """Evaluations, transcriptions and forced alignments."""
        return bool(_READ.fullmatch(uri))

    def expected(self) -> Mapping[str, Mapping[str, int]]:
        """Counts of the full release: 5,531 utterances with `merge`, 4,490 with `drop-exc`, 10,039 with `all`."""
        wanted: Counter[str] = Counter()
        sessions: Counter[str] = Counter()
        for session, number in _TURNS.items():
            evaluated = dict(zip(_COUNTED, _COUNTS[session], strict=True))
            if self.options.labels == "all":
                sessions[session] = number
            for source, count in evaluated.items():
                keep, label = self._label(source)
                if keep and self.options.labels != "all":
                    wanted[str(label)] += count
                    sessions[session] += count
        labels = _ALL if self.options.labels == "all" else dict(wanted)
        return {"label": labels, "session": dict(sessions), "read": {"dialogs": 151, "turns": 10_039}}

    def _label(self, source: str) -> tuple[bool, str | None]:
        """Whether a turn is kept, and its label."""
        if self.options.labels == "all":
            return True, _SOURCE_LABELS[source]
        keep = source in _FOUR_CLASSES and not (self.options.labels == "drop-exc" and source == "exc")
        return keep, _FOUR_CLASSES.get(source)

    def _dialog(self, root: Path, path: Path, seen: set[str], prepared: Prepared) -> Iterator[Utterance]:
        transcription = path.parents[1] / "transcriptions" / path.name
        texts = read_transcription(root, transcription, prepared)
        for turn in read_turns(root, path, prepared):
            prepared.counts["turns"] += 1
            where = f"{path.relative_to(root)}:{turn.line}"
            if turn.label not in _SOURCE_LABELS:
                valid = " ".join(_SOURCE_LABELS)
                message = f"{turn.turn}: {turn.label!r}; expected one of {valid}: left out"
                prepared.problem("unknown_label", where, message, lost=1)
                continue
            keep, label = self._label(turn.label)
            if not keep:
                prepared.left_out[f"label {turn.label} ({_SOURCE_LABELS[turn.label] or 'no majority'})"] += 1
            elif turn.turn in seen:
                prepared.problem("repeated_id", where, f"{turn.turn} occurs twice: the first line counts")
            else:
                seen.add(turn.turn)
                yield _utterance(root, path, turn, label, texts.get(turn.turn), prepared)


def _utterance(
    root: Path, path: Path, turn: Turn, label: str | None, text: str | None, prepared: Prepared
) -> Utterance:
    session, dialog, name = path.parts[-4], path.stem, turn.turn
    gender = name[-4]
    # The sixth letter names the actor with motion capture, who sits on the left half of the frame.
    region = _LEFT if gender == name[5] else _RIGHT
    alignment = root / session / "sentences" / "ForcedAlignment" / dialog / f"{name}.wdseg"
    if name in _NOT_ALIGNED and not is_file(alignment):
        prepared.problem("no_alignment", alignment.relative_to(root), f"{name}: the release has none")
        words = None
    else:
        words = read_alignment(root, alignment, prepared)
    if not text and words:
        text = " ".join(word.text for word in words)
        prepared.problem("no_transcript", f"{session}: {name}", "the words of the forced alignment are used")
    elif not text:
        prepared.problem("no_transcript", f"{session}: {name}", "nor an alignment: the utterance has no text")
    return Utterance(
        f"iemocap/{name}",
        "iemocap",
        session=session,
        dialogue=dialog,
        speaker=f"{name[:5]}{gender}",
        gender=gender,
        audio=MediaSpan(f"{session}/sentences/wav/{dialog}/{name}.wav"),
        video=MediaSpan(f"{session}/dialog/avi/DivX/{dialog}.avi", turn.start_seconds, turn.end_seconds, region),
        text=text or None,
        words=words,
        label=label,
        label_source=turn.label,
        annotations=turn.annotations,
    )
