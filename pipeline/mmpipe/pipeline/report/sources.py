"""What a report is about: stores, manifests, balanced lists, runs and tables of runs, told apart by what they hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mmpipe.core.errors import UsageError
from mmpipe.core.files import is_local
from mmpipe.core.parquet import glance

__all__ = ["Kind", "ReportSources", "kind_of", "sort_sources"]

Kind = Literal["stores", "runs", "balanced", "grids"]
"""Kinds of sources, called as the fields of `ReportSources`."""


@dataclass(frozen=True)
class ReportSources:
    """What a report is about.

    Attributes:
        stores: feature stores, or manifests.
        runs: run folders of `mmpipe train`; of several, the others are compared with the first.
        balanced: lists of `mmpipe balance-unlabeled`.
        grids: folders that `mmpipe train --table` or `--figure` wrote, whose runs are shown, too.
        probes: JSON of linear probes of single modalities.
        roots: the corpus root of each store that has one: frames and waveforms are shown for these.
    """

    stores: Sequence[Path] = ()
    runs: Sequence[Path] = ()
    balanced: Sequence[Path] = ()
    grids: Sequence[Path] = ()
    probes: Path | None = None
    roots: Mapping[Path, Path] = field(default_factory=dict)


def sort_sources(paths: Iterable[Path]) -> ReportSources:
    """Tell paths apart by what they hold; a path that is given twice counts once.

    Raises:
        UsageError: one is nothing that a report can be about.
    """
    kinds: dict[Kind, list[Path]] = {"stores": [], "runs": [], "balanced": [], "grids": []}
    for path in dict.fromkeys(paths):
        kinds[kind_of(path)].append(path)
    return ReportSources(kinds["stores"], kinds["runs"], kinds["balanced"], kinds["grids"])


def kind_of(path: Path) -> Kind:
    """What a path holds; its reader says what is wrong with it.

    Raises:
        UsageError: it is none of the kinds.
    """
    if not is_local(path):
        return "stores"  # all others have to be on a disk of this machine
    if path.is_dir():
        if (path / "store.json").exists() or (path / "manifest.parquet").exists():
            return "stores"
        if (path / "run.json").exists():
            return "runs"
        if any(path.glob("table-*.csv")) or any(path.glob("figure-*.csv")):
            return "grids"
    elif path.is_file():
        try:
            return "balanced" if {"before", "after"} <= glance(path).metadata.keys() else "stores"
        except (OSError, ValueError):
            if path.suffix == ".parquet":
                return "stores"  # whose reader says what is wrong with it
    else:
        raise UsageError(
            f"{path} does not exist: name a feature store of `mmpipe extract`, a manifest, a balanced list of "
            "`mmpipe balance-unlabeled` or a run folder of `mmpipe train`"
        )
    raise UsageError(
        f"{path} is not a feature store, a manifest, a balanced list, a run folder or a folder of a table of runs: "
        "name what `mmpipe extract`, `manifest`, `balance-unlabeled` or `train` wrote"
    )
