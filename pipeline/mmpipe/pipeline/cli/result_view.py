"""What commands print of runs, balanced lists and tables of runs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpipe.core.errors import UsageError
from mmpipe.pipeline.cli.console import console, styled, table

if TYPE_CHECKING:
    from mmpipe.pipeline.balancing.results import BalanceResult, Calibration
    from mmpipe.pipeline.report.blocks import Table
    from mmpipe.pipeline.training.results import RunResult

__all__ = [
    "list_to_json",
    "run_to_json",
    "show_balance_result",
    "show_list",
    "show_provenance",
    "show_run",
    "show_scores",
    "show_tables",
    "tables_to_json",
]


def show_balance_result(done: BalanceResult) -> None:
    """The counts before and after balancing, what was left out, how calibrated the probabilities are, cautions."""
    of_folds = "" if done.folds[0].fold is None else f" (mean of {len(done.folds)} folds)"
    _show_classes(done)
    beyond = {"beyond the pool": done.beyond} if done.beyond else {}
    for reason, count in (done.excluded | beyond).items():
        console.print(f"Left out of all folds: {count} utterances, {reason}")
    for reason, count in done.total("dropped").items():
        console.print(f"Not drawn: {count / len(done.folds):.0f} utterances{of_folds}, {reason}")
    if done.calibration is not None:
        _show_calibration(done.calibration)
    for caution in done.cautions:
        console.print(styled("[yellow]{}[/]", caution))


def _show_classes(done: BalanceResult) -> None:
    by_fold = done.folds[0].fold is not None
    before, after, distinct = (done.total(name) for name in ("before", "after", "distinct"))
    number = len(done.folds)
    table(
        f"Pseudo-labels (mean of {number} folds)" if by_fold else "Pseudo-labels",
        ["label", "before", "after", "distinct", "repeats"],
        (
            (
                label,
                *(f"{count[label] / number:.0f}" if count else "-" for count in (before, after, distinct)),
                f"{after[label] / max(1, distinct[label]):.1f}" if distinct else "-",
            )
            for label in done.labels
        ),
    )
    if not math.isnan(done.valid_ua):
        looked_at = f" ({','.join(done.modalities)})" if done.modalities else ""
        console.print(
            f"{'The classifiers reach' if by_fold else 'The classifier reaches'} {100 * done.valid_ua:.1f} % UA on the "
            f"validation part{looked_at}"
        )


def _show_calibration(calibration: Calibration) -> None:
    before, after = calibration.before, calibration.after
    table(
        "Confidence and accuracy on the held-out test parts (per cent)",
        ["probability", "utterances", "mean", "right"],
        (
            (f"{100 * b.low:.0f} to {100 * b.high:.0f}", b.n, f"{100 * b.confidence:.1f}", f"{100 * b.accuracy:.1f}")
            for b in after.bins
            if b.n
        ),
    )
    lowest, highest = (pick(calibration.temperatures.values(), default=math.nan) for pick in (min, max))
    console.print(
        f"Expected calibration error on {after.n} test utterances: {100 * before.error:.1f} % before, "
        f"{100 * after.error:.1f} % after temperature scaling (temperatures {lowest:.2f} to {highest:.2f}, fitted on "
        "the validation parts)"
    )


def show_list(path: Path) -> None:
    """A balanced list: how it was made, what it draws, and its folds.

    Raises:
        StoreError: it cannot be read.
    """
    from mmpipe.pipeline.report.lists import list_folds
    from mmpipe.pipeline.report.lists import show_list as read

    shown = read(path)
    done = shown.result
    protocol = f" (protocol {done.protocol}, seed {done.fold_seed})" if done.protocol else ""
    folds = f"for each of {len(done.folds)} folds{protocol}" if shown.is_by_fold else "for all folds"
    console.print(f"{path}: {len(shown.rows)} draws, {folds}")
    name = shown.footer.get("classifier", {}).get("name")
    console.print(f"Labelled by {'classifiers of its own' if name is None else f'the models of the run {name}'}")
    show_balance_result(done)
    if shown.is_by_fold:
        _show_block(list_folds(shown))


def list_to_json(path: Path) -> dict[str, Any]:
    """What `show_list` shows, and the stores that it was made from.

    Raises:
        StoreError: it cannot be read.
    """
    from mmpipe.pipeline.report.lists import show_list as read

    shown = read(path)
    value = asdict(shown.result) | {"rows": len(shown.rows)}
    for fold in value["folds"]:
        fold["valid_ua"] = None if math.isnan(fold["valid_ua"]) else fold["valid_ua"]
    return value | {name: shown.footer.get(name) for name in ("classifier", "stores")}


def show_scores(runs: Sequence[Path]) -> None:
    """A table of runs, pooled over the test utterances of all folds, with 95 % intervals.

    Raises:
        UsageError: a folder does not hold a finished run.
    """
    from mmpipe.pipeline.training.run_folder import read_run

    _show_scores([read_run(run, check_files=False) for run in runs])


def _show_scores(runs: Sequence[RunResult]) -> None:
    from mmpipe.pipeline.training.metrics import METRICS

    table(
        "Pooled over the test utterances of all folds (per cent, ± over seeds or folds, [95 % interval])",
        ["run", "utterances", *METRICS.values()],
        ((run.name, run.pooled.n // run.seeds, *(str(run.summary[name]) for name in METRICS)) for run in runs),
    )


def show_run(path: Path) -> None:
    """A run folder: its figures, confusion, folds, what it left out, its configuration and what made its features.

    Raises:
        UsageError: the folder does not hold a finished run.
    """
    from mmpipe.pipeline.report.run_tables import confusion_table, folds_table
    from mmpipe.pipeline.training.config import make_config
    from mmpipe.pipeline.training.run_folder import read_run

    run = read_run(path, check_files=False)
    config, size = run.config.model_dump(mode="json"), {"size": run.config.size, "objective": run.config.objective}
    console.print(
        f"{path}: a {run.objective} run of {', '.join(run.config.modalities)} on {len(run.folds) // run.seeds} folds, "
        f"trained with {run.seeds} seed{'s' * (run.seeds > 1)} in {run.seconds:.0f} s"
    )
    _show_scores([run])
    _show_block(confusion_table(run))
    _show_block(folds_table(run))
    for reason, count in run.excluded.items():
        console.print(styled("[yellow]{} utterances left out[/]: {}", count, reason))
    for letter, share in run.cut.items():
        if share > 0:
            console.print(f"{100 * share:.1f} % of the utterances have more steps of modality {letter} than are used")
    if run.unlabeled is not None:
        side = run.unlabeled
        console.print(f"Unlabelled: {side.rows} rows to draw from, {side.utterances} different utterances")
        for reason, count in side.excluded.items():
            console.print(styled("[yellow]{} unlabelled utterances left out[/]: {}", count, reason))
        if side.seen:
            console.print(
                styled("[yellow]The list saw labels of test speakers[/] of the folds {}", ", ".join(side.seen))
            )
    if run.exclusions is not None:
        marks = run.exclusions
        console.print(f"Marks of {marks.name}: {len(marks.bad)} bad utterances, {len(marks.labels)} corrected labels")
    usual = make_config(**size).model_dump(mode="json")
    other = {name: value for name, value in config.items() if value != usual[name]}
    changed = ", ".join(f"{name} {json.dumps(value)}" for name, value in {**size, **other}.items())
    console.print(f"Hyper-parameters (others are the defaults): {changed}")
    for stage, made in run.features.items():
        show_provenance(stage, made if isinstance(made, dict) else {"": made})


def run_to_json(path: Path) -> dict[str, Any]:
    """What run.json holds.

    Raises:
        UsageError: the folder does not hold a finished run.
    """
    from mmpipe.pipeline.training.run_folder import read_run

    return {"path": path, **read_run(path, check_files=False).to_json()}


def show_tables(path: Path) -> None:
    """The tables of the paper in a folder of `mmpipe train --table` or `--figure`, and its finished runs.

    Raises:
        UsageError: a table or a run cannot be read, or there is no table of the paper.
    """
    from mmpipe.pipeline.report.blocks import Heading, Table
    from mmpipe.pipeline.report.paper_tables import grid_runs, paper_tables

    _names(path)
    for block in paper_tables([path], []):
        if isinstance(block, Heading):
            console.print(styled("[bold]{}[/]", block.text))
        elif isinstance(block, Table):
            _show_block(block)
    if runs := grid_runs(path):
        show_scores(runs)


def tables_to_json(path: Path) -> dict[str, Any]:
    """What `show_tables` shows; figures are shares of 1.

    Raises:
        UsageError: as `show_tables`.
    """
    from mmpipe.pipeline.report.paper_tables import grid_runs, read_table

    tables = {name: json.loads(read_table(path, name).to_json(orient="records")) for name in _names(path)}
    return {"path": path, "tables": tables, "runs": [run.name for run in grid_runs(path)]}


def _names(path: Path) -> list[str]:
    from mmpipe.pipeline.report.paper_tables import tables_in

    if not (names := tables_in(path)):
        raise UsageError(f"{path} holds no table of the paper: name a folder of `mmpipe train --table` or `--figure`")
    return names


def show_provenance(stage: str, made: Mapping[str, Any]) -> None:
    """What made a stage, a line each."""
    console.print(styled("\n[bold]{}[/] was made by", stage))
    for name, value in made.items():
        console.print(f"  {name}: {json.dumps(value, sort_keys=True)}", markup=False)


def _show_block(block: Table) -> None:
    """A table of the report."""
    table(block.caption, block.columns, ([cell.text for cell in row] for row in block.rows))
