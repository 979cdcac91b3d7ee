"""The report's section on linear probes of single modalities."""

from __future__ import annotations

from pathlib import Path

from mmpipe.core.errors import UsageError
from mmpipe.core.reading import read_object
from mmpipe.pipeline.report.blocks import Block, Cell, Figure, Grid, Section, Table, Text, number, percent
from mmpipe.pipeline.report.charts import Bars, Series

__all__ = ["probes_section"]


def probes_section(path: Path) -> Section:
    """What a linear probe of each modality reaches.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        probes = {str(name): (float(p["ua"]), float(p["chance"]), int(p["n"])) for name, p in read_object(path).items()}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UsageError(f"the probes {path} cannot be read: {error}") from error
    series = [Series(name, [100 * p[k] for p in probes.values()]) for k, name in enumerate(("UA", "chance"))]
    bars = Bars("UA of a linear probe of each modality, beside chance", list(probes), series, "per cent", 100)
    rows = [[Cell(name), percent(ua), percent(chance), number(n)] for name, (ua, chance, n) in probes.items()]
    text = "Unweighted average recall of a logistic regression on averaged features, sessions held out in turn."
    blocks: list[Block] = [
        Text(text),
        Grid([Figure(bars, "Linear probes")]),
        Table(("modality", "UA", "chance", "utterances"), rows),
    ]
    return Section("probes", "Probes", blocks)
