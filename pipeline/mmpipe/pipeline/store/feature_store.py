"""The feature store: the folder that `mmpipe extract` writes.

    features/ami/
      manifest.parquet         rows in shard order, with their shard number
      store.json               format, and resolved config, versions and weight hashes of every stage
      {stage}/{shard}.parquet  one row an utterance: utterance_id, status, error, the stage's columns
      logs/                    times, rates, hosts: everything that may differ between two equal runs

Shard k of every stage holds the same utterances in the same order, so joining stages is a zip. The footer of a shard is
the only authority on what it holds: its fingerprint and the provenance that the fingerprint covers.

Formats (`format` of store.json):

    mmpipe-store/1   vectors as fixed_size_list, which pyarrow before 26 cannot read where a row failed
    mmpipe-store/2   vectors as list, with the width in the field's metadata under the key `width`

Both are read, and give the same tables. `mmpipe extract` makes the shards with vectors of format 1 again; until it has,
a store of format 2 may hold some of them. What the features are is not changed by it: fingerprints stay as they were.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mmpipe.core.errors import ManifestError, StoreError
from mmpipe.core.files import location, write_json
from mmpipe.core.parquet import fingerprint, read_footer, read_metadata, read_parquet, write_parquet
from mmpipe.core.reading import read_object
from mmpipe.manifests.io import read_manifest
from mmpipe.pipeline.store.description import check_described
from mmpipe.pipeline.store.provenance import StageProvenance
from mmpipe.pipeline.store.vectors import is_stored_form, stored_field, vectors_as_lists

__all__ = [
    "FeatureStore",
    "default_store",
    "made_with",
    "open_store",
    "read_table",
    "shard_path",
    "shard_schema",
    "write_shard",
    "write_store",
]

_STORE_FORMAT = "mmpipe-store/2"
"""What this version writes."""

_OWN = ("utterance_id", "status", "error")
"""The columns of every shard that are texts."""

_TEXTS = (pa.string(), pa.large_string(), pa.string_view())
"""What a text may be in a table that another tool wrote."""

_READABLE_FORMATS = ("mmpipe-store/1", _STORE_FORMAT)


def default_store(name: str, *, sample: bool = False) -> Path:
    """Where the store of a corpus is unless a command says otherwise.

    Example:
        >>> default_store("ami", sample=True).as_posix()
        'features/ami-sample'
    """
    return Path("features") / (f"{name}-sample" if sample else name)


def shard_path(store: Path, stage: str, shard: int) -> Path:
    """Where shard `shard` of `stage` is.

    Example:
        >>> shard_path(Path("features/ami"), "audio", 7).as_posix()
        'features/ami/audio/00007.parquet'
    """
    return store / stage / f"{shard:05d}.parquet"


def shard_schema(columns: Iterable[pa.Field]) -> pa.Schema:
    """The columns that every shard has, then the stage's own, with vectors of fixed size as lists."""
    return pa.schema(
        [
            pa.field("utterance_id", pa.string(), nullable=False),
            pa.field("status", pa.string(), nullable=False),
            pa.field("error", pa.string()),
            *map(stored_field, columns),
        ]
    )


