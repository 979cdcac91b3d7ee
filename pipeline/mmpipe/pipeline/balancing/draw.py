"""What is drawn of each class: pure functions of pseudo-labels, their probabilities and a seed."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mmpipe.core.errors import UsageError

__all__ = [
    "PAPER_LIMIT",
    "DrawOptions",
    "Target",
    "choose_candidates",
    "draw_in_turn",
    "draws_per_class",
    "parse_targets",
    "resolve_targets",
    "seeded_order",
]

PAPER_LIMIT, _PAPER_PER_CLASS = 20_000, 5_000
"""The paper's number of unlabelled samples, and of samples of each class after balancing."""

_MOST = 1_000_000
"""Draws of a class."""

Target = int | float
"""Draws of a class: a whole number, or a float from 0 to 1, a share of the utterances that are labelled."""


@dataclass(frozen=True)
class DrawOptions:
    """What to draw.

    Attributes:
        pool: utterances to label, the first in seeded order, or all of fewer; None is the paper's 20,000.
        per_class: draws of each class; None is the paper's 5,000 where 20,000 utterances are labelled, else the number
            of labelled utterances divided by the number of classes.
        of_class: draws of single classes, by label.
        min_probability: of the pseudo-label; utterances below are left out.
        choose: which utterances come first: `random`, in seeded order, or `confident`, the most probable.
        max_per_speaker: utterances of a speaker in each class.
        max_per_session: utterances of a session in each class.
    """

    pool: int | None = None
    per_class: Target | None = None
    of_class: Mapping[str, Target] = field(default_factory=dict)
    min_probability: float = 0.0
    choose: Literal["random", "confident"] = "random"
    max_per_speaker: int | None = None
    max_per_session: int | None = None

    @property
    def is_filtering(self) -> bool:
        """Whether utterances may be left out that the classifier labelled."""
        return self.min_probability > 0 or self.max_per_speaker is not None or self.max_per_session is not None

    def check(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: a number is out of range.
        """
        if not 0 <= self.min_probability < 1:
            raise UsageError(f"--min-probability must be from 0 to below 1, got {self.min_probability:g}")
        for name in ("pool", "max_per_speaker", "max_per_session"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UsageError(f"--{name.replace('_', '-')} must be 1 or more, got {value}")
        for target in (*self.of_class.values(), *([] if self.per_class is None else [self.per_class])):
            if not 0 <= target <= (1 if isinstance(target, float) else _MOST):
                raise UsageError(f"--per-class must be from 0 to {_MOST:,}, or from 0% to 100%, got {target}")


def seeded_order(ids: Sequence[str], seed: int) -> list[int]:
    """Places of utterances, shuffled by the seed; the order of two of them depends on nothing but them and the seed.

    Example:
        >>> ids = ["a", "b", "c", "d"]
        >>> [ids[place] for place in seeded_order(ids, 0)] == [sorted(ids)[place] for place in seeded_order(ids, 0)]
        True
    """
    return sorted(range(len(ids)), key=lambda place: hashlib.sha256(f"{seed}/{ids[place]}".encode()).digest())


def draws_per_class(usable: int, classes: int) -> int:
    """The paper's 5,000 where its 20,000 utterances are usable, else those usable divided by the classes, rounded up.

    Example:
        >>> draws_per_class(20_000, 4), draws_per_class(90, 4)
        (5000, 23)
    """
    return _PAPER_PER_CLASS if usable >= PAPER_LIMIT else -(-usable // classes)


def parse_targets(texts: Iterable[str]) -> tuple[Target | None, dict[str, Target]]:
    """Draws of every class, and of single classes, from `NUMBER`, `SHARE%`, `LABEL=NUMBER` and `LABEL=SHARE%`.

    Raises:
        UsageError: a text is of another form, or names a class twice.

    Example:
        >>> parse_targets(["5000", "anger=3000", "joy=12.5%"])
        (5000, {'anger': 3000, 'joy': 0.125})
    """
    found: dict[str, Target] = {}
    for text in texts:
        label, _, amount = text.rpartition("=")
        match = re.fullmatch(r"([0-9]{1,7})|([0-9]{1,3}(?:\.[0-9]{1,6})?)%", amount.strip(), re.ASCII)
        if match is None or ("=" in text and not label.strip()):
            raise UsageError(
                f"--per-class {text!r}: expected NUMBER, SHARE%, LABEL=NUMBER or LABEL=SHARE%, for example "
                "--per-class 5000 --per-class anger=3000"
            )
        if label.strip() in found:
            whose = f"of the class {label.strip()}" if label else "of every class"
            raise UsageError(f"--per-class gives the draws {whose} twice: leave one out")
        found[label.strip()] = int(match[1]) if match[1] else float(match[2]) / 100
    return found.pop("", None), found


def resolve_targets(options: DrawOptions, labels: Sequence[str], labelled: int) -> list[int]:
    """Draws of each class.

    Args:
        options: what is asked for.
        labels: the classes.
        labelled: utterances that are labelled.

    Raises:
        UsageError: a class does not exist, or nothing is asked for.
    """
    if unknown := [label for label in options.of_class if label not in labels]:
        raise UsageError(
            f"--per-class {unknown[0]}=...: the classifier does not know the class; its classes: {', '.join(labels)}"
        )
    usual = draws_per_class(labelled, len(labels)) if options.per_class is None else options.per_class
    wanted = [options.of_class.get(label, usual) for label in labels]
    targets = [round(target * labelled) if isinstance(target, float) else target for target in wanted]
    if not any(targets):
        raise UsageError("--per-class asks for no draw of any class: give one of them a number above 0")
    return targets


def choose_candidates(
    classes: npt.NDArray[np.int64],
    probabilities: npt.NDArray[Any],
    options: DrawOptions,
    groups: Mapping[str, Sequence[str | None]],
) -> tuple[npt.NDArray[np.int64], Counter[str]]:
    """Places of the utterances that may be drawn, in the order in which they are, and how many are left out, by reason.

    Args:
        classes: the class of each utterance, in seeded order.
        probabilities: of that class.
        options: what is asked for.
        groups: `speaker` and `session` of each utterance.

    Example:
        >>> options = DrawOptions(min_probability=0.5, choose="confident")
        >>> choose_candidates(np.array([0, 1, 0]), np.array([0.6, 0.4, 0.9]), options, {})
        (array([2, 0]), Counter({'probability below 0.5': 1}))
    """
    order = np.arange(len(classes))
    if options.choose == "confident":
        order = np.argsort(-probabilities, kind="stable")
    limits = {
        name: most
        for name, most in (("speaker", options.max_per_speaker), ("session", options.max_per_session))
        if most is not None
    }
    taken: Counter[tuple[str, int, str | None]] = Counter()
    dropped: Counter[str] = Counter()
    kept = []
    for place in order.tolist():
        if probabilities[place] < options.min_probability:
            dropped[f"probability below {options.min_probability:g}"] += 1
            continue
        keys = {name: (name, int(classes[place]), groups[name][place]) for name in limits}
        if full := [name for name, key in keys.items() if taken[key] >= limits[name]]:
            dropped[f"more than {limits[full[0]]} of a {full[0]}"] += 1
            continue
        taken.update(keys.values())
        kept.append(place)
    return np.array(kept, np.int64), dropped


def draw_in_turn(classes: npt.NDArray[np.int64], targets: Sequence[int]) -> list[tuple[int, int]]:
    """Draws of each class that has members, classes in turn; after its last member the first again.

    So every beginning of the list has the classes in the proportion of the whole. A class that no utterance was given
    stays empty.

    Args:
        classes: the class of each utterance.
        targets: draws of each class.

    Returns:
        For each draw the place of its utterance, and how often that was drawn before.

    Example:
        >>> draw_in_turn(np.array([1, 0, 1, 1]), [2, 2])
        [(1, 0), (0, 0), (1, 1), (2, 0)]
        >>> draw_in_turn(np.array([1, 0, 1, 1]), [1, 3])
        [(0, 0), (1, 0), (2, 0), (3, 0)]
    """
    members = [np.flatnonzero(classes == k).tolist() for k in range(len(targets))]
    turns = sorted(
        ((2 * turn + 1) / target, k, turn) for k, target in enumerate(targets) if members[k] for turn in range(target)
    )
    return [(members[k][turn % len(members[k])], turn // len(members[k])) for _, k, turn in turns]
