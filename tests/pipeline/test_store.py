"""A store answers from its files alone: what is in it, in which order, and what made it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mmpipe.core.errors import StorageError, StoreError
from mmpipe.core.parquet import fingerprint
from mmpipe.core.seals import read_sealed_json, write_sealed_json
from mmpipe.manifests.schema import Utterance, to_table
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.store.plan import plan
from mmpipe.pipeline.store.provenance import StageProvenance
from mmpipe.pipeline.store.shards import shard_path, shard_schema, write_shard
from mmpipe.pipeline.store.writing import write_store

MADE = StageProvenance("is10", "audio", {}, {}, {})
COLUMNS = [pa.field("features", pa.list_(pa.float32(), 2))]


def shard(ids: list[str], value: float) -> pa.Table:
    rows: list[dict[str, Any]] = [
        {"utterance_id": i, "status": "ok", "error": None, "features": [value, value]} for i in ids
    ]
    rows[-1] |= {"status": "media_error", "error": "clip.avi: cannot be decoded", "features": None}
    return pa.Table.from_pylist(rows, schema=shard_schema(COLUMNS))


def made(number: int) -> dict[str, Any]:
    """The provenance of a shard whose rows have this hash."""
    return {"stage": "audio", "rows": number, **MADE.to_json()}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    manifest = plan(to_table(Utterance(f"t/{n:02d}", "t") for n in range(20)))
    write_store(tmp_path, "t", manifest, {"audio": MADE}, "0.1.0")
    ids = manifest.column("utterance_id").to_pylist()
    for number in range(2):
        write_shard(
            shard_path(tmp_path, "audio", number),
            shard(ids[16 * number : 16 * number + 16], number),
            made(number),
        )
    return tmp_path


def test_a_stage_is_read_in_manifest_order(store: Path) -> None:
    reader = FeatureStore(store)
    assert reader.stages == ("audio",)
    assert reader.num_shards == 2
    assert reader.read("audio").column("utterance_id").equals(reader.manifest().column("utterance_id"))
    assert reader.statuses("audio") == {"ok": 18, "media_error": 2}


def test_pandas_reads_a_stages_folder_in_manifest_order(store: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(store / "audio")
    assert list(frame["utterance_id"]) == FeatureStore(store).manifest().column("utterance_id").to_pylist()


def test_a_footer_holds_the_provenance_and_its_hash(store: Path) -> None:
    footer = FeatureStore(store).footer("audio", 1)
    assert footer == {
        "fingerprint": fingerprint(made(1)),
        "provenance": made(1),
        "place": {"stage": "audio", "shard": 1},
    }


def test_the_fingerprint_of_a_stage_changes_with_any_shard(store: Path) -> None:
    before = FeatureStore(store).fingerprint(["audio"])
    assert FeatureStore(store).fingerprint(["audio"]) == before
    write_shard(shard_path(store, "audio", 1), FeatureStore(store).read_shard("audio", 1), made(2))
    assert FeatureStore(store).fingerprint(["audio"]) != before


def test_the_same_rows_give_the_same_bytes(store: Path) -> None:
    path = shard_path(store, "audio", 0)
    before = path.read_bytes()
    ids = FeatureStore(store).read_shard("audio", 0).column("utterance_id").to_pylist()
    write_shard(path, shard(ids, 0), made(0))
    assert path.read_bytes() == before


def test_nothing_but_shards_is_left_when_writing_fails(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    before = sorted(path.name for path in (store / "audio").iterdir())
    with pytest.raises(StorageError, match=r"No space left.*free space.*run the same command again"):
        write_shard(shard_path(store, "audio", 1), shard(["a"], 1.0), {"n": 9})
    assert sorted(path.name for path in (store / "audio").iterdir()) == before


def test_a_folder_that_is_no_store_is_said_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="mmpipe extract"):
        FeatureStore(tmp_path)


def test_a_store_of_another_format_is_refused(store: Path) -> None:
    write_sealed_json(store / "store.json", read_sealed_json(store / "store.json") | {"format": "mmpipe-store/9"})
    with pytest.raises(
        StoreError, match="'mmpipe-store/9'; this version of mmpipe reads mmpipe-store/1 and mmpipe-store/2"
    ):
        FeatureStore(store)


def test_an_incomplete_stage_names_the_missing_shard(store: Path) -> None:
    shard_path(store, "audio", 1).unlink()
    with pytest.raises(StoreError, match="shard 1 of stage 'audio'"):
        FeatureStore(store).read("audio")
