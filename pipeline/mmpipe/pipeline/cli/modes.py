"""Commands with modes: an option that the chosen mode would ignore is refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mmpipe.core.errors import UsageError

__all__ = ["ignored_assignments", "one_mode", "refuse_ignored", "refuse_twice"]


def one_mode(options: Mapping[str, Any]) -> None:
    """Refuse more than one of the options that choose a mode.

    Raises:
        UsageError: two of them are given.

    Example:
        >>> one_mode({"--verify": True, "--faces": None})
    """
    if len(given := _given(options)) > 1:
        raise UsageError(f"{' and '.join(given)} exclude each other: give one of them")


def refuse_ignored(mode: str, options: Mapping[str, Any]) -> None:
    """Refuse options that a mode does not use.

    Args:
        mode: the mode in words, such as `with --evaluate` or `without --clip`.
        options: values by option; None, False and empty lists mean that it is not given.

    Raises:
        UsageError: at least one is given; the message names all of them.

    Example:
        >>> refuse_ignored("with --verify", {"--root": None, "--sample": True})
        Traceback (most recent call last):
        mmpipe.core.errors.UsageError: --sample has no effect with --verify: leave it out
    """
    if given := _given(options):
        names, it = ", ".join(given), "it" if len(given) == 1 else "them"
        raise UsageError(f"{names} {'has' if len(given) == 1 else 'have'} no effect {mode}: leave {it} out")


def ignored_assignments(assigned: Iterable[str], unused: Iterable[str]) -> dict[str, bool]:
    """The hyper-parameters of --set that a mode does not use, for `refuse_ignored`.

    Example:
        >>> ignored_assignments(["epochs", "omega"], ["omega", "words"])
        {'--set omega': True}
    """
    names = set(unused)
    return {f"--set {name}": True for name in assigned if name in names}


def refuse_twice(given: Mapping[str, Any], assigned: Iterable[str]) -> None:
    """Refuse a hyper-parameter that its own option and --set name.

    Args:
        given: values of the options by name; None means that it is not given.
        assigned: the names of --set.

    Raises:
        UsageError: there is one.

    Example:
        >>> refuse_twice({"seed": 1}, ["seed"])
        Traceback (most recent call last):
        mmpipe.core.errors.UsageError: --seed and --set seed=... say the same: give one of them
    """
    if twice := sorted(name for name in set(assigned) if given.get(name) is not None):
        raise UsageError(f"--{twice[0].replace('_', '-')} and --set {twice[0]}=... say the same: give one of them")


def _given(options: Mapping[str, Any]) -> list[str]:
    return [name for name, value in options.items() if value is not None and value is not False and value != []]
