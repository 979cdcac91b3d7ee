"""MELD (Poria et al. 2019): utterances of a television series with text, audio and video.

Layout of the raw release: `{train,dev,test}_sent_emo.csv` beside `train_splits/`, `dev_splits_complete/` and
`output_repeated_splits_test/` with `dia{Dialogue_ID}_utt{Utterance_ID}.mp4`. Ids repeat across splits, so an
utterance's id names its split. A frame shows several faces and the speaker is not marked: the paper uses audio and text
only. A clip's times in the series are annotations, as its file starts at 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from mmpipe.core.errors import CorpusError
from mmpipe.core.text import clean
from mmpipe.manifests.contract import Corpus, CorpusOptions, Prepared, require
from mmpipe.manifests.formats.tables import read_rows
from mmpipe.manifests.io import is_file
from mmpipe.manifests.schema import MediaSpan, Utterance

__all__ = ["Meld"]

_SPLITS = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}
"""Folder of each split's clips."""

_LABELS = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")

_COUNTS = {
    "train": (1109, 271, 268, 1743, 4710, 683, 1205),
    "dev": (153, 22, 40, 163, 470, 111, 150),
    "test": (345, 68, 50, 402, 1256, 208, 281),
}

_LONG = "runs on for 4 to 5 minutes after its utterance"
_KNOWN_DAMAGE = {
    "train_splits/dia125_utt3.mp4": "cannot be decoded",
    "train_splits/dia309_utt0.mp4": _LONG,
    "dev_splits_complete/dia110_utt7.mp4": "is not in the release",
    "output_repeated_splits_test/dia38_utt4.mp4": _LONG,
    "output_repeated_splits_test/dia220_utt0.mp4": _LONG,
}
"""Clips of the release that are broken, missing or of a wrong length."""

_COLUMNS = ("Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID", "StartTime", "EndTime")

_TIME = re.compile(r"(\d{1,4}):(\d{1,2}):(\d{1,2})[,.](\d{1,3})", re.ASCII)
_NUMBER = re.compile(r"\d{1,9}", re.ASCII)
_EXTRA_SHOWN = 20


class Meld(Corpus):
    """Reads MELD."""

    name: ClassVar[str] = "meld"
    Options: ClassVar[type[CorpusOptions]] = CorpusOptions
    stages: ClassVar[tuple[str, ...]] = ("audio", "text")
    licence: ClassVar[str] = (
        "MELD: annotations under GPL-3.0; clips and dialogue are of a television series, whose owners hold the rights."
    )

    def check(self, root: Path) -> None:
        """A table of utterances is there."""
        names = ", ".join(f"{split}_sent_emo.csv" for split in _SPLITS)
        require(root, "MELD", ("*_sent_emo.csv",), f"MELD.Raw, with {names}")

    def prepare(self, root: Path) -> Prepared:
        """One utterance for each row of the three tables, in their order."""
        self.check(root)
        prepared = Prepared()
        for split in _SPLITS:
            path = root / f"{split}_sent_emo.csv"
            if is_file(path):
                _split(root, split, path, prepared)
            else:
                prepared.problem("file_missing", path.name, f"the {split} split is left out")
        return prepared

    def reads(self, uri: str) -> bool:
        """The three tables."""
        return uri in {f"{split}_sent_emo.csv" for split in _SPLITS}

    def expected(self) -> Mapping[str, Mapping[str, int]]:
        """Counts of the release by split and emotion: 9,989, 1,109 and 2,610 utterances."""
        pairs = ((split, label, n) for split in _SPLITS for label, n in zip(_LABELS, _COUNTS[split], strict=True))
        return {"split/label": {f"{split}/{label}": n for split, label, n in pairs}}


