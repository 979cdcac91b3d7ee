"""The feature store: the folder that `mmpipe extract` writes.

    features/ami/
      manifest.parquet         rows in shard order, with their shard number
      store.json               format, hash of the manifest, and config, versions and weight hashes of every stage
      {stage}/{shard}.parquet  one row an utterance: utterance_id, status, error, the stage's columns
      logs/                    times, rates, hosts: everything that may differ between two equal runs

Shard k of every stage holds the same utterances in the same order, so joining stages is a zip. The footer of a shard
says what it holds: its fingerprint and the provenance that the fingerprint covers; store.json follows from the footers.

Every file is sealed, and every reader goes through `FeatureStore`: it gives no row of a file of which a byte changed,
of a shard that is a copy of another one, of a stage whose shards were not all made alike, or of a stage that was made
from other shards than the store holds.

Formats (`format` of store.json):

    mmpipe-store/1   vectors as fixed_size_list, which pyarrow before 26 cannot read where a row failed
    mmpipe-store/2   vectors as list, with the width in the field's metadata under the key `width`

Both are read, and give the same tables. `mmpipe extract` makes the shards with vectors of format 1 again; until it has,
a store of format 2 may hold some of them. What the features are is not changed by it: fingerprints stay as they were.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from mmpipe.core.errors import ManifestError, StoreError
from mmpipe.core.files import is_local, location
from mmpipe.core.parquet import fingerprint, read_sealed
from mmpipe.core.seals import file_state, read_sealed_json
from mmpipe.manifests.io import check_held
from mmpipe.pipeline.store.description import check_described
from mmpipe.pipeline.store.provenance import StageProvenance
from mmpipe.pipeline.store.shards import (
    MAKE_AGAIN,
    read_shard_file,
    shard_path,
)
from mmpipe.pipeline.store.soundness import StageCheck, check_stage, remedy
from mmpipe.pipeline.store.writing import STORE_FORMAT

if TYPE_CHECKING:
    from mmpipe.pipeline.store.matrix import FeatureMatrix, Pool

__all__ = [
    "FeatureStore",
    "default_store",
    "open_store",
]

_READABLE_FORMATS = ("mmpipe-store/1", STORE_FORMAT)


def default_store(name: str, *, sample: bool = False) -> Path:
    """Where the store of a corpus is unless a command says otherwise.

    Example:
        >>> default_store("ami", sample=True).as_posix()
        'features/ami-sample'
    """
    return Path("features") / (f"{name}-sample" if sample else name)


def open_store(path: str | Path) -> FeatureStore:
    """The feature store in a folder, or at a URL such as s3://bucket/folder.

    Raises:
        StoreError: it is not a feature store, or was written by a newer format.
    """
    return FeatureStore(location(path))


class FeatureStore:
    """Reads a feature store, and checks what it reads.

    Args:
        path: the folder that `mmpipe extract` wrote.
        while_dropping: open it also where the dropping of rows was stopped (see `mmpipe.pipeline.extraction.drop`).

    Raises:
        StoreError: the folder is not a feature store, store.json is damaged, it was written by a newer format, or lacks
            some rows in some shards.
    """

    def __init__(self, path: Path, *, while_dropping: bool = False) -> None:
        self.path, self._while_dropping = location(path), while_dropping
        self._open()

    def _open(self) -> None:
        """Read store.json, and forget what was checked before."""
        record = self.path / "store.json"
        self._state = self._state_of_record()
        try:
            self.info: dict[str, Any] = read_sealed_json(record)
        except FileNotFoundError as error:
            if (self.path / "manifest.parquet").exists():
                raise StoreError(f"{record} is missing: {_repair(self.path)}") from error
            raise StoreError(
                f"{self.path} is not a feature store, since it holds no store.json: "
                "write one with `mmpipe extract --dataset NAME --out FOLDER`"
            ) from error
        except (OSError, ValueError) as error:
            raise StoreError(
                f"{self.path} is not a feature store that can be read, since store.json is damaged ({error}): "
                f"{_repair(self.path)}"
            ) from error
        if self.info.get("format") not in _READABLE_FORMATS:
            raise StoreError(
                f"{self.path} has format {self.info.get('format')!r}; this version of mmpipe reads "
                f"{' and '.join(_READABLE_FORMATS)}: read it with the version that wrote it, "
                f"{self.info.get('mmpipe', 'which is not named')}, or a later one"
            )
        if problem := check_described(self.info, self.path / "manifest.parquet"):
            raise StoreError(
                f"{self.path} is not a feature store that can be read, since its store.json is damaged ({problem}): "
                f"{_repair(self.path)}, or get the store again from where it came from"
            )
        if self.info.get("dropping") and not self._while_dropping:
            raise StoreError(
                f"{self.path} is losing {len(self.info['dropping'])} rows in a run of --drop-missing that did not end: "
                "run the same `mmpipe extract` again to finish it"
            )
        self.corpus: str = self.info["corpus"]
        self.num_shards: int = self.info["manifest"]["shards"]
        self._manifest: pa.Table | None = None
        self._checks: dict[str, StageCheck] = {}
        self._first_rows: list[int] = []

    def _state_of_record(self) -> tuple[int, ...] | None:
        """What tells store.json from what it was; None where that is not known."""
        record = self.path / "store.json"
        return file_state(record) if is_local(record) and record.exists() else None

    @property
    def described(self) -> dict[str, StageProvenance]:
        """What makes the features of each stage, by stage, as store.json says."""
        return {name: StageProvenance.from_json(value) for name, value in self.info["stages"].items()}

    @property
    def stages(self) -> tuple[str, ...]:
        """Stages that have at least one shard, in the order of extraction."""
        return tuple(stage for stage in self.info["stages"] if any((self.path / stage).glob("[0-9]*.parquet")))

    def manifest(self) -> pa.Table:
        """The manifest, rows in shard order, `shard` filled.

        Raises:
            StoreError: it cannot be read, is damaged, or is not the one that store.json names.
        """
        if self._manifest is None:
            path = self.path / "manifest.parquet"
            try:
                table, footer = read_sealed(path)
                check_held(table, path)
            except ManifestError as error:
                raise StoreError(str(error)) from error
            except (OSError, ValueError) as error:
                raise StoreError(
                    f"{path} cannot be read ({error}): run the same `mmpipe extract` again to write it again"
                ) from error
            if footer.seal != self.info["manifest"].get("sha256", footer.seal):
                raise StoreError(f"{path} is not the manifest that store.json names: {_repair(self.path)}")
            if table.column("shard").null_count:
                raise StoreError(f"{path} is not of a store: a row of it has no shard")
            numbers = table.column("shard").to_numpy()
            if np.any(np.diff(numbers, prepend=0) < 0) or np.any(numbers >= self.num_shards):
                raise StoreError(f"{path} is not of this store: its shards are not 0 to {self.num_shards - 1} in order")
            self._first_rows = np.searchsorted(numbers, np.arange(self.num_shards + 1)).tolist()
            self._manifest = table
        return self._manifest

    def ids_of(self, shard: int) -> pa.ChunkedArray:
        """The utterance ids of a shard, as the manifest says."""
        ids = self.manifest().column("utterance_id")
        first, end = self._first_rows[shard : shard + 2]
        return ids.slice(first, end - first)

    def check(self, stage: str) -> StageCheck:
        """Make sure, by their footers, that the shards of a stage that are there belong together and in this store.

        Raises:
            StoreError: a file is extra, damaged, in the place of another, or made from another upstream shard; or the
                shards were not all made alike, as store.json says.
        """
        if self._state != self._state_of_record():
            self._open()
        if stage in self._checks:
            return self._checks[stage]
        found = check_stage(self.path, stage, self.num_shards)
        for file, problem in found.problems.items():
            raise StoreError(f"{self.path / file} {problem}: {remedy(problem)}")
        if difference := found.difference(self.info["stages"].get(stage, {})):
            raise StoreError(
                f"the shards of stage {stage!r} of {self.path} were not all made alike ({difference}): run "
                f"`mmpipe extract --dataset {self.corpus} --out {self.path} --stages {stage}` with the options of one "
                "of them, and without --slice or with every slice, to make them alike"
            )
        self._checks[stage] = found
        return found

    def read_shard(self, stage: str, shard: int, columns: Sequence[str] | None = None) -> pa.Table:
        """One shard of one stage.

        Raises:
            StoreError: the shard is not there, cannot be read, or is not what was written; or see `check`.
        """
        path = shard_path(self.path, stage, shard)
        wanted = columns if columns is None or "utterance_id" in columns else ["utterance_id", *columns]
        try:
            table, footer = read_shard_file(path, wanted)
        except StoreError as error:
            valid = ", ".join(self.stages) or "none yet"
            raise StoreError(f"shard {shard} of stage {stage!r}: {error}; stages of this store: {valid}") from error
        known = self.check(stage).footers.get(shard)
        if known is None or known.seal != footer.seal:  # made again since this store was opened
            self._open()
            self.check(stage)
        if not table.column("utterance_id").equals(self.ids_of(shard)):
            raise StoreError(f"the utterances of {path} are not those of the manifest: {MAKE_AGAIN}")
        return table if wanted is columns else table.drop_columns(["utterance_id"])

    def read(self, stage: str, columns: Sequence[str] | None = None) -> pa.Table:
        """All shards of a stage, rows in manifest order.

        Raises:
            StoreError: the stage is incomplete, or see `read_shard`.
        """
        tables = [self.read_shard(stage, shard, columns) for shard in range(self.num_shards)]
        if not tables:
            raise StoreError(f"{self.path} holds no utterances")
        return pa.concat_tables(table.replace_schema_metadata(None) for table in tables)

    def to_xy(self, stages: Sequence[str] = (), pool: Pool = "mean") -> FeatureMatrix:
        """Features, labels and speakers of the labelled utterances, ready for scikit-learn.

        Utterances without a label, or with another status than `ok` in one of the stages, are left out and counted in
        `left_out`; a UserWarning says how many lack a stage.

        Args:
            stages: stages with a column `features`, such as `audio`, `expression` and `text`; none takes all that
                the store has.
            pool: what stands for a sequence (faces, word pieces): the `mean` of its steps, or `mean+std`.

        Raises:
            UsageError: the way of pooling does not exist.
            StoreError: a stage is incomplete or has no features, or no labelled utterance has all stages.

        Example:
            >>> d = store.to_xy(["audio", "text"])  # doctest: +SKIP
            >>> cross_val_score(model, d.X, d.y, groups=d.groups, cv=GroupKFold())  # doctest: +SKIP
        """
        from mmpipe.pipeline.store.matrix import feature_matrix

        return feature_matrix(self, stages, pool)

    def footer(self, stage: str, shard: int) -> dict[str, Any]:
        """`fingerprint`, `provenance` and `place` of one shard.

        Raises:
            StoreError: the shard is not there, or see `check`.
        """
        footers = self.check(stage).footers
        if shard not in footers:
            raise StoreError(f"{shard_path(self.path, stage, shard)} does not exist: {MAKE_AGAIN}")
        return footers[shard].metadata

    def columns(self, stage: str) -> tuple[str, ...]:
        """The columns of a stage's first shard; none where it has no shards."""
        footers = self.check(stage).footers
        return tuple(footers[min(footers)].schema.names) if footers else ()

    def statuses(self, stage: str) -> dict[str, int]:
        """How many utterances of a stage have which status, the most frequent first."""
        counts = Counter(self.read(stage, ["status"]).column("status").to_pylist())
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

    def content(self, stage: str) -> str:
        """One hash over the bytes of the shards of a stage, as their footers say."""
        footers = self.check(stage).footers
        return fingerprint([footers[shard].seal for shard in sorted(footers)])


def _repair(path: Path) -> str:
    return f"`mmpipe repair {path}` writes store.json again from manifest.parquet and the footers"
