"""Made-up feature stores of the widths and lengths of real ones, and a recording that their utterances lie in.

Features are random: 1,582 values of audio, 18 faces of 342 values and their crops, 20 word pieces of 1,024 values.
Every fiftieth utterance failed in all stages. 25,000 utterances take 1.6 GB.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from mmpipe.manifests.samples import sample_root
from mmpipe.manifests.schema import MediaSpan, Utterance, Word, to_table
from mmpipe.pipeline.store.plan import plan
from mmpipe.pipeline.store.provenance import StageProvenance
from mmpipe.pipeline.store.shards import shard_path, shard_schema, write_shard
from mmpipe.pipeline.store.writing import write_store

__all__ = ["LABELS", "RECORDING", "write_large_store", "write_recording"]

_FACES, _PIECES = 18, 20
RECORDING, _MINUTES = "recording.mp4", 10
_FRAME_RATE, _EVERY = 25, 10
"""Frames a second of the recording, of which every tenth is searched for a face."""

LABELS = ("anger", "happiness", "neutral", "sadness")
_STAGES = {"audio": "is10", "faces": "face-crops", "expression": "densenet-ferplus", "text": "bert"}
_BOX = pa.list_(pa.float32(), 4)
_COLUMNS = {
    "audio": [pa.field("features", pa.list_(pa.float32(), 1582))],
    "faces": [
        pa.field("crops", pa.list_(pa.binary())),
        pa.field("frame_index", pa.list_(pa.int32())),
        pa.field("detected", pa.list_(pa.bool_())),
        pa.field("box", pa.list_(_BOX)),
    ],
    "expression": [pa.field("features", pa.list_(pa.list_(pa.float32(), 342)))],
    "text": [
        pa.field("word_index", pa.list_(pa.int32())),
        pa.field("features", pa.list_(pa.list_(pa.float16(), 1024))),
    ],
}


def write_large_store(path: Path, rows: int, label_of: Callable[[int], str | None]) -> None:
    """Write a store; equal arguments give equal bytes.

    Args:
        path: its folder.
        rows: utterances.
        label_of: the label of an utterance by its number; None gives it none.
    """
    words = tuple(Word(f"word{number}", number * 0.35, number * 0.35 + 0.3) for number in range(_PIECES))
    manifest = to_table(
        Utterance(
            f"made/{row:06d}",
            "made",
            session=f"s{row % 60}",
            speaker=f"p{row % 180}",
            audio=_span(row),
            video=_span(row),
            text=" ".join(word.text for word in words[: 1 + row % _PIECES]),
            words=words[: 1 + row % _PIECES],
            label=label_of(row),
        )
        for row in range(rows)
    )
    ordered = plan(manifest)
    stages = {
        name: StageProvenance(extractor, "", {"every": _EVERY}, {}, {"numpy": np.__version__})
        for name, extractor in _STAGES.items()
    }
    write_store(path, "made", ordered, stages, "0")
    ids, numbers = ordered.column("utterance_id").to_pylist(), ordered.column("shard").to_numpy()
    for name in _STAGES:
        for shard in range(int(numbers.max()) + 1):
            places = np.flatnonzero(numbers == shard)
            held = [ids[place] for place in places]
            table = _shard(name, held, np.random.default_rng([shard, len(name)]))
            provenance = {"stage": name, **stages[name].to_json(), "rows": held}
            write_shard(shard_path(path, name, shard), table, provenance)


def _span(row: int) -> MediaSpan:
    return MediaSpan(RECORDING, _start_seconds(row), _start_seconds(row) + 2 + row % 7)


def _start_seconds(row: int) -> float:
    return row / 10 % (60 * _MINUTES - 10)


def _first_frame(row: int) -> int:
    """The first of the frames that the stage `faces` takes of an utterance."""
    return _EVERY * math.ceil(round(_start_seconds(row) * _FRAME_RATE / _EVERY, 6))


def write_recording(folder: Path) -> None:
    """Write the recording: a sample clip of 640x360 pixels with speech, again and again."""
    import ffmpeg
    import imageio_ffmpeg

    clip = sample_root("meld") / "train_splits" / "dia1_utt1.mp4"
    folder.mkdir(parents=True, exist_ok=True)
    looped = ffmpeg.input(str(clip), stream_loop=-1).output(
        str(folder / RECORDING), t=60 * _MINUTES, r=_FRAME_RATE, vcodec="libx264", preset="ultrafast", acodec="aac"
    )
    looped.run(cmd=imageio_ffmpeg.get_ffmpeg_exe(), quiet=True, overwrite_output=True)


def _shard(name: str, ids: list[str], generator: np.random.Generator) -> pa.Table:
    number = len(ids)
    columns: dict[str, Any] = {
        "utterance_id": ids,
        "status": ["ok" if int(i[-6:]) % 50 else "media_error" for i in ids],
        "error": [None if int(i[-6:]) % 50 else f"m{int(i[-6:]) % 200}.mp4: cannot be decoded" for i in ids],
    }
    schema = shard_schema(_COLUMNS[name])
    if name == "faces":
        noise = generator.integers(0, 255, (8, 16, 16), np.uint8)
        pictures = [cv2.imencode(".png", cv2.resize(image, (64, 64)))[1].tobytes() for image in noise]
        columns["crops"] = [[pictures[(n + k) % 8] for k in range(_FACES)] for n in range(number)]
        first = [_first_frame(int(i[-6:])) for i in ids]
        columns["frame_index"] = [[frame + _EVERY * k for k in range(_FACES)] for frame in first]
        columns["detected"] = [[k % 9 != 4 for k in range(_FACES)]] * number
        columns["box"] = [[[10.0, 10.0, 64.0, 64.0]] * _FACES] * number
        return pa.table(columns, schema)
    width = {"audio": 1582, "expression": 342, "text": 1024}[name]
    steps = {"audio": 1, "expression": _FACES, "text": _PIECES}[name]
    values = generator.standard_normal((number * steps, width)).astype(np.float16 if name == "text" else np.float32)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), width)
    if name == "text":
        columns["word_index"] = [list(range(_PIECES))] * number
    if name == "audio":
        columns["features"] = vectors
    else:
        columns["features"] = pa.ListArray.from_arrays(pa.array(np.arange(number + 1) * steps, pa.int32()), vectors)
    return pa.table(columns, schema)
