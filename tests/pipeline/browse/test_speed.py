"""The list answers within 200 ms at 100,000 utterances."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from mmpipe.core.parquet import write_parquet
from mmpipe.manifests.schema import MANIFEST_SCHEMA
from mmpipe.pipeline.browse.catalog import OpenStore, open_catalog
from mmpipe.pipeline.browse.marks import MarkList
from mmpipe.pipeline.browse.media import Clips
from mmpipe.pipeline.browse.pseudo import read_pseudo_labels
from mmpipe.pipeline.browse.server import make_app
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.store.provenance import StageProvenance
from mmpipe.pipeline.store.shards import shard_path, shard_schema, write_shard
from mmpipe.pipeline.store.writing import write_store

ROWS, SHARDS = 100_000, 4
MOST_SECONDS = 0.2
WORDS = (
    "meet",
    "remote",
    "control",
    "button",
    "design",
    "market",
    "yellow",
    "Banana",
    "shape",
    "think",
    "really",
    "no",
)


def make_large_store(folder: Path) -> None:
    """A store of 100,000 utterances of 2,000 speakers with two stages, and a balanced list of all of them."""
    generator = np.random.default_rng(0)
    ids = [f"big/meeting{row // 500:03d}/word{row:06d}@7.2" for row in range(ROWS)]
    words = np.array(WORDS)[generator.integers(0, len(WORDS), (ROWS, 12))]
    span = {"uri": "a.wav", "start_seconds": 1.0, "end_seconds": 8.2}
    columns = {
        "utterance_id": ids,
        "corpus": ["big"] * ROWS,
        "split": [("train", "dev", "test")[row % 3] for row in range(ROWS)],
        "session": [f"s{row // 500}" for row in range(ROWS)],
        "speaker": [f"p{row // 50}" for row in range(ROWS)],
        "audio": [span] * ROWS,
        "text": [" ".join(line) for line in words],
        "label": [None if row % 2 else WORDS[row % 7] for row in range(ROWS)],
        "shard": [row * SHARDS // ROWS for row in range(ROWS)],
    }
    arrays = [pa.array(columns.get(f.name, [None] * ROWS), f.type) for f in MANIFEST_SCHEMA]
    stages = {name: StageProvenance(name, "", {}, {}, {}) for name in ("audio", "text")}
    write_store(folder / "store", "big", pa.table(arrays, schema=MANIFEST_SCHEMA), stages, "0")
    for name, made in stages.items():
        for shard in range(SHARDS):
            part = slice(shard * ROWS // SHARDS, (shard + 1) * ROWS // SHARDS)
            statuses = ["no_audio" if row % 10 == 0 else "ok" for row in range(part.start, part.stop)]
            rows = {"utterance_id": ids[part], "status": statuses, "error": [None] * len(statuses)}
            footer = {"stage": name, **made.to_json(), "rows": shard}
            write_shard(shard_path(folder / "store", name, shard), pa.table(rows, schema=shard_schema([])), footer)
    probabilities = generator.random(ROWS, np.float32)
    pseudo = pa.table({"utterance_id": ids, "pseudo_label": columns["session"], "probability": probabilities})
    write_parquet(folder / "balanced.parquet", pseudo, {"stores": {}})


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("large")
    make_large_store(folder)
    lines = "".join(f"big/meeting{row // 500:03d}/word{row:06d}@7.2,bad,,\n" for row in range(0, ROWS, 20))
    (folder / "marks.csv").write_text(f"utterance_id,mark,label,note\n{lines}")
    store = OpenStore("store", FeatureStore(folder / "store"), None)
    catalog = open_catalog([store], read_pseudo_labels(folder / "balanced.parquet"))
    with Clips() as clips:
        app = make_app(catalog, MarkList(folder / "marks.csv"), clips)
        yield TestClient(app, base_url="http://127.0.0.1:8765")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("/?", 100_000),
        ("/?page=2000", 100_000),
        ("/?q=word04999", 10),
        ("/?q=BANANA+meeting19", None),
        ("/?q=nowhere", 0),
        ("/?speaker=p7", 50),
        ("/?label=(none)&split=dev&session=s3&status.audio=ok", None),
        ("/?low=0.25&high=0.75&pseudo=s9", None),
        ("/?mark=bad", 5_000),
        ("/?mark=no&q=yellow&label=button&low=0.5", None),
        ("/utterance?store=store&id=big/meeting199/word099999@7.2&q=yellow", None),
    ],
)
def test_an_answer_takes_at_most_200_ms_at_100_000_utterances(
    query: str, found: int | None, client: TestClient
) -> None:
    took = []
    for _ in range(3):  # the fastest: other programs share the machine
        began = time.perf_counter()
        answer = client.get(query)
        took.append(time.perf_counter() - began)
        assert answer.status_code == 200
    print(f"{query}: {1000 * min(took):.0f} ms")
    assert min(took) <= MOST_SECONDS
    if found is not None:
        assert f"<strong>{found:,}</strong> of 100,000" in answer.text
