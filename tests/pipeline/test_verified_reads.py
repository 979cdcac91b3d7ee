"""Every reader finds what is not as it was written: bytes, places, options, upstream shards, media."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmpipe.core.errors import StoreError
from mmpipe.core.files import location
from mmpipe.extractors.weights.checkpoints import PACKAGED_MODEL
from mmpipe.manifests.samples import sample_root
from mmpipe.manifests.schema import to_table
from mmpipe.pipeline.extraction.engines.serial import SerialEngine
from mmpipe.pipeline.extraction.recovery import repair_store
from mmpipe.pipeline.extraction.run import ExtractPlan, plan_extraction, run_plan
from mmpipe.pipeline.extraction.stages import DEFAULT_STAGES, StageSpec, resolve_stages
from mmpipe.pipeline.extraction.tasks import run_task
from mmpipe.pipeline.media.content_hash import media_state
from mmpipe.pipeline.report.stores import show_store
from mmpipe.pipeline.store.export import export
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.store.matrix import pooled_features
from mmpipe.pipeline.store.shards import shard_path, write_shard
from mmpipe.pipeline.store.summary import inspect_store
from mmpipe.pipeline.store.utterance_view import inspect_utterance
from mmpipe.pipeline.store.verify import verify_store
from mmpipe.pipeline.training.config import make_config
from mmpipe.pipeline.training.data.dataset import load_dataset

from .conftest import clip_utterance, tone, write_wav
from .runs import call
from .toys import Counting, GrayFaces, MeanOfCrops, Slow, toy

FACES, MEANS = toy(GrayFaces, "faces"), toy(MeanOfCrops, "expression")


def planned(root: Path, store: Path, stages: list[StageSpec], rows: int = 20, **options: Any) -> ExtractPlan:
    manifest = to_table(clip_utterance(number, label="ab"[number % 2]) for number in range(rows))
    return plan_extraction(manifest, "test", root, store, stages, **options)


def made(root: Path, store: Path, stages: list[StageSpec], rows: int = 20, **options: Any) -> Path:
    run_plan(planned(root, store, stages, rows, **options), SerialEngine())
    return store


@pytest.fixture
def store(corpus_root: Path, tmp_path: Path) -> Path:
    """Two stages of words and one of crops, two shards each."""
    return made(corpus_root, tmp_path / "store", [FACES, MEANS, toy(Counting, "text")])


def everything(store: Path, out: Path) -> dict[str, Callable[[], object]]:
    """The readers of a store that look at all its stages."""
    return {
        "export": lambda: export(FeatureStore(store), out),
        "report": lambda: show_store(store),
        "read": lambda: [FeatureStore(store).read(stage) for stage in ("faces", "expression", "text")],
        "utterances": lambda: [inspect_utterance(store, f"test/clip{number:02d}") for number in (0, 19)],
    }


def assert_all_refuse(store: Path, tmp_path: Path, file: str, remedy: str) -> None:
    for name, read in everything(store, tmp_path / "export").items():
        with pytest.raises(StoreError) as caught:
            read()
        assert file in str(caught.value) and remedy in str(caught.value), (name, caught.value)
    assert any(file in name for name in verify_store(store).damaged)


def numbers(store: Path) -> dict[str, Any]:
    """What a training gets of a store."""
    dataset = load_dataset(FeatureStore(store), make_config())
    return {"ids": dataset.ids, **{name: np.array(array) for name, array in dataset.features.items()}}


def flip_bits(original: Path, copy: Path, out: Path, flips: int, seed: int) -> None:
    """Flip single bits of every file of a store: every reader finds them, or gives what it gave."""
    shutil.copytree(original, copy)
    chance, stages = random.Random(seed), resolve_stages(list(DEFAULT_STAGES), {"text": {"model": PACKAGED_MODEL}})
    rows, before = FeatureStore(copy).manifest().drop_columns(["shard"]), numbers(copy)
    rows = rows.append_column("shard", pa.nulls(len(rows), pa.int32()))
    where = sample_root("iemocap")
    assert plan_extraction(rows, "iemocap", where, copy, stages).tasks == ()
    files = [copy / "manifest.parquet", copy / "store.json", *sorted(copy.glob("*/[0-9]*.parquet"))]
    assert len(files) == 6
    for path in files:
        data, which = path.read_bytes(), path.parent.name
        for place in [*chance.sample(range(len(data)), flips), *chance.sample(range(len(data))[-400:], flips)]:
            path.write_bytes(data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :])
            try:
                export(FeatureStore(copy), out)
            except StoreError:
                pass
            else:
                raise AssertionError(f"export does not find a flip of byte {place} of {path.name}")
            try:
                after = numbers(copy)
            except StoreError:
                pass
            else:
                assert which == "faces" and all(np.array_equal(after[name], before[name]) for name in before), place
            again = plan_extraction(rows, "iemocap", where, copy, stages)
            assert again.damage or which in {task.stage.name for task in again.tasks}, (path.name, place)
            with pytest.raises(StoreError):
                show_store(copy)
        path.write_bytes(data)


def test_a_flipped_bit_of_any_file_is_found_by_plan_train_export_and_report(sample_store: Path, tmp_path: Path) -> None:
    flip_bits(sample_store, tmp_path / "store", tmp_path / "out", flips=3, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_many_flipped_bits_are_found(sample_store: Path, tmp_path: Path, seed: int) -> None:
    flip_bits(sample_store, tmp_path / "store", tmp_path / "out", flips=15, seed=seed)


def test_a_damaged_shard_is_made_again_with_the_reason_and_the_same_bytes(store: Path, corpus_root: Path) -> None:
    path = shard_path(store, "faces", 1)
    data = path.read_bytes()
    path.write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
    again = planned(corpus_root, store, [FACES, MEANS])
    assert again.reasons == {("faces", "the file is damaged"): 1, ("expression", "stage faces is made again"): 1}
    results = list(SerialEngine().run(again.tasks))
    assert path.read_bytes() == data
    assert [(done.stage, done.made, done.reason) for done in results] == [
        ("faces", 4, "the file is damaged"),
        ("expression", 0, "up to date by now"),
    ]
    assert planned(corpus_root, store, [FACES, MEANS]).tasks == ()


def test_swapped_shards_are_found_by_every_reader_and_made_again(
    store: Path, corpus_root: Path, tmp_path: Path
) -> None:
    first, second = shard_path(store, "text", 0), shard_path(store, "text", 1)
    a, b = first.read_bytes(), second.read_bytes()
    first.write_bytes(b), second.write_bytes(a)
    assert_all_refuse(store, tmp_path, "text/00000.parquet", "run the same `mmpipe extract` again")
    again = planned(corpus_root, store, [toy(Counting, "text")])
    assert again.reasons == {("text", "the file is a copy of another shard"): 2}
    run_plan(again, SerialEngine())
    assert (first.read_bytes(), second.read_bytes()) == (a, b)


@pytest.mark.parametrize("kind", ["stage", "store"])
def test_a_shard_of_another_stage_or_store_is_found_by_every_reader(
    store: Path, corpus_root: Path, tmp_path: Path, kind: str
) -> None:
    stages, rows = [toy(Counting, "text" if kind == "store" else "words")], 40
    manifest = to_table(clip_utterance(number) for number in (range(20, rows) if kind == "store" else range(20)))
    other = plan_extraction(manifest, "test", corpus_root, tmp_path / "other", stages)
    run_plan(other, SerialEngine())
    shutil.copy(shard_path(other.store, stages[0].name, 0), shard_path(store, "text", 0))
    assert_all_refuse(store, tmp_path, "text/00000.parquet", "run the same `mmpipe extract` again")
    assert len(planned(corpus_root, store, [toy(Counting, "text")]).tasks) == 1


@pytest.mark.parametrize("name", ["00002.parquet", "00000 (copy).parquet", "notes.txt"])
def test_an_extra_file_in_a_stage_is_found_by_every_reader(
    store: Path, corpus_root: Path, tmp_path: Path, name: str
) -> None:
    shutil.copy(shard_path(store, "text", 0), store / "text" / name)
    assert_all_refuse(store, tmp_path, f"text/{name}", "remove it")
    with pytest.raises(StoreError, match="remove it"):
        planned(corpus_root, store, [FACES])
    (store / "text" / name).rename(store / "text" / ".00002.parquet.host.1.part")  # being written
    FeatureStore(store).read("text")


def test_a_store_half_changed_by_one_slice_is_refused_until_the_other_is_done(
    corpus_root: Path, tmp_path: Path
) -> None:
    before, after = toy(Slow, "text", seconds=0.0), toy(Slow, "text", seconds=0.001)
    store = made(corpus_root, tmp_path / "store", [before, FACES])
    made(corpus_root, store, [after], part=(1, 2))
    for read in (
        lambda: FeatureStore(store).read("text"),
        lambda: FeatureStore(store).read_shard("text", 0),
        lambda: pooled_features(FeatureStore(store), "text"),
        lambda: FeatureStore(store).fingerprint(["text"]),
        lambda: export(FeatureStore(store), tmp_path / "out"),
        lambda: show_store(store),
    ):
        with pytest.raises(StoreError) as caught:
            read()
        said = str(caught.value)
        assert "shards 0 with config.seconds = 0.001" in said and "shards 1 with config.seconds = 0.0" in said
        assert "mmpipe extract" in said
    assert inspect_store(store).stages[1].difference
    FeatureStore(store).read("faces")  # a stage that is whole stays readable
    made(corpus_root, store, [after], part=(2, 2))
    assert FeatureStore(store).read("text").num_rows == 20


def test_rows_made_from_another_upstream_shard_are_refused_and_due_again(store: Path, corpus_root: Path) -> None:
    faces, reader = shard_path(store, "faces", 1), FeatureStore(store)
    footer, table = reader.footer("faces", 1), reader.read_shard("faces", 1).replace_schema_metadata(None)
    crops = pa.array([crop[:1] for crop in table.column("crops").to_pylist()], table.schema.field("crops").type)
    write_shard(faces, table.set_column(3, table.schema.field("crops"), crops), footer["provenance"])
    assert FeatureStore(store).footer("faces", 1)["fingerprint"] == footer["fingerprint"]
    with pytest.raises(StoreError, match=r"expression/00001\.parquet was made from another shard of stage 'faces'"):
        FeatureStore(store).read("expression")
    again = planned(corpus_root, store, [FACES, MEANS])
    assert again.reasons == {("expression", "changed: stage faces"): 1}
    run_plan(again, SerialEngine())
    assert FeatureStore(store).read("expression").num_rows == 20


def test_a_worker_that_finds_another_upstream_shard_than_the_planned_one_stops(store: Path, corpus_root: Path) -> None:
    darker = toy(GrayFaces, "faces", level=20)
    mine = planned(corpus_root, store, [darker, MEANS])
    made_faces = [task for task in mine.tasks if task.stage.name == "faces"]
    assert len(mine.tasks) == 4
    for task in made_faces:
        run_task(task)
    made(corpus_root, store, [FACES])  # another run, with its own options
    with pytest.raises(StoreError, match=r"faces/00000\.parquet is not the shard .* planned to read: another run"):
        run_task(next(task for task in mine.tasks if task.stage.name == "expression"))


def test_media_swapped_between_plan_and_read_give_no_features_under_the_old_hash(tmp_path: Path) -> None:
    root, store, stage = tmp_path / "media", tmp_path / "store", [StageSpec("audio", "is10")]
    root.mkdir()
    for number in range(3):
        write_wav(root / f"clip{number:02d}.wav", tone(0.4, seed=number))
    before = planned(root, store, stage, 3)
    swapped, times = root / "clip01.wav", (root / "clip01.wav").stat()
    write_wav(root / "new.wav", tone(0.4, seed=9))
    assert (root / "new.wav").stat().st_size == times.st_size
    (root / "new.wav").replace(swapped)
    os.utime(swapped, ns=(times.st_atime_ns, times.st_mtime_ns))  # size and time of change are as before
    os.utime(root / "clip02.wav")  # the same bytes: still what was hashed
    run_plan(before, SerialEngine())
    table = FeatureStore(store).read("audio", ["status", "error", "features"])
    assert table.column("status").to_pylist() == ["ok", "media_error", "ok"]
    assert "clip01.wav changed after its content was hashed" in table.column("error")[1].as_py()
    again = planned(root, store, stage, 3)
    assert again.reasons == {("audio", "changed: media content"): 1}
    run_plan(again, SerialEngine())
    fresh = made(root, tmp_path / "fresh", stage, 3)
    assert shard_path(store, "audio", 0).read_bytes() == shard_path(fresh, "audio", 0).read_bytes()


def test_the_state_of_a_media_file_tells_it_from_another_of_the_same_size_and_time(tmp_path: Path) -> None:
    root, states = tmp_path, set()
    for number in range(3):
        (root / "new.wav").write_bytes(b"%d" % number)
        (root / "new.wav").replace(root / "clip.wav")
        os.utime(root / "clip.wav", ns=(10**18, 10**18))
        states.add(media_state(root, "clip.wav"))
    assert len(states) == 3
    remote, seen = location("memory://media-states"), set()
    for number in range(3):
        (remote / "clip.wav").write_bytes(b"%d" % number)
        seen.add(media_state(remote, "clip.wav"))
    assert len(seen) == 3
    assert media_state(root, "none.wav") == media_state(remote, "none.wav") == "missing"
    assert media_state(root, ".") == "unreadable"


@pytest.mark.parametrize("name", ["store.json", "manifest.parquet"])
@pytest.mark.parametrize("damage", ["lost", "cut", "altered", "of another store"])
def test_a_damaged_manifest_or_record_is_refused_by_readers_and_written_again_by_extract(
    store: Path, corpus_root: Path, tmp_path: Path, name: str, damage: str
) -> None:
    path, data = store / name, (store / name).read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "altered":
        path.write_bytes(data[:99] + bytes([data[99] ^ 1]) + data[100:])
    elif damage == "of another store":
        other = made(corpus_root, tmp_path / "other", [FACES], rows=17)
        shutil.copy(other / name, path)
    stages = [FACES, MEANS, toy(Counting, "text")]
    assert call("inspect", store).returncode == 1 if damage == "lost" else True
    with pytest.raises(StoreError, match=r"mmpipe (extract|repair)"):
        export(FeatureStore(store), tmp_path / "out")
    if name == "manifest.parquet" and damage != "of another store":
        with pytest.raises(StoreError, match="run the same `mmpipe extract` again"):
            repair_store(store)
    made(corpus_root, store, stages)
    assert path.read_bytes() == data
    FeatureStore(store).read("text")


def test_repair_writes_the_record_again_byte_by_byte(store: Path) -> None:
    data = (store / "store.json").read_bytes()
    for damaged in (b"", data.replace(b"test", b"tent"), None):
        (store / "store.json").unlink() if damaged is None else (store / "store.json").write_bytes(damaged)
        assert repair_store(store) == ("faces", "expression", "text")
        assert (store / "store.json").read_bytes() == data
    done = call("repair", store)
    assert done.returncode == 0 and "stages faces, expression, text" in done.stdout
    assert call("repair", store.parent).returncode == 1


def rewrite_as_before(path: Path, metadata: dict[str, Any]) -> None:
    """A Parquet file as earlier versions sealed it: by SHA-256 alone, without checksums of pages."""
    schema = pq.read_schema(path).with_metadata({b"mmpipe": json.dumps(metadata).encode()})
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        writer.write_table(pq.read_table(path).cast(schema))
        writer.add_key_value_metadata({b"mmpipe.sha256": b"0" * 64})
    data = sink.getvalue().to_pybytes()
    place = data.rindex(b"0" * 64, data.rindex(b"mmpipe.sha256"))
    path.write_bytes(data[:place] + hashlib.sha256(data).hexdigest().encode() + data[place + 64 :])


def test_a_store_of_an_earlier_version_stays_readable_and_not_a_shard_of_it_is_due(
    store: Path, corpus_root: Path
) -> None:
    table = FeatureStore(store).read("expression")
    for path in store.rglob("*.parquet"):
        footer = json.loads(pq.read_metadata(path).metadata[b"mmpipe"])
        rewrite_as_before(
            path, {name: footer[name] for name in ("fingerprint", "provenance", "corpus") if name in footer}
        )
    info = json.loads((store / "store.json").read_text())
    del info["seal"], info["manifest"]["sha256"]
    (store / "store.json").write_text(json.dumps(info))
    assert FeatureStore(store).read("expression").equals(table)
    assert planned(corpus_root, store, [FACES, MEANS, toy(Counting, "text")]).tasks == ()
    path = shard_path(store, "faces", 0)
    data = path.read_bytes()
    for place in range(40, len(data), len(data) // 40):
        path.write_bytes(data[:place] + bytes([data[place] ^ 2]) + data[place + 1 :])
        with pytest.raises(StoreError):
            FeatureStore(store).read("faces")
    results = list(SerialEngine().run(planned(corpus_root, store, [FACES, MEANS]).tasks))
    assert [(done.stage, done.made) for done in results] == [("faces", 16), ("expression", 16)]  # of unknown faces
    assert FeatureStore(store).read("expression").equals(table)


def test_a_reader_that_stays_open_sees_a_shard_that_was_made_again(store: Path, corpus_root: Path) -> None:
    reader = FeatureStore(store)
    reader.read("faces")
    made(corpus_root, store, [toy(GrayFaces, "faces", level=20), MEANS])
    assert set(reader.read("expression").column("mean").to_pylist()) == {20.0}
    assert reader.described["faces"].config == {"level": 20}
