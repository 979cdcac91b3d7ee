"""The joined store in the forms that other tools expect: one Parquet dataset, or a Hugging Face `datasets` folder.

Both hold one row an utterance with the manifest's columns, and every column of every stage as STAGE_COLUMN
(`audio_status`, `audio_features`, `faces_crops`, ...). Rows that failed in a stage keep their place: their columns
of that stage are null and `STAGE_error` says why. Shards are written one by one: memory does not grow with the store.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmpipe.core.errors import StoreError, UsageError
from mmpipe.core.files import write_bytes
from mmpipe.core.parquet import write_parquet
from mmpipe.pipeline.store.feature_store import FeatureStore

__all__ = ["Exported", "Form", "export"]

Form = Literal["parquet", "datasets"]

_IMAGES = "faces_crops"
"""The column whose PNG files become images of a `datasets` folder."""

_UNSPLIT = "train"
"""The split of rows whose corpus has none: what `datasets` itself calls a dataset without splits."""

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""How `datasets` stores an image."""


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes:
        path: the folder.
        rows: utterances.
        files: Parquet files.
        columns: names of the columns.
        splits: utterances by split; `datasets` only.
    """

    path: Path
    rows: int
    files: int
    columns: tuple[str, ...]
    splits: dict[str, int]


def _joined_shard(store: FeatureStore, shard: int, stages: Sequence[str]) -> pa.Table:
    """One shard's rows of the manifest beside those of its stages.

    Raises:
        StoreError: a stage lacks the shard, or does not hold the manifest's rows in their order.
    """
    manifest = store.manifest()
    rows = manifest.filter(pc.equal(manifest.column("shard"), shard)).replace_schema_metadata(None)
    fields, arrays = list(rows.schema), list(rows.columns)
    for stage in stages:
        table = store.read_shard(stage, shard)
        if table.column("utterance_id").to_pylist() != rows.column("utterance_id").to_pylist():
            raise StoreError(
                f"{store.path}: shard {shard} of stage {stage!r} does not hold the manifest's rows in their order: "
                "`mmpipe extract` again makes a new one"
            )
        for field in table.schema:
            if field.name != "utterance_id":
                fields.append(field.with_name(f"{stage}_{field.name}").with_nullable(True))
                arrays.append(table.column(field.name))
    schema = pa.schema(fields)
    if len(set(schema.names)) < len(schema.names):
        twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
        raise StoreError(f"{store.path}: two columns would be called {', '.join(twice)}: export fewer stages")
    return pa.Table.from_arrays(arrays, schema=schema)


def export(store: FeatureStore, out: Path, form: Form = "parquet", stages: Sequence[str] | None = None) -> Exported:
    """Write the joined store to a new folder; it appears whole or not at all.

    Args:
        store: the feature store.
        out: the folder to make.
        form: `parquet`, or `datasets` for a folder that `datasets.load_dataset` reads, with the face crops as images.
        stages: which stages; None takes all that the store has.

    Raises:
        UsageError: `out` exists, or a stage does not.
        StoreError: a stage is incomplete, or `datasets` is not installed.
    """
    chosen = tuple(store.stages if stages is None else stages)
    if unknown := [stage for stage in chosen if stage not in store.stages]:
        raise UsageError(f"{store.path} has no stage {unknown[0]!r}; stages: {', '.join(store.stages) or 'none yet'}")
    if out.exists():
        raise UsageError(f"{out} exists: name another folder, or remove it")
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        write = _write_datasets if form == "datasets" else _write_parquet
        exported = write(store, part, out, chosen)
        part.replace(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return exported


def _tables(store: FeatureStore, stages: Sequence[str]) -> Iterator[tuple[int, pa.Table, dict[str, Any]]]:
    """Number, rows and footer of every joined shard; the footer names the fingerprints of what was joined."""
    for shard in range(store.num_shards):
        prints = {stage: store.footer(stage, shard)["fingerprint"] for stage in stages}
        yield shard, _joined_shard(store, shard, stages), {"corpus": store.corpus, "fingerprints": prints}


def _plain(table: pa.Table) -> tuple[str, ...]:
    """Columns of lists of numbers or images, which no dictionary makes smaller."""
    return tuple(
        field.name
        for field in table.schema
        if pa.types.is_nested(field.type) and not field.name.endswith("_tokens") and field.name != "words"
    )


def _write_parquet(store: FeatureStore, part: Path, out: Path, stages: Sequence[str]) -> Exported:
    rows, files, columns = 0, 0, tuple[str, ...]()
    for shard, table, footer in _tables(store, stages):
        write_parquet(part / f"{shard:05d}.parquet", table, footer, plain=_plain(table))
        rows, files, columns = rows + table.num_rows, files + 1, tuple(table.column_names)
    return Exported(out, rows, files, columns, {})


def _write_datasets(store: FeatureStore, part: Path, out: Path, stages: Sequence[str]) -> Exported:
    try:
        import datasets
    except ImportError as error:
        raise StoreError(
            "a `datasets` folder needs the package datasets: `pip install mmpipe[export]`, or export as parquet"
        ) from error
    rows, files, columns, splits = 0, 0, tuple[str, ...](), dict[str, int]()
    for shard, table, _ in _tables(store, stages):
        features = datasets.Features.from_arrow_schema(table.schema.remove_metadata())
        if _IMAGES in table.column_names:
            features[_IMAGES] = datasets.List(datasets.Image())
            table = _with_images(table)
        table = table.cast(features.arrow_schema)
        names = pc.fill_null(table.column("split"), _UNSPLIT)
        for split in sorted(set(names.to_pylist())):
            path = part / "data" / f"{split}-{shard:05d}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            chosen = table.filter(pc.equal(names, split))
            pq.write_table(chosen, path, compression="zstd", use_dictionary=False, row_group_size=100)
            splits[split] = splits.get(split, 0) + chosen.num_rows
            files += 1
        rows, columns = rows + table.num_rows, tuple(table.column_names)
    write_bytes(part / "README.md", _card(store, stages, splits).encode())
    return Exported(out, rows, files, columns, splits)


def _with_images(table: pa.Table) -> pa.Table:
    """The table with its crops as `datasets` stores images: structs of bytes and no path."""
    crops = table.column(_IMAGES).combine_chunks()
    files = crops.flatten()
    images = pa.StructArray.from_arrays([files, pa.nulls(len(files), pa.string())], fields=list(_IMAGE))
    lengths = pc.fill_null(pc.list_value_length(crops), 0)
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(lengths).cast(pa.int32())])
    lists = pa.ListArray.from_arrays(offsets, images, type=pa.list_(_IMAGE), mask=crops.is_null())
    return table.set_column(table.column_names.index(_IMAGES), pa.field(_IMAGES, pa.list_(_IMAGE)), lists)


def _card(store: FeatureStore, stages: Sequence[str], splits: dict[str, int]) -> str:
    """The dataset card: which files are which split, and what made the features."""
    files = "".join(f"  - split: {split}\n    path: data/{split}-*.parquet\n" for split in sorted(splits))
    made = "".join(
        f"| {stage} | {info['extractor']} | {', '.join(f'{k} {v}' for k, v in info['versions'].items())} |\n"
        for stage, info in store.info["stages"].items()
        if stage in stages
    )
    return (
        f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n\n"
        f"# Features of {store.corpus}\n\n"
        f"{sum(splits.values())} utterances, one row each, written by `mmpipe export`. A row that failed in a stage "
        f"has null in that stage's columns and the reason in STAGE_error.\n\n"
        f"| stage | extractor | versions |\n| --- | --- | --- |\n{made}"
    )
