"""The tables of a run folder."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from mmpipe.core.errors import UsageError
from mmpipe.core.files import write_bytes
from mmpipe.core.parquet import write_parquet
from mmpipe.pipeline.training.results import FoldResult

__all__ = ["check_events", "write_events", "write_history", "write_predictions"]

_PREDICTIONS = pa.schema(
    [
        ("utterance_id", pa.string()),
        ("fold", pa.string()),
        ("seed", pa.int64()),
        ("label", pa.string()),
        ("predicted", pa.string()),
        ("probabilities", pa.list_(pa.float32())),
    ]
)


def write_history(path: Path, done: Sequence[FoldResult]) -> None:
    """One line an epoch of every fold, as CSV.

    Args:
        path: the file.
        done: results by seed and fold.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, ["seed", "fold", *done[0].history[0]], lineterminator="\n")
    writer.writeheader()
    for fold in done:
        for row in fold.history:
            figures = {name: value if name == "epoch" else f"{value:.6g}" for name, value in row.items()}
            writer.writerow({"seed": fold.seed, "fold": fold.name, **figures})
    write_bytes(path, text.getvalue().encode())


def write_predictions(path: Path, done: Sequence[FoldResult], labels: Sequence[str]) -> None:
    """One row a test utterance of every fold, as Parquet; `labels` orders the probabilities."""
    rows = [{"fold": fold.name, "seed": fold.seed, **row.to_json()} for fold in done for row in fold.predictions]
    write_parquet(path, pa.Table.from_pylist(rows, schema=_PREDICTIONS), {"labels": list(labels)})


def check_events() -> None:
    """Make sure that event files can be written.

    Raises:
        UsageError: the package tensorboard is not installed.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise UsageError("TensorBoard logs need the package tensorboard: pip install 'mmpipe[tensorboard]'") from error


def write_events(folder: Path, done: Sequence[FoldResult]) -> None:
    """The figures of every epoch as TensorBoard event files, one folder a fold; earlier ones are replaced.

    Raises:
        UsageError: the package tensorboard is not installed.
    """
    check_events()
    from torch.utils.tensorboard import SummaryWriter

    shutil.rmtree(folder, ignore_errors=True)
    for fold in done:
        with SummaryWriter(str(folder / f"seed-{fold.seed}" / fold.name)) as writer:
            for row in fold.history:
                for name, value in row.items():
                    if name != "epoch":
                        writer.add_scalar(name, value, int(row["epoch"]))
