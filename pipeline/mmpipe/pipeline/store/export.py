"""The joined store in the forms that other tools expect: one Parquet dataset, or a Hugging Face `datasets` folder.

Both hold one row an utterance with the manifest's columns, and every column of every stage as STAGE_COLUMN
(`audio_status`, `audio_features`, `faces_crops`, ...). Rows that failed in a stage keep their place: their columns
of that stage are null and `STAGE_error` says why. Shards are written one by one: memory does not grow with the store.
The footer of every file holds fingerprints and provenance of the shards that it joins, and what is known of licences.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmpipe.core.errors import StoreError, UsageError
from mmpipe.core.files import canonical_json, write_bytes
from mmpipe.core.parquet import write_parquet
from mmpipe.core.text import safe_names
from mmpipe.pipeline.store.card import dataset_card, licences
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.store.provenance import made_by

__all__ = ["Dtype", "Exported", "Form", "export"]

Form = Literal["parquet", "datasets"]
Dtype = Literal["stored", "float32"]
"""Of features: as the store holds them, or float32 also where it holds float16, which Spark does not read."""

_IMAGES = "faces_crops"
"""The column whose PNG files become images of a `datasets` folder."""

_TRANSCRIPTS, _FACES = ("text", "words", "tokens"), ("crops",)
"""Columns of the manifest or of a stage with transcripts, and with pictures of faces."""

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
        personal: those of the columns that hold transcripts or pictures of faces.
    """

    path: Path
    rows: int
    files: int
    columns: tuple[str, ...]
    splits: dict[str, int]
    personal: tuple[str, ...]


@dataclass(frozen=True)
class _Choice:
    """What of a store to export."""

    stages: tuple[str, ...]
    dtype: Dtype
    left_out: tuple[str, ...]

    def personal(self, columns: Sequence[str]) -> tuple[str, ...]:
        """Those of the columns of an export that hold transcripts or pictures of faces."""
        names = (*_TRANSCRIPTS, *_FACES)
        return tuple(c for c in columns if c in names or c in {f"{s}_{name}" for s in self.stages for name in names})


