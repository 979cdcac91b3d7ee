"""A store that is written once is read alike by pyarrow, polars and DuckDB, failed rows included."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.store.shards import shard_path

SCRIPT = Path(__file__).parents[1] / "read_store.py"
STAGES = ("audio", "expression", "text")


def expected(store: FeatureStore, stage: str) -> list[tuple[str, str, float | None]]:
    """Id, status and sum of the features of each row, None where there are none."""
    rows = store.read(stage, ["utterance_id", "status", "features"]).to_pylist()
    return [(row["utterance_id"], row["status"], total(row["features"])) for row in rows]


def total(features: object) -> float | None:
    """The sum of a vector, or of a list of vectors."""
    return None if features is None else round(float(np.sum(np.asarray(features, np.float64))), 1)


def test_the_script_counts_what_the_store_holds_with_the_installed_pyarrow(sample_store: Path) -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), str(sample_store)], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[1])
    store = FeatureStore(sample_store)
    assert set(found) == set(store.stages)
    assert all(sum(n for name, n in counts.items() if name != "values") == 5 for counts in found.values())
    assert found["audio"] == {"ok": 4, "no_audio": 1, "values": 4 * 1582}


def test_the_script_refuses_a_stage_of_other_rows(sample_store: Path, tmp_path: Path) -> None:
    (tmp_path / "audio").mkdir()
    (tmp_path / "store.json").write_text('{"stages": {"audio": {}}}')
    (tmp_path / "manifest.parquet").write_bytes((sample_store / "manifest.parquet").read_bytes())
    done = subprocess.run([sys.executable, str(SCRIPT), str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "stage audio does not hold the utterances of the manifest in their order" in done.stderr


@pytest.mark.parametrize("stage", STAGES)
def test_polars_reads_every_row(sample_store: Path, stage: str) -> None:
    polars = pytest.importorskip("polars")
    frame = polars.read_parquet(shard_path(sample_store, stage, 0))
    rows = frame.select("utterance_id", "status", "features").rows()
    assert [(name, status, total(features)) for name, status, features in rows] == expected(
        FeatureStore(sample_store), stage
    )


@pytest.mark.parametrize("stage", STAGES)
def test_duckdb_reads_every_row(sample_store: Path, stage: str) -> None:
    duckdb = pytest.importorskip("duckdb")
    path = shard_path(sample_store, stage, 0)
    rows = duckdb.sql(f"select utterance_id, status, features from '{path}'").fetchall()
    assert [(name, status, total(features)) for name, status, features in rows] == expected(
        FeatureStore(sample_store), stage
    )
