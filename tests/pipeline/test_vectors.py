"""A store holds vectors in a form that every reader of Parquet reads, and still reads the form before it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmpipe.core.parquet import write_parquet
from mmpipe.manifests.schema import Utterance, to_table
from mmpipe.pipeline import open_store
from mmpipe.pipeline.extraction.engines.serial import SerialEngine
from mmpipe.pipeline.extraction.run import ExtractPlan, plan_extraction, run_plan
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.store.matrix import pooled_features
from mmpipe.pipeline.store.shards import shard_path
from mmpipe.pipeline.store.vectors import vectors_as_lists

from .conftest import clip_utterance
from .toys import Vectors, toy

WRITES_FAILED_ROWS = int(pa.__version__.split(".")[0]) >= 25
"""Whether this pyarrow can write a fixed_size_list with a failed row, as stores of format 1 hold it."""


def planned(store: Path, *texts: str) -> ExtractPlan:
    """The plan of a store of the toy `Vectors`, with an utterance a text and one without words, which comes first."""
    rows = [*(clip_utterance(number, text=text) for number, text in enumerate(texts)), Utterance("test/none", "test")]
    return plan_extraction(to_table(rows), "test", store.parent, store, [toy(Vectors)])


def as_format_1(store: Path, stages: Sequence[str]) -> None:
    """Rewrite a store as an earlier version of mmpipe wrote it."""
    info = json.loads((store / "store.json").read_text()) | {"format": "mmpipe-store/1"}
    (store / "store.json").write_text(json.dumps({key: value for key, value in info.items() if key != "seal"}))
    for path in (path for stage in stages for path in (store / stage).glob("*.parquet")):
        table = pq.read_table(path)
        footer = json.loads(pq.read_metadata(path).metadata[b"mmpipe"])
        field = table.schema.field("features")
        metadata = dict(field.metadata)
        fixed = pa.field("features", pa.list_(pa.float32(), int(metadata.pop(b"width"))), metadata=metadata)
        values = pa.array(table.column("features").to_pylist(), fixed.type)
        place = table.column_names.index("features")
        write_parquet(path, table.set_column(place, fixed, values).replace_schema_metadata(None), footer)


def test_a_vector_is_a_list_with_its_width_beside_it_and_a_list_of_vectors_stays_as_it_is(tmp_path: Path) -> None:
    run_plan(planned(tmp_path / "store", "so it is", "yes"), SerialEngine())
    schema = pq.read_schema(shard_path(tmp_path / "store", "toy", 0))
    assert schema.field("features").type == pa.list_(pa.float32())
    assert schema.field("features").metadata[b"width"] == b"2"
    assert schema.field("features").metadata[b"unit"] == b"words"
    assert schema.field("each").type == pa.list_(pa.list_(pa.float32(), 2))
    table = FeatureStore(tmp_path / "store").read("toy")
    assert table.column("features").to_pylist() == [None, [3.0, 3.0], [1.0, 1.0]]


def test_a_vector_of_another_width_than_declared_costs_its_own_row(tmp_path: Path) -> None:
    run_plan(planned(tmp_path / "store", "so it is", "a wide one", "a wider one"), SerialEngine())
    table = FeatureStore(tmp_path / "store").read("toy", ["status", "error", "features", "each"])
    assert table.column("status").to_pylist() == ["no_text", "ok", "extractor_error", "extractor_error"]
    assert table.column("error").to_pylist()[2:] == [
        "column 'features' must have shape (2,), not (3,)",
        "column 'each' must have shape (N, 2), not (3, 4)",
    ]
    assert table.column("features").to_pylist() == [None, [3.0, 3.0], None, None]


@pytest.mark.skipif(not WRITES_FAILED_ROWS, reason="needs pyarrow 25 to write a store of format 1")
def test_a_store_of_format_1_reads_the_same_and_is_made_again_once_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "store"
    run_plan(planned(path, "so it is", "yes"), SerialEngine())
    store = open_store(path)
    table, made, footer = store.read("toy"), store.fingerprint(["toy"]), store.footer("toy", 0)
    written = shard_path(path, "toy", 0).read_bytes()
    as_format_1(path, ["toy"])
    assert open_store(path).read("toy").equals(table)
    assert pooled_features(open_store(path), "toy").X.tolist() == [[0.0, 0.0], [3.0, 3.0], [1.0, 1.0]]
    again = planned(path, "so it is", "yes")
    assert again.reasons == {("toy", "written in the format of an earlier version"): 1}
    run_plan(again, SerialEngine())
    assert open_store(path).info["format"] == "mmpipe-store/2"
    assert shard_path(path, "toy", 0).read_bytes() == written
    assert (open_store(path).fingerprint(["toy"]), open_store(path).footer("toy", 0)) == (made, footer)
    assert planned(path, "so it is", "yes").tasks == ()


@pytest.mark.parametrize("width", [1, 3])
def test_vectors_of_fixed_size_become_lists_also_where_rows_failed_or_the_table_is_a_slice(width: int) -> None:
    rows = [np.arange(width) + number if number % 3 else None for number in range(9)]
    column = pa.array(rows, pa.list_(pa.float32(), width))
    whole = pa.table({"v": pa.chunked_array([column, column.slice(2, 5), column.slice(0, 0)])})
    for table in (whole, whole.slice(4, 8), whole.slice(0, 1), whole.slice(0, 0)):
        lists = vectors_as_lists(table)
        assert lists.column("v").to_pylist() == table.column("v").to_pylist()
        assert lists.schema.field("v").type == pa.list_(pa.float32())
        sink = pa.BufferOutputStream()
        pq.write_table(lists, sink)
        assert pq.read_table(pa.BufferReader(sink.getvalue())).equals(lists)