def export(
    store: FeatureStore,
    out: Path,
    form: Form = "parquet",
    stages: Sequence[str] | None = None,
    *,
    dtype: Dtype = "stored",
    text: bool = True,
    faces: bool = True,
) -> Exported:
    """Write the joined store to a new folder; it appears whole or not at all.

    Args:
        store: the feature store.
        out: the folder to make.
        form: `parquet`, or `datasets` for a folder that `datasets.load_dataset` reads, with the face crops as images.
        stages: which stages; None takes all that the store has.
        dtype: `float32` casts features that are stored as float16.
        text: with the columns of transcripts: `text`, `words` and word pieces.
        faces: with the pictures of faces.

    Raises:
        UsageError: `out` exists, or a stage does not.
        StoreError: shards of a stage are missing, or `datasets` is not installed.
    """
    known = tuple(store.info["stages"])
    chosen = tuple(known if stages is None else stages)
    if unknown := [stage for stage in chosen if stage not in known]:
        raise UsageError(f"{store.path} has no stage {unknown[0]!r}; stages: {', '.join(known) or 'none yet'}")
    if out.exists():
        raise UsageError(f"{out} exists: name another folder, or remove it")
    _refuse_incomplete(store, chosen)
    choice = _Choice(chosen, dtype, (*(() if text else _TRANSCRIPTS), *(() if faces else _FACES)))
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        write = _write_datasets if form == "datasets" else _write_parquet
        exported = write(store, part, out, choice)
        part.replace(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return exported


def _refuse_incomplete(store: FeatureStore, stages: Sequence[str]) -> None:
    if missing := store.missing(stages):
        which = "; ".join(f"{stage} {_ranges(numbers)}" for stage, numbers in missing.items())
        raise StoreError(
            f"{store.path} is incomplete: of {store.num_shards} shards a stage, these are missing: {which}. Run the "
            "same `mmpipe extract` again to make them, or name complete stages with --stages"
        )


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers, runs of them as ranges.

    Example:
        >>> _ranges([0, 3, 4, 5, 9])
        '0, 3-5, 9'
    """
    runs = [[number for _, number in run] for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def _joined_shard(store: FeatureStore, shard: int, choice: _Choice) -> pa.Table:
    """One shard's rows of the manifest beside those of its stages.

    Raises:
        StoreError: a stage lacks the shard, or does not hold the manifest's rows in their order.
    """
    manifest = store.manifest()
    rows = manifest.filter(pc.equal(manifest.column("shard"), shard)).replace_schema_metadata(None)
    rows = rows.select([name for name in rows.column_names if name not in choice.left_out])
    fields, arrays = list(rows.schema), list(rows.columns)
    for stage in choice.stages:
        table = store.read_shard(stage, shard)
        if table.column("utterance_id").to_pylist() != rows.column("utterance_id").to_pylist():
            raise StoreError(
                f"{store.path}: shard {shard} of stage {stage!r} does not hold the manifest's rows in their order: "
                "`mmpipe extract` again makes a new one"
            )
        for field in table.schema:
            if field.name != "utterance_id" and field.name not in choice.left_out:
                type_ = _as_float32(field.type) if choice.dtype == "float32" else field.type
                fields.append(field.with_name(f"{stage}_{field.name}").with_type(type_).with_nullable(True))
                arrays.append(table.column(field.name).cast(type_))
    schema = pa.schema(fields)
    if len(set(schema.names)) < len(schema.names):
        twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
        raise StoreError(f"{store.path}: two columns would be called {', '.join(twice)}: export fewer stages")
    return pa.Table.from_arrays(arrays, schema=schema)


def _as_float32(type_: pa.DataType) -> pa.DataType:
    """The type with float32 for float16, also inside lists.

    Example:
        >>> str(_as_float32(pa.list_(pa.list_(pa.float16(), 2))))
        'list<item: fixed_size_list<item: float>[2]>'
    """
    if pa.types.is_list(type_) or pa.types.is_fixed_size_list(type_):
        item = type_.value_field.with_type(_as_float32(type_.value_type))
        return pa.list_(item) if pa.types.is_list(type_) else pa.list_(item, type_.list_size)
    return pa.float32() if pa.types.is_float16(type_) else type_


def _tables(store: FeatureStore, choice: _Choice) -> Iterator[tuple[int, pa.Table, dict[str, Any]]]:
    """Number, rows and footer of every joined shard."""
    for shard in range(store.num_shards):
        made = {stage: store.footer(stage, shard) for stage in choice.stages}
        footer = {
            "corpus": store.corpus,
            "fingerprints": {stage: footer["fingerprint"] for stage, footer in made.items()},
            "provenance": {stage: footer["provenance"] for stage, footer in made.items()},
            "licences": licences(store.corpus, (str(f["provenance"].get("extractor")) for f in made.values())),
        }
        yield shard, _joined_shard(store, shard, choice), footer


def _plain(table: pa.Table) -> tuple[str, ...]:
    """Columns of lists of numbers or images, which no dictionary makes smaller."""
    return tuple(
        field.name
        for field in table.schema
        if pa.types.is_nested(field.type) and not field.name.endswith("_tokens") and field.name != "words"
    )


def _write_parquet(store: FeatureStore, part: Path, out: Path, choice: _Choice) -> Exported:
    rows, files, columns = 0, 0, tuple[str, ...]()
    for shard, table, footer in _tables(store, choice):
        write_parquet(part / f"{shard:05d}.parquet", table, footer, plain=_plain(table))
        rows, files, columns = rows + table.num_rows, files + 1, tuple(table.column_names)
    return Exported(out, rows, files, columns, {}, choice.personal(columns))


def _write_datasets(store: FeatureStore, part: Path, out: Path, choice: _Choice) -> Exported:
    try:
        import datasets
    except ImportError as error:
        raise StoreError(
            "a `datasets` folder needs the package datasets: `pip install mmpipe[export]`, or export as parquet"
        ) from error
    rows, files, columns, splits = 0, 0, tuple[str, ...](), dict[str, int]()
    ways: dict[str, dict[str, dict[str, Any]]] = {stage: {} for stage in choice.stages}
    names = sorted({name or _UNSPLIT for name in store.manifest().column("split").unique().to_pylist()})
    files_of = dict(zip(names, safe_names(names), strict=True))
    for shard, table, footer in _tables(store, choice):
        for stage, provenance in footer["provenance"].items():
            general = made_by(provenance)
            ways[stage].setdefault(canonical_json(general), general)
        features = datasets.Features.from_arrow_schema(table.schema.remove_metadata())
        if _IMAGES in table.column_names:
            features[_IMAGES] = datasets.List(datasets.Image())
            table = _with_images(table)
        schema = features.arrow_schema
        metadata = {**(schema.metadata or {}), b"mmpipe": canonical_json(footer).encode()}
        table = table.cast(schema.with_metadata(metadata))
        split_of = pc.fill_null(table.column("split"), _UNSPLIT)
        for split in sorted(set(split_of.to_pylist())):
            path = part / "data" / f"{files_of[split]}-{shard:05d}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            chosen = table.filter(pc.equal(split_of, split))
            pq.write_table(chosen, path, compression="zstd", use_dictionary=False, row_group_size=100)
            splits[split] = splits.get(split, 0) + chosen.num_rows
            files += 1
        rows, columns = rows + table.num_rows, tuple(table.column_names)
    personal = choice.personal(columns)
    stages = {stage: list(made.values()) for stage, made in ways.items()}
    named = {files_of[split]: number for split, number in splits.items()}
    write_bytes(part / "README.md", dataset_card(store.corpus, named, stages, personal).encode())
    return Exported(out, rows, files, columns, splits, personal)


def _with_images(table: pa.Table) -> pa.Table:
    """The table with its crops as `datasets` stores images: structs of bytes and no path."""
    crops = table.column(_IMAGES).combine_chunks()
    files = crops.flatten()
    images = pa.StructArray.from_arrays([files, pa.nulls(len(files), pa.string())], fields=list(_IMAGE))
    lengths = pc.fill_null(pc.list_value_length(crops), 0)
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(lengths).cast(pa.int32())])
    lists = pa.ListArray.from_arrays(offsets, images, type=pa.list_(_IMAGE), mask=crops.is_null())
    return table.set_column(table.column_names.index(_IMAGES), pa.field(_IMAGES, pa.list_(_IMAGE)), lists)
