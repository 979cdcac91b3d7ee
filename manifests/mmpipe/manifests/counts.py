"""Counts of a corpus against those of its complete release, and what explains a difference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mmpipe.manifests.contract import Corpus, Prepared, Problem
from mmpipe.manifests.schema import Utterance

__all__ = ["Count", "compare_counts", "count_problems", "explain"]

_FILE_CATEGORIES = ("file_missing", "file_damaged", "file_empty", "file_refused")
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Count:
    """A number of the release and the number found.

    Attributes:
        attribute: "label", "session", "split/label", ...; "read" for `Prepared.counts`.
        value: the attribute's value.
        expected: of the complete release under the same options.
        got: of this copy.
    """

    attribute: str
    value: str
    expected: int
    got: int


def compare_counts(corpus: Corpus, prepared: Prepared) -> list[Count]:
    """Every count of the release with the count found; values that the release does not have are expected 0 times."""
    counts = []
    for attribute, expected in corpus.expected().items():
        got = prepared.counts if attribute == "read" else _count(prepared.utterances, attribute)
        unknown = () if attribute == "read" else sorted(got.keys() - expected.keys())
        counts += [Count(attribute, value, expected.get(value, 0), got[value]) for value in (*expected, *unknown)]
    return counts


def _count(utterances: Sequence[Utterance], attribute: str) -> Counter[str]:
    names = attribute.split("/")
    return Counter("/".join(str(getattr(row, name) or "none") for name in names) for row in utterances)


def count_problems(corpus: Corpus, prepared: Prepared) -> list[Problem]:
    """One problem for each count that differs."""
    return [
        Problem("count_differs", f"{c.attribute} {c.value}", f"{c.got}, the complete release has {c.expected}")
        for c in compare_counts(corpus, prepared)
        if c.got != c.expected
    ]


def explain(counts: Sequence[Count], prepared: Prepared) -> Iterator[str]:
    """Why counts differ, as far as the problems noted while reading explain it; nothing if they do not differ.

    The last sentence names what these problems do not explain.
    """
    if all(count.got == count.expected for count in counts):
        return
    for count in counts:
        if count.expected and not count.got:
            yield f"{count.attribute} {count.value} ({count.expected}) is not there at all"
    for category in _FILE_CATEGORIES:
        places = [f"{p.where} ({p.message})" for p in prepared.problems if p.category == category]
        if places:
            more = f" and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
            yield f"{category}: {', '.join(places[:_SHOWN])}{more}"
    lost = Counter[str]()
    for problem in prepared.problems:
        lost[problem.category] += problem.lost
    for category, number in lost.most_common():
        if number:
            yield f"{number} utterances are left out because of {category}"
    if (rest := _unexplained(counts, prepared, lost.total())) is not None:
        yield rest


def _unexplained(counts: Sequence[Count], prepared: Prepared, lost: int) -> str | None:
    """The difference that lost utterances and missing files do not explain; None if there is none."""
    of_utterances = [count for count in counts if count.attribute != "read"]
    if any(problem.category in _FILE_CATEGORIES for problem in prepared.problems):
        return None  # the number of utterances of a missing file is unknown
    surplus = [f"{c.attribute} {c.value}" for c in of_utterances if c.got > c.expected]
    if surplus:
        return f"more than the release has: {', '.join(surplus[:_SHOWN])}: another release, or edited labels?"
    first = next((count.attribute for count in of_utterances), None)
    short = sum(count.expected - count.got for count in of_utterances if count.attribute == first) - lost
    if short > 0:
        return f"{short} utterances are missing without any problem noted: another release, or edited label files?"
    return None
