"""`mmpipe export`: the joined store as one Parquet dataset or a Hugging Face `datasets` folder."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mmpipe.pipeline.cli.console import console, result, styled
from mmpipe.pipeline.cli.options import Overwrite, located, names

__all__ = ["Dtype", "Format", "export"]


class Format(StrEnum):
    """What an export can be."""

    PARQUET = "parquet"
    DATASETS = "datasets"


class Dtype(StrEnum):
    """What the features of an export can be."""

    STORED = "stored"
    FLOAT32 = "float32"


def export(
    path: Annotated[Path, typer.Argument(parser=located, metavar="STORE", help="A feature store.")],
    out: Annotated[Path | None, typer.Option(help="The folder to make. Default: exports/STORE-FORMAT.")] = None,
    format_: Annotated[
        Format, typer.Option("--format", help="parquet, or datasets: a Hugging Face folder with crops as images.")
    ] = Format.PARQUET,
    stages: Annotated[str, typer.Option(help="Stages, comma-separated. Default: all of the store.")] = "",
    dtype: Annotated[
        Dtype, typer.Option(help="Of features: as stored, or float32 also where float16 is stored, as Spark needs.")
    ] = Dtype.STORED,
    no_text: Annotated[
        bool, typer.Option("--no-text", help="Leave out transcripts: text, words, word pieces.")
    ] = False,
    no_faces: Annotated[bool, typer.Option("--no-faces", help="Leave out pictures of faces.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Join manifest and stages into one Parquet dataset, or a folder that Hugging Face `datasets` loads."""
    from mmpipe.pipeline.store.export import export as export_store
    from mmpipe.pipeline.store.feature_store import FeatureStore

    target = out or Path("exports") / f"{path.resolve().name}-{format_}"
    done = export_store(
        FeatureStore(path),
        target,
        format_.value,
        names(stages) or None,
        dtype=dtype.value,
        text=not no_text,
        faces=not no_faces,
        overwrite=overwrite,
    )
    splits = "".join(f", {split} {rows}" for split, rows in done.splits.items())
    result(f"{done.rows} utterances, {len(done.columns)} columns in {done.files} files{splits}: {done.path}")
    if done.personal:
        console.print(
            styled(
                "[yellow]{} hold transcripts or faces: the corpus's licence may not allow to share them; --no-text and "
                "--no-faces leave them out[/]",
                ", ".join(done.personal),
            )
        )
    loader = "datasets.load_dataset" if format_ is Format.DATASETS else "pandas.read_parquet"
    console.print(styled("\nRead it with: [bold cyan]{}[/]", f'{loader}("{done.path}")'), soft_wrap=True)