def _split(root: Path, split: str, path: Path, prepared: Prepared) -> None:
    folder = root / _SPLITS[split]
    clips = {clip.name for clip in folder.glob("*.mp4") if not clip.name.startswith("._")} if folder.is_dir() else None
    if clips is None:
        prepared.problem("media_missing", _SPLITS[split], f"the folder of the {split} split's clips is not there")
    named: set[str] = set()
    for line, row in read_rows(root, path, prepared):
        where = f"{path.name}:{line}"
        if missing := [name for name in _COLUMNS if name not in row]:
            raise CorpusError(f"{where}: columns {missing} are missing; expected {list(_COLUMNS)}, found {list(row)}")
        utterance = _utterance(split, row, where, prepared)
        if utterance is None:
            continue
        clip = utterance.utterance_id.rpartition("/")[2] + ".mp4"
        if clip in named:
            prepared.problem("repeated_id", where, f"{utterance.utterance_id}: the first row counts", lost=1)
            continue
        named.add(clip)
        _check_clip(f"{_SPLITS[split]}/{clip}", clips is None or clip in clips, clips is not None, prepared)
        prepared.utterances.append(utterance)
    _report_extra(_SPLITS[split], sorted((clips or set()) - named), prepared)


def _check_clip(uri: str, present: bool, has_folder: bool, prepared: Prepared) -> None:
    if not present:
        known = " (it is not in the release either)" if _KNOWN_DAMAGE.get(uri) == "is not in the release" else ""
        prepared.problem("media_missing", uri, f"the row stays, its text is usable{known}")
    elif has_folder and uri in _KNOWN_DAMAGE:
        prepared.problem("known_damage", uri, f"the clip of the release {_KNOWN_DAMAGE[uri]}")


def _report_extra(folder: str, extra: list[str], prepared: Prepared) -> None:
    for clip in extra[:_EXTRA_SHOWN]:
        prepared.problem("extra_clip", f"{folder}/{clip}", "no row names this clip: it is left out")
    if len(extra) > _EXTRA_SHOWN:
        prepared.problem("extra_clip", folder, f"{len(extra) - _EXTRA_SHOWN} more clips that no row names")


def _seconds(text: str) -> float | None:
    match = _TIME.fullmatch(text.strip())
    if match is None:
        return None
    hours, minutes, seconds, millis = match.groups()
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + int(millis.ljust(3, "0")) / 1000


def _utterance(split: str, row: Mapping[str, Any], where: str, prepared: Prepared) -> Utterance | None:
    values = {name: clean(str(row.get(name) or "")) for name in (*_COLUMNS, "Season", "Episode")}
    label, dialogue, number = (values[name] for name in ("Emotion", "Dialogue_ID", "Utterance_ID"))
    if not (_NUMBER.fullmatch(dialogue) and _NUMBER.fullmatch(number)):
        message = f"Dialogue_ID {dialogue[:40]!r} and Utterance_ID {number[:40]!r} should be numbers: left out"
        prepared.problem("malformed_line", where, message, lost=1)
        return None
    if label not in _LABELS:
        prepared.problem(
            "unknown_label", where, f"{label[:40]!r}; expected one of {' '.join(_LABELS)}: left out", lost=1
        )
        return None
    dialogue, number = str(int(dialogue)), str(int(number))
    clip = MediaSpan(f"{_SPLITS[split]}/dia{dialogue}_utt{number}.mp4")
    annotations: dict[str, Any] = {key: values[name] for key, name in _EXTRAS.items() if values[name]}
    start, end = _seconds(values["StartTime"]), _seconds(values["EndTime"])
    if start is None or end is None:
        message = f"StartTime {values['StartTime'][:40]!r}, EndTime {values['EndTime'][:40]!r}: expected 00:00:00,000"
        prepared.problem("malformed_line", where, f"{message}; the row stays")
    elif end <= start:
        prepared.problem("times_backwards", where, f"from {start} to {end} s of the episode; the row stays")
    else:
        annotations |= {"series_seconds": [start, end], "duration_seconds": round(end - start, 3)}
    if not values["Utterance"]:
        prepared.problem("no_transcript", where, "the utterance has no text")
    return Utterance(
        f"meld/{split}/dia{dialogue}_utt{number}",
        "meld",
        split=split,
        dialogue=f"{split}/dia{dialogue}",
        speaker=values["Speaker"] or None,
        audio=clip,
        video=clip,
        text=values["Utterance"] or None,
        label=label,
        label_source=label,
        annotations=annotations,
    )


_EXTRAS = {"sentiment": "Sentiment", "season": "Season", "episode": "Episode"}
