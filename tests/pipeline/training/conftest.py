"""Small feature stores of made-up features, written as `mmpipe extract` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmpipe.manifests.schema import Utterance, to_table
from mmpipe.pipeline.store.plan import plan
from mmpipe.pipeline.store.provenance import StageProvenance
from mmpipe.pipeline.store.shards import shard_path, shard_schema, write_shard
from mmpipe.pipeline.store.writing import write_store

WIDTHS = {"audio": 20, "expression": 24, "text": 24}


def features_of(label: int, row: int, stage: str, recording: int | None = None) -> Any:
    """A class's own direction under noise: a vector, or one of five to nine steps.

    A recording stretches and moves each dimension by numbers of its own, as other microphones and cameras do.
    """
    generator = np.random.default_rng([row, len(stage)])
    steps = 1 if stage == "audio" else 5 + row % 5
    x = generator.normal(size=(steps, WIDTHS[stage]))
    x[:, label] += 6
    if recording is not None:
        device = np.random.default_rng([recording, 77, len(stage)])
        x = x * device.uniform(0.5, 4, WIDTHS[stage]) + device.normal(0, 20, WIDTHS[stage])
    return x[0].tolist() if stage == "audio" else x.tolist()


def make_store(
    path: Path,
    *,
    labeled: bool = True,
    rows: int = 48,
    missing: tuple[int, ...] = (),
    config: str = "x",
    labels: tuple[str, str] = ("anger", "sadness"),
    spoilt: int | None = None,
    speakers: int = 6,
    split: bool = False,
    pieces: int = 1,
    recording: int | None = None,
) -> Path:
    """A store with two labels.

    Args:
        path: its folder.
        labeled: whether the manifest has the labels.
        rows: utterances.
        missing: rows without a face.
        config: what made the features.
        labels: the names of the labels.
        spoilt: the row that has a NaN in its audio.
        speakers: two share a session; up to five of them are as many folds.
        split: whether the manifest has splits of its own, which make one fold.
        pieces: word pieces of a word.
        recording: which affine map of the features it was recorded with; None is the identity.
    """
    parts = ["train"] * (speakers - 2) + ["dev", "test"]
    manifest = to_table(
        Utterance(
            f"made/{row:03d}",
            "made",
            split=parts[row % speakers] if split else None,
            session=f"s{row % speakers // 2}",
            speaker=f"p{row % speakers}",
            text="so it is",
            label=labels[row // 6 % 2] if labeled else None,
        )
        for row in range(rows)
    )
    ordered = plan(manifest)
    stages = {s: StageProvenance(s, "", {"c": config}, {}, {}) for s in WIDTHS}
    write_store(path, "made", ordered, stages, "0")
    ids, numbers = ordered.column("utterance_id").to_pylist(), ordered.column("shard").to_pylist()
    for stage, width in WIDTHS.items():
        vector = pa.list_(pa.float16() if stage == "text" else pa.float32(), width)
        columns = [pa.field("features", vector if stage == "audio" else pa.list_(vector))]
        if stage == "text":
            columns.insert(0, pa.field("word_index", pa.list_(pa.int32())))
        for shard in sorted(set(numbers)):
            made = []
            for name in (i for i, n in zip(ids, numbers, strict=True) if n == shard):
                row = int(name.rsplit("/")[-1])
                bad = stage == "expression" and row in missing
                values = None if bad else features_of(row // 6 % 2, row, stage, recording)
                if stage == "audio" and row == spoilt and values is not None:
                    values[3] = float("nan")
                if stage == "text" and values is not None:
                    values = list(np.asarray(values, np.float16))  # pyarrow before 21 takes no float for float16
                record = {"utterance_id": name, "status": "no_face" if bad else "ok", "features": values}
                if stage == "text" and values is not None:
                    record["word_index"] = [place // pieces for place in range(len(values))]
                made.append(record)
            table = pa.Table.from_pylist(made, schema=shard_schema(columns))
            write_shard(
                shard_path(path, stage, shard),
                table,
                {"stage": stage, **stages[stage].to_json(), "rows": [r["utterance_id"] for r in made]},
            )
    return path