def write_shard(path: Path, table: pa.Table, provenance: dict[str, Any]) -> None:
    """Write one shard whole, with its provenance and the fingerprint of it in the footer.

    Vectors of fixed size are written as lists, which every reader of Parquet reads.
    """
    footer = {"fingerprint": fingerprint(provenance), "provenance": provenance}
    plain = tuple(name for name in table.column_names if name not in ("status", "error", "tokens"))
    write_parquet(path, vectors_as_lists(table), footer, plain=plain)


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A Parquet file, or some of its columns; vectors are lists, in whatever format the store was written.

    Raises:
        StoreError: it is not there or cannot be read.
    """
    try:
        table = vectors_as_lists(read_parquet(path, columns))
    except (OSError, ValueError) as error:
        why = "" if isinstance(error, OSError) else _of_earlier_format(path)
        raise StoreError(
            f"{path} cannot be read ({error}{why}): run the same `mmpipe extract` again to make it again"
        ) from error
    for name in columns or ():
        if name not in table.column_names:
            raise StoreError(f"{path} has no column {name!r}: run the same `mmpipe extract` again to make it again")
    return table


def _of_earlier_format(path: Path) -> str:
    try:
        earlier = not is_stored_form(read_footer(path)[1])
    except (OSError, ValueError):
        return ""
    return "; it is in the format of an earlier version, which needs pyarrow 26 or later" if earlier else ""


def made_with(path: Path, provenance: dict[str, Any]) -> bool:
    """Whether the shard at `path` is there, in the present format, and was made with `provenance`."""
    try:
        if not path.exists():
            return False
        footer, schema = read_footer(path)
        return footer.get("fingerprint") == fingerprint(provenance) and is_stored_form(schema)
    except (OSError, pa.ArrowInvalid):
        return False


def write_store(
    path: Path,
    corpus: str,
    manifest: pa.Table,
    stages: Mapping[str, StageProvenance],
    version: str,
    existing: pa.Table | None = None,
) -> None:
    """Write manifest.parquet and store.json of a planned store.

    Args:
        path: the store's folder.
        corpus: the corpus's name.
        manifest: rows in shard order.
        stages: what decides the values of each stage.
        version: of mmpipe.
        existing: the manifest that is there; if it is equal, it is left alone, as is an equal store.json.

    Raises:
        StorageError: the folder cannot be written.
    """
    shards = 1 + max(manifest.column("shard").to_pylist(), default=-1)
    info = {
        "format": _STORE_FORMAT,
        "mmpipe": version,
        "corpus": corpus,
        "manifest": {"rows": manifest.num_rows, "shards": shards},
        "stages": {name: stage.to_json() for name, stage in stages.items()},
    }
    target = path / "manifest.parquet"
    if existing is None or not existing.equals(manifest):
        write_parquet(target, manifest, {"corpus": corpus})
    if not ((path / "store.json").is_file() and FeatureStore(path).info == info):
        write_json(path / "store.json", info)


def open_store(path: str | Path) -> FeatureStore:
    """The feature store in a folder, or at a URL such as s3://bucket/folder.

    Raises:
        StoreError: it is not a feature store, or was written by a newer format.
    """
    return FeatureStore(location(path))


class FeatureStore:
    """Reads a feature store.

    Args:
        path: the folder that `mmpipe extract` wrote.

    Raises:
        StoreError: the folder is not a feature store, or was written by a newer format.
    """

    def __init__(self, path: Path) -> None:
        self.path = location(path)
        try:
            self.info: dict[str, Any] = read_object(self.path / "store.json")
        except (OSError, ValueError) as error:
            raise StoreError(
                f"{self.path} is not a feature store: store.json cannot be read ({error}); "
                "write one with `mmpipe extract --dataset NAME --out FOLDER`"
            ) from error
        if self.info.get("format") not in _READABLE_FORMATS:
            raise StoreError(
                f"{self.path} has format {self.info.get('format')!r}; this version of mmpipe reads "
                f"{' and '.join(_READABLE_FORMATS)}: read it with the version that wrote it, "
                f"{self.info.get('mmpipe', 'which is not named')}, or a later one"
            )
        if problem := check_described(self.info, self.path / "manifest.parquet"):
            raise StoreError(
                f"{self.path} is not a feature store: its store.json is damaged ({problem}): get the store again from "
                "where it came from, or run the same `mmpipe extract` again into a new folder"
            )
        self.corpus: str = self.info["corpus"]
        self.num_shards: int = self.info["manifest"]["shards"]
        self._manifest: pa.Table | None = None

    @property
    def described(self) -> dict[str, StageProvenance]:
        """What makes the features of each stage, by stage, as store.json says."""
        return {name: StageProvenance.from_json(value) for name, value in self.info["stages"].items()}

    @property
    def stages(self) -> tuple[str, ...]:
        """Stages that have at least one shard, in the order of extraction."""
        return tuple(stage for stage in self.info["stages"] if any((self.path / stage).glob("[0-9]*.parquet")))

    def manifest(self) -> pa.Table:
        """The manifest, rows in shard order, `shard` filled."""
        if self._manifest is None:
            try:
                self._manifest = read_manifest(self.path / "manifest.parquet")
            except ManifestError as error:
                raise StoreError(str(error)) from error
            shards = self._manifest.column("shard")
            if shards.null_count or (pc.min(shards).as_py() or 0) < 0:
                raise StoreError(f"{self.path / 'manifest.parquet'} is not of a store: a row of it has no shard")
        return self._manifest

    def read_shard(self, stage: str, shard: int, columns: Sequence[str] | None = None) -> pa.Table:
        """One shard of one stage.

        Raises:
            StoreError: the shard is not there or cannot be read.
        """
        path = shard_path(self.path, stage, shard)
        try:
            table = read_table(path, columns)
            for name in _OWN if columns is None else [name for name in _OWN if name in columns]:
                if name not in table.column_names or table.schema.field(name).type not in _TEXTS:
                    raise StoreError(f"{path} has no texts in the column {name!r}: run `mmpipe extract` again")
            return table
        except StoreError as error:
            valid = ", ".join(self.stages) or "none yet"
            raise StoreError(f"shard {shard} of stage {stage!r}: {error}; stages of this store: {valid}") from error

    def read(self, stage: str, columns: Sequence[str] | None = None) -> pa.Table:
        """All shards of a stage, rows in manifest order.

        Raises:
            StoreError: the stage is incomplete.
        """
        tables = [self.read_shard(stage, shard, columns) for shard in range(self.num_shards)]
        if not tables:
            raise StoreError(f"{self.path} holds no utterances")
        return pa.concat_tables(table.replace_schema_metadata(None) for table in tables)

    def footer(self, stage: str, shard: int) -> dict[str, Any]:
        """`fingerprint` and `provenance` of one shard.

        Raises:
            StoreError: the shard is not there or cannot be read.
        """
        path = shard_path(self.path, stage, shard)
        try:
            made = read_metadata(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise StoreError(f"the footer of {path} cannot be read: {error}") from error
        if not (isinstance(made.get("fingerprint"), str) and isinstance(made.get("provenance"), dict)):
            raise StoreError(f"the footer of {path} does not say what made it: run `mmpipe extract` again to redo it")
        return made

    def statuses(self, stage: str, shards: Iterable[int] | None = None) -> dict[str, int]:
        """How many utterances of a stage (of these shards of it) have which status, the most frequent first."""
        counts: Counter[str] = Counter()
        for shard in range(self.num_shards) if shards is None else shards:
            counts.update(self.read_shard(stage, shard, ["status"]).column("status").to_pylist())
        return dict(counts.most_common())

    def missing(self, stages: Sequence[str]) -> dict[str, tuple[int, ...]]:
        """The numbers of the shards that are not there, by stage; stages that have all of theirs are left out."""
        absent = {
            stage: tuple(n for n in range(self.num_shards) if not shard_path(self.path, stage, n).exists())
            for stage in stages
        }
        return {stage: numbers for stage, numbers in absent.items() if numbers}

    def fingerprint(self, stages: Sequence[str]) -> str:
        """One hash over the shards of these stages: it changes when any feature of theirs may have changed."""
        prints = {s: [self.footer(s, shard)["fingerprint"] for shard in range(self.num_shards)] for s in stages}
        return fingerprint(prints)
