"""MELD (Poria et al. 2019): utterances of a television series with text, sound and picture.

Layout of the raw release: `{train,dev,test}_sent_emo.csv` beside `train_splits/`, `dev_splits_complete/` and
`output_repeated_splits_test/` with `dia{Dialogue_ID}_utt{Utterance_ID}.mp4`. Ids repeat across splits, so an utterance's id names
its split. Several faces and no speaker box: the paper uses sound and text only.
"""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import ClassVar

from mmpipe.manifests.corpus import Corpus, CorpusOptions, Prepared, require
from mmpipe.manifests.errors import CorpusError
from mmpipe.manifests.schema import MediaSpan, Utterance

__all__ = ["LABELS", "SPLITS", "Meld"]

SPLITS = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}
"""Folder of each split's clips."""

LABELS = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")

COLUMNS = ("Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID", "StartTime", "EndTime")

_TIME = re.compile(r"^(\d+):(\d{1,2}):(\d{1,2})[,.](\d{1,3})$")


class Meld(Corpus):
    """Reads MELD."""

    name: ClassVar[str] = "meld"
    stages: ClassVar[tuple[str, ...]] = ("audio", "text")

    def prepare(self, root: Path) -> Prepared:
        """One utterance a line of the three tables, in their order."""
        require(root, "MELD", ("*_sent_emo.csv",), "MELD.Raw, with train_sent_emo.csv, dev_sent_emo.csv, test_sent_emo.csv")
        prepared = Prepared()
        for split in SPLITS:
            path = root / f"{split}_sent_emo.csv"
            if path.is_file():
                self._split(root, split, path, prepared)
            else:
                prepared.problem("missing table", path.name, f"the {split} split is left out")
        return prepared

    def _split(self, root: Path, split: str, path: Path, prepared: Prepared) -> None:
        reader = csv.DictReader(io.StringIO(_decode(path)))
        if missing := [name for name in COLUMNS if name not in (reader.fieldnames or [])]:
            raise CorpusError(f"{path}: columns {missing} are missing; found {reader.fieldnames}")
        seen = set()
        for row in reader:
            where = f"{path.name}:{reader.line_num}"
            utterance = _utterance(root, split, row, where, prepared)
            if utterance is not None and utterance.utterance_id in seen:
                prepared.problem("repeated id", where, f"{utterance.utterance_id}: the first line counts")
            elif utterance is not None:
                seen.add(utterance.utterance_id)
                prepared.utterances.append(utterance)


def _decode(path: Path) -> str:
    """The table as text. The release mixes UTF-8 with bytes of cp1252 (quotes, dashes)."""
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    # Control characters 0x80..0x9f are cp1252 that was once decoded as Latin-1.
    return re.sub("[\x80-\x9f]", lambda match: match[0].encode("latin-1").decode("cp1252", errors="replace"), text)


def _seconds(text: str | None) -> float | None:
    match = _TIME.match((text or "").strip())
    if match is None:
        return None
    hours, minutes, seconds, millis = match.groups()
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + int(millis.ljust(3, "0")) / 1000


def _utterance(root: Path, split: str, row: dict[str, str], where: str, prepared: Prepared) -> Utterance | None:
    label, dialogue, number = (row[name] or "" for name in ("Emotion", "Dialogue_ID", "Utterance_ID"))
    if label not in LABELS or not (dialogue.isdigit() and number.isdigit()):
        prepared.problem("malformed line", where, f"skipped: label {label!r}, dialogue {dialogue!r}, utterance {number!r}")
        return None
    clip = f"{SPLITS[split]}/dia{dialogue}_utt{number}.mp4"
    if not (root / clip).is_file():
        prepared.problem("missing clip", clip, "the row stays: its text is usable")
    start, end = _seconds(row["StartTime"]), _seconds(row["EndTime"])
    annotations: dict[str, object] = {"sentiment": row["Sentiment"], "season": row.get("Season"), "episode": row.get("Episode")}
    if start is not None and end is not None and end > start:
        annotations["series_seconds"] = [start, end]
    else:
        prepared.problem("odd times", where, f"StartTime {row['StartTime']!r}, EndTime {row['EndTime']!r}")
    return Utterance(
        f"meld/{split}/dia{dialogue}_utt{number}",
        "meld",
        split=split,
        dialogue=f"{split}/dia{dialogue}",
        speaker=row["Speaker"] or None,
        audio=MediaSpan(clip),
        video=MediaSpan(clip),
        text=row["Utterance"],
        label=label,
        label_source=label,
        annotations=annotations,
    )
