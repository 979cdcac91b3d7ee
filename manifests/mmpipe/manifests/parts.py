"""Groups of rows dealt out to parts of nearly the same size, with nearly the same share of each class."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

__all__ = ["deal_groups"]


def deal_groups(rows: Iterable[tuple[str, str]], number: int, seed: int = 0) -> list[set[str]]:
    """Deal groups to parts, the largest first, each to the part where it unbalances sizes and classes least.

    The unbalance is the sum over the parts of the squared share of all rows, plus the mean over the classes of the
    squared share of the rows of a class (as in scikit-learn's StratifiedGroupKFold, which compares deviations). The
    order of the rows has no effect.

    Args:
        rows: group and class of each row.
        number: parts, at most as many as there are groups.
        seed: orders groups of the same size.

    Returns:
        The groups of each part; none is empty.

    Example:
        >>> rows = [("ann", "joy")] * 5 + [("bob", "joy")] * 3 + [("cid", "joy")] * 2
        >>> [sorted(part) for part in deal_groups(rows, 2)]
        [['ann'], ['bob', 'cid']]
    """
    classes: dict[str, Counter[str]] = defaultdict(Counter)
    for group, label in rows:
        classes[group][label] += 1
    assert number <= len(classes)
    total: Counter[str] = Counter()
    for counts in classes.values():
        total.update(counts)
    order = sorted(classes, key=lambda group: (-classes[group].total(), _shuffled(seed, group)))
    parts: list[set[str]] = [set() for _ in range(number)]
    held: list[Counter[str]] = [Counter() for _ in range(number)]
    for group in order:
        best = min(range(number), key=lambda part: (_unbalance(held[part], classes[group], total), part))
        parts[best].add(group)
        held[best].update(classes[group])
    return parts


def _shuffled(seed: int, group: str) -> bytes:
    return hashlib.sha256(f"{seed}/{group}".encode()).digest()


def _unbalance(held: Mapping[str, int], added: Mapping[str, int], total: Counter[str]) -> float:
    """What adding a group to a part adds to the unbalance, without what it adds to every part alike."""
    size = sum(held.values()) * sum(added.values()) / total.total() ** 2
    shares = [held.get(label, 0) * count / total[label] ** 2 for label, count in added.items()]
    return size + sum(shares) / len(total)
