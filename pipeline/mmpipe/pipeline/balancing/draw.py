"""Equal draws of each class: pure functions of pseudo-labels and a seed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["PAPER_LIMIT", "draw_equally", "draws_per_class", "seeded_order"]

PAPER_LIMIT, _PAPER_PER_CLASS = 20_000, 5_000
"""The paper's number of unlabelled samples, and of samples of each class after balancing."""


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


def draw_equally(classes: npt.NDArray[np.int64], number_of_classes: int, per_class: int) -> list[tuple[int, int]]:
    """`per_class` draws of each class that has members, classes in turn; after its last member the first again.

    So every beginning of the list is balanced too. A class that no utterance was given stays empty.

    Args:
        classes: the class of each utterance.
        number_of_classes: K.
        per_class: draws of each class.

    Returns:
        For each draw the place of its utterance, and how often that was drawn before.

    Example:
        >>> draw_equally(np.array([1, 0, 1, 1]), 2, 2)
        [(1, 0), (0, 0), (1, 1), (2, 0)]
    """
    members = [np.flatnonzero(classes == k).tolist() for k in range(number_of_classes)]
    return [
        (places[turn % len(places)], turn // len(places)) for turn in range(per_class) for places in members if places
    ]
