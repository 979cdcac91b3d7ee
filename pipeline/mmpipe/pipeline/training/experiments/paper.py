"""The experiments of the paper (section 4.3 to 5): the cells of each table and figure, with the paper's own figures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["EXPERIMENTS", "Cell", "Experiment"]


@dataclass(frozen=True)
class Cell:
    """One run of an experiment.

    Attributes:
        labels: what the experiment's columns say of it.
        modalities: such as `avl`.
        semi: with unlabelled data.
        changes: hyper-parameters that differ.
        share: the part of the balanced list that is drawn from.
        paper: the paper's figures in per cent, by metric.
    """

    labels: tuple[str, ...]
    modalities: str
    semi: bool = False
    changes: dict[str, Any] = field(default_factory=dict)
    share: float = 1.0
    paper: dict[str, float] = field(default_factory=dict)

    @property
    def run(self) -> str:
        """Name of its run folder: cells of several experiments that are the same run share it."""
        parts = [self.modalities, "semi" if self.semi else "supervised"]
        parts += [f"no-{term}" for term, name in (("rec", "alpha"), ("mmd", "beta")) if self.changes.get(name) == 0]
        return "-".join(parts + ([f"{round(100 * self.share)}pc"] if self.share < 1 else []))


@dataclass(frozen=True)
class Experiment:
    """A table or figure of the paper.

    Attributes:
        title: what it shows.
        columns: names of the cells' labels.
        metrics: which figures of a run it compares.
        cells: its runs.
        corpus: the labelled corpus of the paper.
        kind: how it is drawn: `table`, `confusion`, `quantity` or `curves`.
        changes: hyper-parameters of all its cells.
    """

    title: str
    columns: tuple[str, ...]
    metrics: tuple[str, ...]
    cells: tuple[Cell, ...]
    corpus: str = "iemocap"
    kind: str = "table"
    changes: dict[str, Any] = field(default_factory=dict)


_BOTH = ("wap", "ua")


def _pair(wap: float, ua: float) -> dict[str, float]:
    return {"wap": wap, "ua": ua}


def _name(modalities: str) -> str:
    return "+".join(modalities.upper())


_FULLY = {"a": (57.2, 58.5), "v": (52.5, 45.4), "l": (65.4, 64.8), "av": (63.2, 60.8), "al": (70.3, 68.6)} | {
    "avl": (73.0, 72.5)
}
_SEMI = {"av": (63.7, 61.2), "al": (72.6, 72.1), "avl": (75.6, 74.5)}
_NO_REC, _NO_MMD = {"alpha": 0.0}, {"beta": 0.0}
_MARKS = {True: "✓", False: "✗"}


def _ablation(semi: bool, rec: bool, mmd: bool, wap: float, ua: float) -> Cell:
    changes = ({} if rec else _NO_REC) | ({} if mmd else _NO_MMD)
    setting = "semi-supervised" if semi else "fully-supervised"
    return Cell((setting, _MARKS[rec], _MARKS[mmd]), "avl", semi, changes, paper=_pair(wap, ua))


EXPERIMENTS: dict[str, Experiment] = {
    "table-4": Experiment(
        "Fully supervised, speaker-independent",
        ("modality",),
        _BOTH,
        tuple(Cell((_name(m),), m, paper=_pair(*figures)) for m, figures in _FULLY.items()),
    ),
    "table-5": Experiment(
        "Fully supervised against semi-supervised",
        ("modality", "supervised mode"),
        _BOTH,
        tuple(
            Cell((_name(m), "semi" if semi else "fully"), m, semi, paper=_pair(*(_SEMI if semi else _FULLY)[m]))
            for m in _SEMI
            for semi in (False, True)
        ),
    ),
    "table-6": Experiment(
        "MELD",
        ("modality", "supervised mode"),
        ("weighted_f1",),
        tuple(
            Cell((_name(m), "semi" if semi else "fully"), m, semi, paper={"weighted_f1": f1})
            for m, semi, f1 in (("a", False, 40.2), ("l", False, 53.0), ("al", False, 56.1), ("al", True, 57.1))
        ),
        corpus="meld",
        changes={"words": 12, "select": "weighted_f1"},
    ),
    "table-7": Experiment(
        "Contribution of the loss components, A+V+L",
        ("setting", "reconstruction", "MMD"),
        _BOTH,
        (
            _ablation(False, False, False, 72.7, 71.5),
            _ablation(False, False, True, 72.0, 71.5),
            _ablation(False, True, False, 72.5, 71.7),
            _ablation(False, True, True, 73.0, 72.5),
            _ablation(True, False, True, 72.9, 71.5),
            _ablation(True, True, True, 75.6, 74.5),
        ),
    ),
    "figure-6": Experiment(
        "Confusion matrices",
        ("modality", "supervised mode"),
        _BOTH,
        (
            Cell(("L", "fully"), "l", paper=_pair(65.4, 64.8)),
            Cell(("A+L", "fully"), "al", paper=_pair(70.3, 68.6)),
            Cell(("A+V+L", "fully"), "avl", paper=_pair(73.0, 72.5)),
            Cell(("A+V+L", "semi"), "avl", semi=True, paper=_pair(75.6, 74.5)),
        ),
        kind="confusion",
    ),
    "figure-7a": Experiment(
        "Influence of the quantity of unlabelled data, A+V+L",
        ("unlabelled data",),
        _BOTH,
        (
            Cell(("none",), "avl", paper=_pair(73.0, 72.5)),
            *(Cell((f"{round(100 * s)} %",), "avl", semi=True, share=s) for s in (0.25, 0.5, 0.75)),
            Cell(("100 %",), "avl", semi=True, paper=_pair(75.6, 74.5)),
        ),
        kind="quantity",
    ),
    "figure-7b": Experiment(
        "Loss values over the epochs, A+V+L, semi-supervised",
        ("modality", "supervised mode"),
        _BOTH,
        (Cell(("A+V+L", "semi"), "avl", semi=True, paper=_pair(75.6, 74.5)),),
        kind="curves",
    ),
}
"""Every experiment by name. The shares of figure 7a are those of 5,000 to 20,000 unlabelled samples, nested."""
