"""Folds: which utterances are for training, validation and test, without a speaker on two sides."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from mmpipe.core.errors import TrainingError, UsageError

__all__ = ["PROTOCOLS", "Fold", "check_leaks", "crossing_speakers", "folds"]

PROTOCOLS = {
    "iemocap-5": "five folds: four sessions train, the woman of the fifth validates and the man is tested",
    "iemocap-10": "ten folds: as iemocap-5, then with the two speakers swapped, so that every speaker is tested once",
    "corpus": "the corpus's own split (MELD)",
    "groups-5": "five folds over groups of speakers (sessions where there are no speakers)",
}
"""Every protocol and what it means."""


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


def folds(manifest: pa.Table, protocol: str = "auto", seed: int = 0) -> list[Fold]:
    """The folds of a labelled manifest.

    Args:
        manifest: rows of `MANIFEST_SCHEMA`; rows without a label are in no fold.
        protocol: a name in `PROTOCOLS`, or `auto`: iemocap-10 for IEMOCAP, the corpus's own splits where it has them,
            else groups-5.
        seed: shuffles the groups of groups-5.

    Raises:
        UsageError: the protocol does not exist.
        TrainingError: the manifest has no labels, too few groups, or a speaker would be on two sides.
    """
    columns = ("utterance_id", "split", "session", "speaker", "label")
    table = manifest.select(columns).to_pylist()
    rows = [_Row(*(row[name] for name in columns[:4])) for row in table if row["label"] is not None]
    if not rows:
        raise TrainingError("the manifest has no labelled utterance: nothing to train on")
    if protocol == "auto":
        protocol = _automatic(manifest, rows)
    makers = {
        "iemocap-5": lambda: _by_session(rows)[::2],
        "iemocap-10": lambda: _by_session(rows),
        "corpus": lambda: [_own(rows)],
        "groups-5": lambda: _by_group(rows, 5, seed),
    }
    if protocol not in makers:
        raise UsageError(f"protocol {protocol!r} does not exist; valid names: auto, {', '.join(PROTOCOLS)}")
    made = makers[protocol]()
    if protocol != "corpus":
        check_leaks(made, {row.utterance_id: row.speaker or row.session or "" for row in rows})
    return made


def _automatic(manifest: pa.Table, rows: list[_Row]) -> str:
    if set(manifest.column("corpus").to_pylist()) == {"iemocap"}:
        return "iemocap-10"
    return "corpus" if {"train", "test"} <= {row.split for row in rows} else "groups-5"


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
    return made


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
    groups = sorted(
        {row.speaker or row.session or "" for row in rows},
        key=lambda group: hashlib.sha256(f"{seed}/{group}".encode()).digest(),
    )
    if len(groups) < 3:
        raise TrainingError(
            f"folds over speakers need three speakers (or sessions) or more; the manifest has {sorted(groups)}. "
            "Name speakers in the table's column `speaker`, or give a column `split` with train, valid and test"
        )
    number = min(number, len(groups))
    part = {group: place % number for place, group in enumerate(groups)}
    sides = [_ids(row for row in rows if part[row.speaker or row.session or ""] == side) for side in range(number)]
    made = []
    for test in range(number):
        valid = (test + 1) % number
        train = tuple(i for side in range(number) if side not in (test, valid) for i in sides[side])
        made.append(Fold(f"groups-{test}", train, sides[valid], sides[test]))
    return made


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
