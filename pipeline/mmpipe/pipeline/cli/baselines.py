"""The baselines of a store, scored and shown, beside a finished run if one is named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmpipe.pipeline.cli.console import console, result, table

if TYPE_CHECKING:
    from mmpipe.pipeline.training.config import TrainConfig
    from mmpipe.pipeline.training.data.inputs import TrainInput
    from mmpipe.pipeline.training.metrics import Answers

__all__ = ["show_baselines", "show_beside"]


def show_baselines(
    config: TrainConfig,
    store: Path,
    folder: Path,
    *,
    seeds: int = 1,
    device: str = "cpu",
    overwrite: bool = False,
    names: Sequence[str] | None = None,
    exclude: Path | None = None,
) -> None:
    """Score baselines on the folds of a run, print them, and write STORE-baselines.csv and .parquet in a folder.

    Without `names` all that have something to say are scored; `exclude` is a list of marks. The other arguments are
    those of `answer_baselines` and `claim`.
    """
    from mmpipe.pipeline.store.exclusions import read_exclusions
    from mmpipe.pipeline.training.data.dataset import Datasets
    from mmpipe.pipeline.training.data.inputs import load_input

    target = folder / f"{store.name}-baselines.csv"
    _claim(target, overwrite=overwrite)
    data = load_input(config, store, datasets=Datasets(None if exclude is None else read_exclusions(exclude)))
    answers = _answer(config, data, seeds, device, names)
    _write(target, answers, data, seeds)


def show_beside(run: Path, store: Path, *, device: str = "cpu", overwrite: bool = False) -> None:
    """Score baselines beside a finished run, as it was trained, and print their paired differences to it.

    Its folds, seeds and hyper-parameters are used; baselines.csv and baselines.parquet are written in the run folder.

    Raises:
        UsageError: the folder does not hold a finished run, or it is of other data than the store.
    """
    from mmpipe.core.locks import writing_alone
    from mmpipe.pipeline.training.comparison import read_folds, refuse_other_data
    from mmpipe.pipeline.training.data.dataset import Datasets
    from mmpipe.pipeline.training.data.inputs import load_input
    from mmpipe.pipeline.training.run_folder import read_run

    made = read_run(run)
    with writing_alone(run, "mmpipe train --baselines", inside=True):
        target = run / "baselines.csv"
        _claim(target, overwrite=overwrite)
        folds, data = read_folds(run, made), load_input(made.config, store, datasets=Datasets(made.exclusions))
        refuse_other_data(run, folds, data)
        answers = _answer(made.config, data, made.seeds, device)
        _write(target, answers, data, made.seeds, [fold.answers for fold in folds])


def _claim(target: Path, *, overwrite: bool) -> None:
    from mmpipe.pipeline.outputs import claim

    claim(target, "table of baselines", overwrite=overwrite)
    claim(target.with_suffix(".parquet"), "predictions of baselines", overwrite=overwrite)


def _answer(
    config: TrainConfig, data: TrainInput, seeds: int, device: str, names: Sequence[str] | None = None
) -> dict[str, list[Answers]]:
    """The answers of baselines, with progress; those that are left out are named."""
    from mmpipe.pipeline.cli.progress import progress
    from mmpipe.pipeline.training.baselines import BASELINES, answer_baselines, count_fits, skipped_baselines

    for note in (data.caution, data.unknown):
        if note:
            console.print(note)
    skipped = skipped_baselines(data)
    chosen = [name for name in names or BASELINES if name not in skipped]
    for name in names or BASELINES:
        if name in skipped:
            console.print(f"Left out: {name}: {skipped[name]}", markup=False)
    with progress("fit") as bars:
        bar = bars.add_task("baselines", total=count_fits(chosen, data, seeds))

        def report(name: str) -> None:
            bars.update(bar, advance=1, description=name)

        return answer_baselines(config, data, seeds, report, chosen, device=device)


def _write(
    target: Path, answers: dict[str, list[Answers]], data: TrainInput, seeds: int, run: list[Answers] | None = None
) -> None:
    """Write and print the tables."""
    from mmpipe.pipeline.training.comparison import compare, write_answers, write_baselines
    from mmpipe.pipeline.training.metrics import METRICS, spread_over

    rows = compare(answers, data.labels, run)
    write_answers(target.with_suffix(".parquet"), answers, data.labels)
    write_baselines(target, rows)
    table(
        f"Baselines (per cent, ± {spread_over(seeds, len(data.folds))}, [95 % interval])",
        ["baseline", *METRICS.values()],
        ((name, *(str(row.figures[m]) for m in METRICS)) for name, row in rows.items()),
    )
    if differences := {name: row.differences for name, row in rows.items() if row.differences is not None}:
        table(
            "Baseline minus run (points, [95 % interval], paired)",
            ["baseline", *METRICS.values()],
            ((name, *(str(found[m]) for m in METRICS)) for name, found in differences.items()),
        )
    result(f"Written: {target}")
