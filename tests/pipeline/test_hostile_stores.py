"""Stores from other people: whatever they hold, a command ends soon, with a sentence, and writes where it was told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmpipe.core.parquet import write_parquet
from mmpipe.manifests.io import read_manifest

from ..conftest import Once
from .hostile import calm, edit_json, fifo, linked, stays_inside, write_sealed
from .training.conftest import make_store

EVIL = "[/sad]\x1b[31m\x1b]8;;http://x\x07</script>\u202e"
Change = Callable[[Path], object]


def info(change: Callable[[dict[str, Any]], object]) -> Change:
    return lambda store: edit_json(store / "store.json", change)


def text(content: str | bytes, file: str = "store.json") -> Change:
    data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    return lambda store: (store / file).write_bytes(data)


def put(name: str, target: str) -> Change:
    return lambda store: linked(store / name, target)


def write_manifest(store: Path, table: pa.Table, **options: Any) -> None:
    """Put a manifest into a store, which then names it."""
    seal = write_sealed(store / "manifest.parquet", table, **options)
    edit_json(store / "store.json", lambda v: v["manifest"].update(sha256=seal))


def column(name: str, make: Callable[[int], Any]) -> Change:
    """Replace a column of the manifest."""

    def change(store: Path) -> None:
        path = store / "manifest.parquet"
        table = pq.read_table(path)
        place = table.schema.get_field_index(name)
        values = pa.array([make(row) for row in range(table.num_rows)], table.schema.field(name).type)
        write_manifest(store, table.set_column(place, table.schema.field(name).with_nullable(True), values))

    return change


def shard(change: Callable[[pa.Table], pa.Table], stage: str = "audio") -> Change:
    def apply(store: Path) -> None:
        path = store / stage / "00000.parquet"
        write_sealed(path, change(pq.read_table(path)))

    return apply


def footer(data: bytes | None) -> Change:
    return shard(lambda table: table.replace_schema_metadata(None if data is None else {b"mmpipe": data}))


def placed(place: object) -> Change:
    """Let the footer of a shard say that it is somewhere else."""

    def change(table: pa.Table) -> pa.Table:
        held = json.loads(table.schema.metadata[b"mmpipe"])
        return table.replace_schema_metadata({b"mmpipe": json.dumps(held | {"place": place}).encode()})

    return shard(change)


def repeated(value: str, times: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(times, np.int32)), pa.array([value]))


def folder(store: Path) -> None:
    (store / "store.json").unlink()
    (store / "store.json").mkdir()


def log(content: str | None) -> Change:
    """Put a log of tasks, or a pipe in its place, into the store."""

    def change(store: Path) -> None:
        path = store / "logs" / "tasks.x.jsonl"
        path.parent.mkdir(exist_ok=True)
        if content is None:
            fifo(path)
        else:
            path.write_text(content)

    return change


def bomb(store: Path) -> None:
    """Six hundred bytes that are a gigabyte and a half of text."""
    table = pa.table({"utterance_id": repeated("a" * 1_000_000, 1500)})
    write_sealed(store / "audio" / "00000.parquet", table, compression="zstd", store_schema=False)


def nested_bomb(store: Path) -> None:
    words = pa.ListArray.from_arrays([0, 500_000], repeated("a" * 3000, 500_000))
    write_manifest(store, pa.table({"words": words}), compression="zstd", store_schema=False)


STORES: dict[str, Change] = {
    "shards 1e7": info(lambda v: v["manifest"].update(shards=10**7)),
    "shards and rows 1e7": info(lambda v: v["manifest"].update(shards=10**7, rows=10**7)),
    "shards of a float": info(lambda v: v["manifest"].update(shards=1.5)),
    "shards below 0": info(lambda v: v["manifest"].update(shards=-1)),
    "shards true": info(lambda v: v["manifest"].update(shards=True)),
    "no manifest entry": info(lambda v: v.pop("manifest")),
    "corpus a number": info(lambda v: v.update(corpus=3)),
    "corpus with markup": info(lambda v: v.update(corpus=EVIL)),
    "corpus a path": info(lambda v: v.update(corpus="../../x")),
    "format a list": info(lambda v: v.update(format=[1])),
    "no version": info(lambda v: v.pop("mmpipe")),
    "stages a list": info(lambda v: v.update(stages=["audio"])),
    "stage leaves": info(lambda v: v["stages"].update({"../../x": {}})),
    "stage absolute": info(lambda v: v["stages"].update({"/etc": {}})),
    "stage with markup": info(lambda v: v["stages"].update({EVIL: {}})),
    "stage of 400 letters": info(lambda v: v["stages"].update({"a" * 400: {}})),
    "stage not an object": info(lambda v: v["stages"].update(audio=[])),
    "extractor imports": info(lambda v: v["stages"]["audio"].update(extractor="antigravity:x")),
    "weights a list": info(lambda v: v["stages"]["audio"].update(weights=[1])),
    "dropping a number": info(lambda v: v.update(dropping=3)),
    "dropping objects": info(lambda v: v.update(dropping=[{}])),
    "hash a number": info(lambda v: v["manifest"].update(sha256=3)),
    "nested deep": text('{"a":' * 100_000),
    "nested 900": text('{"a":' * 900 + "1" + "}" * 900),
    "huge integer": text('{"format":' + "9" * 4000 + "}"),
    "not a number": text('{"format": NaN}'),
    "infinite": text('{"format": 1e999}'),
    "half a character": text('{"format": "mmpipe-store/2", "corpus": "\\ud800", "manifest": {}, "stages": {}}'),
    "not UTF-8": text(b'{"format": "\xff"}'),
    "a list": text("[1]"),
    "empty": text(""),
    "a pipe": lambda store: fifo(store / "store.json"),
    "zeros without end": put("store.json", "/dev/zero"),
    "a link to itself": put("store.json", "store.json"),
    "a folder": folder,
    "manifest a pipe": lambda store: fifo(store / "manifest.parquet"),
    "manifest zeros": put("manifest.parquet", "/dev/zero"),
    "manifest empty": text("", "manifest.parquet"),
    "manifest cut": text(b"PAR1\xff\xff\xff\x7fPAR1", "manifest.parquet"),
    "manifest a bomb": nested_bomb,
    "manifest without shards": column("shard", lambda row: None),
    "manifest shards below 0": column("shard", lambda row: -1),
    "manifest shards far": column("shard", lambda row: 2**31 - 1),
    "splits leave": column("split", lambda row: "../../x"),
    "splits absolute": column("split", lambda row: "/tmp/x"),
    "splits long": column("split", lambda row: "a" * 300),
    "splits differ in case": column("split", lambda row: ("Train", "train", "NUL", "a/b", "a_b ")[row % 5]),
    "labels with markup": column("label", lambda row: EVIL),
    "speakers with markup": column("speaker", lambda row: EVIL),
    "ids null": column("utterance_id", lambda row: None),
    "ids leave": column("utterance_id", lambda row: f"../../{row}"),
    "annotations not JSON": column("annotations", lambda row: "{"),
    "annotations deep": column("annotations", lambda row: "[" * 5000),
    "annotations long": column("annotations", lambda row: '{"duration_seconds": ' + "9" * 400 + "}"),
    "words null": column("words", lambda row: [None, {"text": None, "start_seconds": None, "end_seconds": None}]),
    "words not a number": column("words", lambda row: [{"text": "a", "start_seconds": float("nan")}]),
    "no footer": footer(None),
    "footer not JSON": footer(b"{"),
    "footer a list": footer(b"[1]"),
    "footer deep": footer(b"[" * 100_000),
    "footer of other types": footer(json.dumps({"fingerprint": 3, "provenance": []}).encode()),
    "footer of another place": placed("x"),
    "footer of a place half": placed({"shard": []}),
    "footer half": footer(json.dumps({"fingerprint": "x"}).encode()),
    "footer imports": footer(json.dumps({"fingerprint": "x", "provenance": {"extractor": "antigravity:x"}}).encode()),
    "shard a pipe": lambda store: fifo(store / "audio" / "00000.parquet"),
    "shard zeros": put("audio/00000.parquet", "/dev/zero"),
    "shard a bomb": bomb,
    "shard without status": shard(lambda table: table.drop_columns(["status"])),
    "status a number": shard(lambda t: t.set_column(1, "status", pa.array([1] * t.num_rows))),
    "status with markup": shard(lambda t: t.set_column(1, "status", pa.array([EVIL] * t.num_rows))),
    "errors with markup": shard(lambda t: t.set_column(2, "error", pa.array([EVIL] * t.num_rows))),
    "one row too few": shard(lambda table: table.slice(1)),
    "log a pipe": log(None),
    "log of other types": log('[1]\n{"stage": [], "made": {}, "seconds": "x"}\n' + "[" * 9999),
}


@pytest.fixture(scope="module")
def good_store(once: Once) -> Path:
    return once("hostile-store", lambda path: make_store(path / "store")) / "store"


@pytest.mark.parametrize("kind", STORES)
def test_a_hostile_store_costs_a_message(kind: str, good_store: Path, tmp_path: Path) -> None:
    work = tmp_path / "a" / "b" / "work"
    store = work / "store"
    shutil.copytree(good_store, store)
    STORES[kind](store)

    def act() -> None:
        if calm("inspect", store, cwd=work).returncode == 0:
            calm("inspect", store, "--verify", cwd=work)
            calm("inspect", store, "--utterance", "made/000", cwd=work)
        calm("export", store, "--out", work / "out", cwd=work)

    stays_inside(tmp_path, ("a/b/work/out",), act)


def png(side: int, fill: int = 0) -> bytes:
    return bytes(cv2.imencode(".png", np.full((side, side), fill, np.uint8))[1])


@pytest.mark.parametrize(
    "crops",
    [[png(30_000)], [png(63)], [b"\x89PNG"], [None], None, [png(64)[:40]], [png(64) + b"x" * 100_000]],
    ids=["900 megapixels", "too small", "a signature", "null", "no list", "cut", "long"],
)
def test_a_face_that_is_not_a_face_is_not_decoded(crops: list[bytes | None] | None, tmp_path: Path) -> None:
    """OpenCV itself decodes up to 2^30 pixels: the size is compared before."""
    store = make_store(tmp_path / "store", rows=16)
    edit_json(store / "store.json", lambda v: v["stages"].update(faces={}))
    rows = read_manifest(store / "manifest.parquet").column("utterance_id").to_pylist()
    kinds = {"detected": pa.list_(pa.bool_()), "frame_index": pa.list_(pa.int32()), "crops": pa.list_(pa.binary())}
    values: dict[str, Any] = {"detected": [True], "frame_index": [0], "crops": crops}
    table = pa.table(
        {"utterance_id": rows, "status": ["ok"] * 16, "error": pa.nulls(16, pa.string())}
        | {name: pa.array([values[name]] * 16, kind) for name, kind in kinds.items()}
    )
    write_parquet(store / "faces" / "00000.parquet", table, {"fingerprint": "x", "provenance": {}})
    done = calm("inspect", store, "--utterance", rows[0], "--strip", tmp_path / "strip.png", cwd=tmp_path)
    assert (done.returncode == 1 and "64x64 pixels" in done.stderr) or "no face" in done.stderr
    assert not (tmp_path / "strip.png").exists()
