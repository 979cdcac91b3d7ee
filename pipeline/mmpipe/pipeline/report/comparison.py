"""The report's section that compares runs: paired differences to the first one."""

from __future__ import annotations

from collections.abc import Sequence

from mmpipe.core.errors import TrainingError
from mmpipe.pipeline.report.blocks import Block, Cell, Figure, Grid, Section, Table, Text
from mmpipe.pipeline.report.charts import Intervals
from mmpipe.pipeline.report.training import ShownRun
from mmpipe.pipeline.training.metrics import METRICS, Difference, paired_difference

__all__ = ["comparison_section"]


def comparison_section(runs: Sequence[ShownRun]) -> Section:
    """The second and later runs minus the first one, with what cannot be compared and why."""
    first, found = runs[0], dict[str, dict[str, Difference]]()
    reasons: dict[str, list[str]] = {}
    for run in runs[1:]:
        name = run.result.name if run.result.name not in found else str(run.path)
        try:
            found[name] = _difference(run, first)
        except TrainingError as error:
            reasons.setdefault(str(error), []).append(name)
    blocks: list[Block] = [
        Text(
            f"Each run minus {first.result.name}, in per cent points, on the same test utterances; in brackets the "
            "95 % interval of the paired bootstrap over these utterances. "
            "Runs whose interval holds 0 are not told apart."
        )
    ]
    if found:
        blocks.append(Grid([_chart(metric, found, first) for metric in ("ua", "wap")]))
        rows = [
            [Cell(name), *(Cell(str(by[metric]), 100 * by[metric].mean) for metric in METRICS)]
            for name, by in found.items()
        ]
        blocks.append(Table(("run", *METRICS.values()), rows, f"Minus {first.result.name}"))
    blocks += [Text(f"Not compared: {', '.join(names)}; {reason}.", quiet=True) for reason, names in reasons.items()]
    return Section("comparison", "Comparison", blocks)


def _difference(run: ShownRun, first: ShownRun) -> dict[str, Difference]:
    if not (run.answers and first.answers):
        raise TrainingError("without fold.json nothing says what was answered: train again")
    if set(run.result.labels) != set(first.result.labels):
        raise TrainingError(f"the labels are {', '.join(run.result.labels)}, not {', '.join(first.result.labels)}")
    return paired_difference(run.answers, first.answers, first.result.labels)


def _chart(metric: str, found: dict[str, dict[str, Difference]], first: ShownRun) -> Figure:
    differences = [by[metric] for by in found.values()]
    values, low, high = ([100 * getattr(d, end) for d in differences] for end in ("mean", "low", "high"))
    label = f"Difference of {METRICS[metric]} to {first.result.name}"
    axis = f"{METRICS[metric]} minus that of {first.result.name}"
    return Figure(Intervals(label, list(found), values, low, high, axis), METRICS[metric])
