"""Baselines beside a finished run: the same folds, paired differences, the tables that say so."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from mmpipe.core.errors import UsageError
from mmpipe.core.files import write_bytes
from mmpipe.core.parquet import write_parquet
from mmpipe.core.seals import read_sealed_json
from mmpipe.pipeline.training.data.inputs import TrainInput
from mmpipe.pipeline.training.metrics import METRICS, Answers, Difference, Summary, paired_difference, summarise
from mmpipe.pipeline.training.results import FoldResult, RunResult
from mmpipe.pipeline.training.run_folder import fold_folder

__all__ = ["Compared", "compare", "read_folds", "refuse_other_data", "write_answers", "write_baselines"]

_ANSWERS = pa.schema(
    [(name, pa.string()) for name in ("baseline", "utterance_id")]
    + [("seed", pa.int64())]
    + [(name, pa.string()) for name in ("label", "predicted")]
)


@dataclass(frozen=True)
class Compared:
    """Figures of one row of a table of baselines.

    Attributes:
        figures: by metric.
        differences: by metric, this minus the run; None of the run itself, and where there is no run.
    """

    figures: Mapping[str, Summary]
    differences: Mapping[str, Difference] | None = None


def compare(
    answers: Mapping[str, Sequence[Answers]], labels: Sequence[str], run: Sequence[Answers] | None = None
) -> dict[str, Compared]:
    """Figures of baselines; beside a run, whose row `run` comes first, with their differences to it.

    Args:
        answers: by baseline, what `answer_baselines` gives.
        labels: the label set.
        run: what the run says of the same utterances.

    Raises:
        TrainingError: the run answered other utterances.
    """
    rows = {} if run is None else {"run": Compared(summarise(run, labels))}
    for name, said in answers.items():
        differences = None if run is None else paired_difference(said, run, labels)
        rows[name] = Compared(summarise(said, labels), differences)
    return rows


def read_folds(path: Path, run: RunResult) -> list[FoldResult]:
    """The folds of a run, by seed and fold, from their fold.json.

    Args:
        path: the run folder.
        run: what `read_run` gave of it.

    Raises:
        UsageError: one cannot be read, or is not of the run.
    """
    folds = []
    for fold in run.folds:
        file = fold_folder(path, fold.name, fold.seed, run.seeds) / "fold.json"
        try:
            result = FoldResult.from_json(read_sealed_json(file))
            told = {label for row in result.predictions for label in (row.label, row.predicted)}
            if (result.name, result.seed) != (fold.name, fold.seed) or not told <= set(run.labels):
                raise ValueError("it is of another run")
            if not result.predictions or not isinstance(result.identity, dict):
                raise ValueError("it lacks predictions or identity")
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{file} cannot be read ({type(error).__name__}: {error}): run the `mmpipe train` of {path} again"
            ) from error
        folds.append(result)
    return folds


def refuse_other_data(path: Path, folds: Sequence[FoldResult], data: TrainInput) -> None:
    """Make sure that a run was trained on the features, labels and folds that baselines are fitted on.

    Raises:
        UsageError: something differs; the message names it.
    """
    now = {fold.name: data.identity_of(fold) for fold in data.folds}
    for fold in folds:
        names = ("labelled features", "labels", "utterances")
        held = now.get(fold.name, data.identity)  # the identity of all folds lacks utterances
        if differ := [name for name in names if fold.identity.get(name, "") != held.get(name)]:
            raise UsageError(
                f"{path} was trained on other data than these ({', '.join(differ)} of fold {fold.name}): name its "
                "store with --labeled, or train again on the store as it is now"
            )


def write_baselines(path: Path, rows: Mapping[str, Compared]) -> None:
    """One line a row of `compare` and metric, as CSV; the difference to the run is empty where there is none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    minus = ["minus_run", "minus_run_low", "minus_run_high"]
    writer.writerow(["baseline", "metric", "mean", "std", "low", "high", *minus])
    for name, row in rows.items():
        for metric in METRICS:
            figures = [f"{x:.6f}" for x in row.figures[metric].to_json().values()]
            d = None if row.differences is None else row.differences[metric]
            writer.writerow(
                [name, metric, *figures, *([""] * 3 if d is None else [f"{x:.6f}" for x in (d.mean, d.low, d.high)])]
            )
    write_bytes(path, text.getvalue().encode())


def write_answers(path: Path, answers: Mapping[str, Sequence[Answers]], labels: Sequence[str]) -> None:
    """One row a baseline, seed and test utterance, as sealed Parquet: what others pair their predictions with."""
    rows = [
        dict(zip(_ANSWERS.names, (name, utterance, said.seed, truth, predicted), strict=True))
        for name, folds in answers.items()
        for said in folds
        for utterance, truth, predicted in zip(said.ids, said.truth, said.predicted, strict=True)
    ]
    write_parquet(
        path, pa.Table.from_pylist(rows, schema=_ANSWERS), {"baselines": list(answers), "labels": list(labels)}
    )
