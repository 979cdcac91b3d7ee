"""`mmpipe export`: the joined store as one Parquet dataset or a Hugging Face `datasets` folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmpipe.core.errors import UsageError
from mmpipe.pipeline.cli.console import console
from mmpipe.pipeline.store.export import Form, export
from mmpipe.pipeline.store.feature_store import FeatureStore

__all__ = ["run_export"]


def run_export(path: Path, out: Path | None, form: str, stages: Sequence[str]) -> Path:
    """Export a store and print what was written and how to read it.

    Raises:
        UsageError: the form is unknown, the folder exists, or a stage does not.
        StoreError: the folder is no feature store, or a stage of it is incomplete.
    """
    forms: dict[str, Form] = {"parquet": "parquet", "datasets": "datasets"}
    if form not in forms:
        raise UsageError(f"--format {form!r}: valid values are {', '.join(forms)}")
    target = out or Path("exports") / f"{path.resolve().name}-{form}"
    done = export(FeatureStore(path), target, forms[form], list(stages) or None)
    splits = "".join(f", {split} {rows}" for split, rows in done.splits.items())
    console.print(f"{done.rows} utterances, {len(done.columns)} columns in {done.files} files{splits}: {done.path}")
    read = f'datasets.load_dataset("{done.path}")' if form == "datasets" else f'pandas.read_parquet("{done.path}")'
    console.print(f"\nRead it with: [bold cyan]{read}[/]", soft_wrap=True)
    return done.path
