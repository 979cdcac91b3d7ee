"""The joined store in the forms that other tools expect: one Parquet dataset, or a Hugging Face `datasets` folder.

Both hold one row an utterance with the manifest's columns, and every column of every stage as STAGE_COLUMN
(`audio_status`, `audio_features`, `faces_crops`, ...). Rows that failed in a stage keep their place: their columns
of that stage are null and `STAGE_error` says why. Shards are written one by one: memory does not grow with the store.
The footer of every file holds fingerprints and provenance of the shards that it joins, and what is known of licences.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmpipe.core.errors import StoreError, UsageError
from mmpipe.core.files import canonical_json, explained, write_bytes
from mmpipe.core.locks import writing_alone
from mmpipe.core.parquet import write_parquet
from mmpipe.core.scratch import scratch_beside
from mmpipe.core.text import safe_names
from mmpipe.pipeline.outputs import claim, move_into_place
from mmpipe.pipeline.store.card import dataset_card, licences
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.store.joined import Dtype, joined_shard
from mmpipe.pipeline.store.provenance import made_by
from mmpipe.pipeline.store.soundness import ranges

__all__ = ["Exported", "Form", "export"]

Form = Literal["parquet", "datasets"]

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
    overwrite: bool = False,
) -> Exported:
    """Write the joined store to a folder; it appears whole or not at all.

    Args:
        store: the feature store.
        out: the folder to make.
        form: `parquet`, or `datasets` for a folder that `datasets.load_dataset` reads, with the face crops as images.
        stages: which stages; None takes all that the store has.
        dtype: `float32` casts features that are stored as float16.
        text: with the columns of transcripts: `text`, `words` and word pieces.
        faces: with the pictures of faces.
        overwrite: replace whatever is at `out`, not only an earlier export.

    Raises:
        BusyError: another process is writing `out`.
        UsageError: `out` exists and is not an earlier export, or a stage does not exist.
        StoreError: shards of a stage are missing or damaged, or were not all made alike; or `datasets` is not
            installed.
    """
    known = tuple(store.info["stages"])
    chosen = tuple(known if stages is None else stages)
    if unknown := [stage for stage in chosen if stage not in known]:
        raise UsageError(f"{store.path} has no stage {unknown[0]!r}; stages: {', '.join(known) or 'none yet'}")
    _refuse_incomplete(store, chosen)
    choice = _Choice(chosen, dtype, (*(() if text else _TRANSCRIPTS), *(() if faces else _FACES)))
    with writing_alone(out, "mmpipe export"), explained(out), scratch_beside(out) as part:
        claim(out, "export", overwrite=overwrite)
        write = _write_datasets if form == "datasets" else _write_parquet
        exported = write(store, part, out, choice)
        move_into_place(part, out)
    return exported


def _refuse_incomplete(store: FeatureStore, stages: Sequence[str]) -> None:
    if missing := store.missing(stages):
        which = "; ".join(f"{stage} {ranges(numbers)}" for stage, numbers in missing.items())
        raise StoreError(
            f"{store.path} is incomplete: of {store.num_shards} shards a stage, these are missing: {which}. Run the "
            "same `mmpipe extract` again to make them, or name complete stages with --stages"
        )


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
        yield shard, joined_shard(store, shard, choice.stages, dtype=choice.dtype, left_out=choice.left_out), footer


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
