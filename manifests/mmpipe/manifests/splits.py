"""Folds: which utterances are for training, validation and test, without a speaker on two sides."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from mmpipe.core.errors import TrainingError, UsageError
from mmpipe.core.reading import parse_object
from mmpipe.core.text import is_safe_name, safe_names
from mmpipe.manifests.parts import deal_groups

__all__ = ["PROTOCOLS", "Fold", "check_leaks", "crossing_speakers", "fold_of", "folds"]

PROTOCOLS = {
    "iemocap-5": "five folds: four sessions train, the woman of the fifth validates and the man is tested",
    "iemocap-10": "ten folds: as iemocap-5, then with the two speakers swapped, so that every speaker is tested once",
    "corpus": "the corpus's own split (MELD)",
    "groups-K": "K folds, 2 to 20, over groups of speakers (sessions where there are no speakers), balanced in size "
    "and classes; the next fold validates, of groups-2 a quarter of the training groups",
    "clips-K": "K folds, 2 to 20, over single utterances, balanced in classes, for corpora without speakers: a speaker "
    "may be on both sides, so figures may be too high; the next fold validates, of clips-2 a quarter of the others",
    "loso": "each speaker is tested once; about a fifth of the others, whole speakers, validates",
    "column": "the folds of the table's column `fold` (annotation `fold`); the next fold validates, of two folds a "
    "quarter of the training groups",
}
"""Every protocol, what it means and what validates."""

_MOST_FOLDS = 20
"""Folds of groups-K and clips-K."""


@dataclass(frozen=True)
class Fold:
    """Utterance ids of one fold."""

    name: str
    train: tuple[str, ...]
    valid: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class _Row:
    utterance_id: str
    split: str | None
    session: str | None
    speaker: str | None
    label: str
    fold: str | None

    @property
    def group(self) -> str:
        """What stays on one side of a fold."""
        return self.speaker or self.session or ""


def folds(manifest: pa.Table, protocol: str = "auto", seed: int = 0) -> list[Fold]:
    """The folds of a labelled manifest.

    Args:
        manifest: rows of `MANIFEST_SCHEMA`; rows without a label are in no fold.
        protocol: a name in `PROTOCOLS`, with a number for K, or `auto`: iemocap-10 for IEMOCAP, the corpus's own splits
            where it has them, else groups-5, or as many folds as there are groups if these are fewer; clips-5 where
            neither speakers nor sessions are known.
        seed: orders groups of the same size.

    Raises:
        UsageError: the protocol does not exist.
        TrainingError: the manifest has no labels, too few groups, rows without what the protocol needs, or a speaker
            would be on two sides.
    """
    columns = ("utterance_id", "split", "session", "speaker", "label", "annotations")
    rows = [
        _Row(
            utterance_id=row["utterance_id"],
            split=row["split"],
            session=row["session"],
            speaker=row["speaker"],
            label=row["label"],
            fold=_read_fold(row["annotations"]),
        )
        for row in manifest.select(columns).to_pylist()
        if row["label"] is not None
    ]
    if not rows:
        raise TrainingError("the manifest has no labelled utterance: nothing to train on")
    if protocol == "auto":
        protocol = _automatic(manifest, rows)
    form, number = _numbered(protocol)
    makers = {
        "iemocap-5": lambda: _by_session(rows)[::2],
        "iemocap-10": lambda: _by_session(rows),
        "corpus": lambda: [_own(rows)],
        "loso": lambda: _by_speaker(rows, seed),
        "column": lambda: _by_column(rows, seed),
    }
    if form == "groups":
        made = _by_group(rows, number, seed)
    elif form == "clips":
        made = _by_clip(rows, number, seed)
    elif protocol in makers:
        made = makers[protocol]()
    else:
        raise UsageError(
            f"protocol {protocol!r} does not exist; valid names: auto, {', '.join(PROTOCOLS)} "
            f"(K from 2 to {_MOST_FOLDS})"
        )
    if protocol not in ("corpus", "column") and form != "clips":
        check_leaks(made, {row.utterance_id: row.group for row in rows})
    return made


def _numbered(protocol: str) -> tuple[str, int]:
    """What groups-K and clips-K deal out, and K; an empty text and 0 for other protocols."""
    found = re.fullmatch(r"(groups|clips)-([1-9][0-9]?)", protocol)
    return (found[1], int(found[2])) if found and 2 <= int(found[2]) <= _MOST_FOLDS else ("", 0)


def _read_fold(annotations: str | None) -> str | None:
    try:
        return fold_of(parse_object(annotations)) if annotations else None
    except ValueError:  # it then counts as a row without a fold, which the protocol `column` names
        return None


def fold_of(annotations: Mapping[str, Any]) -> str | None:
    """The fold that a table's column gives an utterance; None where it gives none.

    Example:
        >>> fold_of({"fold": 2}), fold_of({"fold": ""})
        ('2', None)
    """
    value = annotations.get("fold")
    return None if value is None or value == "" or isinstance(value, dict | list) else str(value)


def _automatic(manifest: pa.Table, rows: list[_Row]) -> str:
    if set(manifest.column("corpus").to_pylist()) == {"iemocap"}:
        return "iemocap-10"
    if {"train", "test"} <= {row.split for row in rows}:
        return "corpus"
    if not any(row.group for row in rows):
        return f"clips-{min(5, max(2, len(rows)))}"
    return f"groups-{min(5, max(3, len({row.group for row in rows})))}"


def _by_session(rows: list[_Row]) -> list[Fold]:
    """Two folds a session: its two speakers validate and test, then change places."""
    speakers: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        speakers[row.session or ""].add(row.speaker or "")
    if len(speakers) < 2:
        raise TrainingError(f"a fold a session needs two sessions or more; the manifest has {sorted(speakers)}")
    made = []
    for session, names in sorted(speakers.items()):
        if len(names) != 2:
            raise TrainingError(f"session {session!r} has the speakers {sorted(names)}; the protocol wants two")
        train = _ids(row for row in rows if row.session != session)
        for valid, test in (sorted(names), sorted(names, reverse=True)):
            sides = [
                _ids(row for row in rows if row.session == session and row.speaker == who) for who in (valid, test)
            ]
            made.append(Fold(test, train, *sides))
    tested = list(dict.fromkeys(fold.name for fold in made))
    safe = dict(zip(tested, safe_names(tested), strict=True))
    return [replace(fold, name=safe[fold.name]) for fold in made]


def _own(rows: list[_Row]) -> Fold:
    parts = {name: _ids(row for row in rows if row.split == name) for name in ("train", "dev", "valid", "test")}
    fold = Fold("corpus", parts["train"], parts["dev"] or parts["valid"], parts["test"])
    for name in ("train", "valid", "test"):
        if not getattr(fold, name):
            raise TrainingError(
                f"the manifest's own split has no {name} part; splits: {sorted({str(r.split) for r in rows})}"
            )
    return fold


def _by_group(rows: list[_Row], number: int, seed: int) -> list[Fold]:
    groups = {row.group for row in rows}
    if len(groups) < 3:
        raise TrainingError(
            f"folds over speakers need three speakers (or sessions) or more; the manifest has {sorted(groups)}. "
            "Name speakers in the table's column `speaker`, or give a column `split` with train, valid and test"
        )
    if number > len(groups):
        raise TrainingError(
            f"groups-{number} needs {number} speakers (or sessions) or more, the manifest has {len(groups)}: take "
            f"groups-{len(groups)}"
        )
    dealt = deal_groups(((row.group, row.label) for row in rows), number, seed)
    sides = [[row for row in rows if row.group in part] for part in dealt]
    return _in_turn([f"groups-{place}" for place in range(number)], sides, seed)


def _by_clip(rows: list[_Row], number: int, seed: int) -> list[Fold]:
    if len(rows) < max(3, number):
        raise TrainingError(f"clips-{number} needs {max(3, number)} labelled utterances or more; there are {len(rows)}")
    alone = [replace(row, speaker=row.utterance_id) for row in rows]
    dealt = deal_groups(((row.group, row.label) for row in alone), number, seed)
    sides = [[row for row in alone if row.group in part] for part in dealt]
    return _in_turn([f"clips-{place}" for place in range(number)], sides, seed)


def _by_column(rows: list[_Row], seed: int) -> list[Fold]:
    if missing := [row.utterance_id for row in rows if row.fold is None]:
        raise TrainingError(
            f"{len(missing)} of {len(rows)} labelled utterances, first {missing[0]}, do not have a fold: give one to "
            "each in the table's column `fold`, or take another protocol"
        )
    values = sorted(
        {row.fold or "" for row in rows}, key=lambda v: (not v.isdecimal(), int(v) if v.isdecimal() else 0, v)
    )
    if len(values) < 2:
        raise TrainingError(f"the column `fold` needs two values or more; it has {values}")
    return _in_turn(_named("column", values), [[row for row in rows if row.fold == value] for value in values], seed)


def _in_turn(names: list[str], sides: list[list[_Row]], seed: int) -> list[Fold]:
    """Each side is tested once and the next one validates; of two sides, groups of the other one."""
    made = []
    for place, (name, test) in enumerate(zip(names, sides, strict=True)):
        following = (place + 1) % len(sides)
        if len(sides) == 2:
            train, valid = _hold_out(sides[following], 4, seed, name)
        else:
            train = [row for side, held in enumerate(sides) if side not in (place, following) for row in held]
            valid = sides[following]
        made.append(Fold(name, _ids(train), _ids(valid), _ids(test)))
    return made


def _by_speaker(rows: list[_Row], seed: int) -> list[Fold]:
    if missing := [row.utterance_id for row in rows if not row.speaker]:
        raise TrainingError(
            f"{len(missing)} of {len(rows)} labelled utterances, first {missing[0]}, do not have a speaker, whom loso "
            "leaves out: name speakers in the table's column `speaker`, or take groups-5"
        )
    speakers = sorted({row.group for row in rows})
    if len(speakers) < 3:
        raise TrainingError(f"loso needs three speakers or more; the manifest has {speakers}")
    made = []
    for name, speaker in zip(_named("loso", speakers), speakers, strict=True):
        train, valid = _hold_out([row for row in rows if row.group != speaker], 5, seed, name)
        made.append(Fold(name, _ids(train), _ids(valid), _ids(row for row in rows if row.group == speaker)))
    return made


def _hold_out(rows: list[_Row], parts: int, seed: int, fold: str) -> tuple[list[_Row], list[_Row]]:
    """Rows for training, and for validation the smallest of `parts` parts of whole groups.

    Raises:
        TrainingError: all rows are of one group.
    """
    number = len({row.group for row in rows})
    if number < 2:
        raise TrainingError(
            f"fold {fold} leaves one speaker (or session) for training and validation: it needs two; "
            "take another protocol"
        )
    dealt = deal_groups(((row.group, row.label) for row in rows), min(parts, number), seed)
    sides = [[row for row in rows if row.group in part] for part in dealt]
    valid = min(sides, key=len)
    return [row for side in sides if side is not valid for row in side], valid


def _named(protocol: str, values: Sequence[str]) -> list[str]:
    """Names of folds, which are names of folders too: by value where all values can be, else by number."""
    if safe_names(values) == list(values) and all(is_safe_name(f"{protocol}-{value}") for value in values):
        return [f"{protocol}-{value}" for value in values]
    return [f"{protocol}-{place}" for place in range(len(values))]


def _ids(rows: Iterable[_Row]) -> tuple[str, ...]:
    return tuple(row.utterance_id for row in rows)


def check_leaks(made: list[Fold], speaker: dict[str, str]) -> None:
    """Check that no speaker is on two sides of a fold.

    Raises:
        TrainingError: one does.
    """
    for fold in made:
        sides = [{speaker[i] for i in ids} for ids in (fold.train, fold.valid, fold.test)]
        if shared := (sides[0] & sides[1]) | (sides[0] & sides[2]) | (sides[1] & sides[2]):
            raise TrainingError(f"fold {fold.name}: the speakers {sorted(shared)} stand on two of its sides")


def crossing_speakers(manifest: pa.Table) -> dict[str, list[str]]:
    """Speakers that are in two or more of the manifest's own splits, with those splits, by name.

    Example:
        >>> from mmpipe.manifests.schema import Utterance, to_table
        >>> crossing_speakers(to_table(Utterance(f"x/{s}", "x", s, speaker="Ann") for s in ("train", "test")))
        {'Ann': ['test', 'train']}
    """
    pairs = manifest.select(["speaker", "split"]).group_by(["speaker", "split"]).aggregate([]).to_pylist()
    splits: dict[str, list[str]] = defaultdict(list)
    for pair in pairs:
        if pair["speaker"] is not None and pair["split"] is not None:
            splits[pair["speaker"]].append(pair["split"])
    return {speaker: sorted(names) for speaker, names in sorted(splits.items()) if len(names) > 1}
