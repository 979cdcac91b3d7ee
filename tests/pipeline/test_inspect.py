"""Inspecting says what is there, of finished, half-finished and damaged stores, and of manifests."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow as pa
import pytest

from mmpipe.core.errors import StoreError, UsageError
from mmpipe.manifests.io import write_manifest
from mmpipe.manifests.schema import MediaSpan, Utterance, to_table
from mmpipe.pipeline.cli.inspect import inspect
from mmpipe.pipeline.extraction.engines.serial import SerialEngine
from mmpipe.pipeline.extraction.run import plan_extraction, run_plan
from mmpipe.pipeline.extraction.stages import StageSpec
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.store.manifest_summary import durations_seconds, summarise_manifest
from mmpipe.pipeline.store.shards import shard_path
from mmpipe.pipeline.store.summary import inspect_store
from mmpipe.pipeline.store.utterance_view import inspect_utterance

from .conftest import clip_utterance, write_video

AUDIO = StageSpec("audio", "is10")


@pytest.fixture(scope="module")
def original(corpus_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty good clips, one missing, one broken: two shards."""
    bad = [Utterance(f"test/{name}", "test", audio=MediaSpan(f"{name}.wav")) for name in ("broken", "gone")]
    good = [clip_utterance(number, label="happy" if number < 5 else "sad") for number in range(20)]
    path = tmp_path_factory.mktemp("inspect") / "store"
    run_plan(plan_extraction(to_table([*good, *bad]), "test", corpus_root, path, [AUDIO]), SerialEngine())
    return path


@pytest.fixture
def store(original: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(original, tmp_path / "store"))


def timed(number: int, seconds: float, **values: str) -> Utterance:
    return Utterance(f"test/{number}", "test", audio=MediaSpan("a.wav", 10.0, 10.0 + seconds), **values)  # type: ignore[arg-type]


def test_statuses_and_failures_are_counted_by_reason(store: Path) -> None:
    stage = inspect_store(store).stages[0]
    assert stage.statuses == {"ok": 20, "media_error": 1, "media_missing": 1}
    assert {(f.status, f.count, f.utterance_id) for f in stage.failures} == {
        ("media_error", 1, "test/broken"),
        ("media_missing", 1, "test/gone"),
    }
    assert stage.shards == 2
    assert stage.bytes == sum(file.stat().st_size for file in (store / "audio").iterdir())


def test_provenance_is_that_of_the_footers(store: Path) -> None:
    stage = inspect_store(store).stages[0]
    footer = FeatureStore(store).footer("audio", 0)["provenance"]
    assert stage.configs == 1
    assert stage.provenance["extractor"] == "is10" == footer["extractor"]
    assert stage.provenance.items() <= footer.items()
    assert stage.provenance.keys().isdisjoint({"rows", "media", "upstream"})


def test_the_rate_is_rows_over_seconds_of_the_log(store: Path) -> None:
    for log in (store / "logs").glob("tasks*"):
        log.unlink()
    lines = [json.dumps({"stage": "audio", "made": 30, "seconds": 2.0}), json.dumps({"stage": "audio", "made": 10})]
    (store / "logs" / "tasks.one.1.jsonl").write_text("\n".join([lines[0], lines[1], '{"stage": "au']))
    (store / "logs" / "tasks.two.1.jsonl").write_text(lines[0])
    assert inspect_store(store).stages[0].utterances_per_second == pytest.approx(60 / 4)


def test_a_half_made_store_tells_what_is_there(store: Path) -> None:
    shard_path(store, "audio", 0).unlink()
    stage = inspect_store(store).stages[0]
    assert stage.shards == 1
    assert sum(stage.statuses.values()) == 22 - 16


def test_a_damaged_shard_is_named(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = shard_path(store, "audio", 1)
    path.write_bytes(path.read_bytes()[:50])
    assert list(inspect_store(store).stages[0].damaged) == ["audio/00001.parquet"]
    inspect(store)
    assert "00001.parquet is damaged" in capsys.readouterr().out


def test_a_manifest_alone_is_summarised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [timed(n, seconds, label=label) for n, (seconds, label) in enumerate([(1, "sad"), (2, "sad"), (3, "angry")])]
    write_manifest(to_table(rows), tmp_path / "m.parquet", {})
    summary = inspect_store(tmp_path / "m.parquet")
    assert summary.stages == ()
    assert summary.manifest.counts["label"] == {"sad": 2, "angry": 1}
    inspect(tmp_path / "m.parquet")
    assert "sad 2, angry 1" in capsys.readouterr().out


def test_eighty_per_cent_of_the_utterances_are_no_longer_than_the_mark() -> None:
    manifest = summarise_manifest(to_table(timed(n, float(n)) for n in range(1, 12)))
    assert manifest.percentile_seconds == pytest.approx(9.0)
    assert manifest.median_seconds == pytest.approx(6.0)
    assert manifest.hours == pytest.approx(66 / 3600)


def test_blank_transcripts_and_unknown_durations_are_not_counted() -> None:
    manifest = summarise_manifest(
        to_table([Utterance("a", "test", text=" "), Utterance("b", "test", text="yes", audio=MediaSpan("b.wav"))])
    )
    assert (manifest.with_text, manifest.with_audio, manifest.unlabelled) == (1, 1, 2)
    assert manifest.median_seconds is None


def test_an_utterance_shows_its_row_of_every_stage(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    view = inspect_utterance(store, "test/clip03")
    rows = FeatureStore(store).read("audio").to_pylist()
    features = next(row["features"] for row in rows if row["utterance_id"] == "test/clip03")
    assert view.utterance.label == "happy"
    assert view.stages["audio"]["features"].tolist() == features
    assert view.stages["audio"]["fingerprint"] == FeatureStore(store).footer("audio", 0)["fingerprint"]
    inspect(store, "test/clip03")
    shown = capsys.readouterr().out
    assert "this is clip number 3" in shown
    assert "float32 [1582], mean" in shown


def test_an_utterance_that_failed_shows_why(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inspect(store, "test/gone")
    assert "media_missing (" in capsys.readouterr().out


def test_an_unknown_utterance_is_refused_with_the_nearest_ids(store: Path) -> None:
    with pytest.raises(UsageError, match=r"no utterance 'test/clip3'.*test/clip03"):
        inspect_utterance(store, "test/clip3")


def test_a_folder_that_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not a feature store"):
        inspect_store(tmp_path)


def test_the_face_strip_holds_the_crops_side_by_side(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", frames=35)
    manifest = to_table([Utterance("test/a", "test", video=MediaSpan("a.mp4"))])
    faces = StageSpec("faces", "face-crops", {"detector": "full-frame"})
    run_plan(plan_extraction(manifest, "test", tmp_path, tmp_path / "store", [faces]), SerialEngine())
    inspect(tmp_path / "store", "test/a", strip=tmp_path / "strip.png")
    strip = cv2.imread(str(tmp_path / "strip.png"), cv2.IMREAD_UNCHANGED)
    assert strip is not None and strip.shape == (64, 4 * 64)
    crops = FeatureStore(tmp_path / "store").read("faces").column("crops")[0].as_py()
    first = cv2.imdecode(np.frombuffer(crops[0], np.uint8), cv2.IMREAD_UNCHANGED)
    assert first is not None and np.array_equal(strip[:, :64], first)
    (tmp_path / "strip.png").write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        inspect(tmp_path / "store", "test/a", strip=tmp_path / "strip.png")


def test_a_strip_of_an_utterance_without_crops_is_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no face crops"):
        inspect(store, "test/clip03", strip=tmp_path / "strip.png")


def test_a_million_rows_are_summarised_without_python_objects() -> None:
    rows = to_table(timed(n, 1.0 + n % 9, speaker=f"s{n % 7}") for n in range(1000))
    manifest = pa.concat_tables([rows] * 1000)
    assert summarise_manifest(manifest).counts["speaker"]["s0"] == 143_000


def test_a_clip_without_an_end_lasts_as_long_as_its_corpus_says() -> None:
    rows = [
        Utterance("x/1", "x", audio=MediaSpan("a.mp4"), annotations={"duration_seconds": 2.5, "season": "4"}),
        Utterance("x/2", "x", audio=MediaSpan("b.mp4", 1.0, 2.0), annotations={"duration_seconds": 9}),
        Utterance("x/3", "x", audio=MediaSpan("c.mp4"), annotations={"note": "long"}),
        Utterance("x/4", "x", audio=MediaSpan("d.mp4")),
    ]
    assert durations_seconds(to_table(rows)).to_pylist() == [2.5, 1.0, None, None]


def test_an_utterance_is_cut_out_of_its_corpus(store: Path, corpus_root: Path, tmp_path: Path) -> None:
    inspect(store, "test/clip03", clip=tmp_path / "clip.wav", root=corpus_root)
    with av.open(str(corpus_root / "clip03.wav")) as whole, av.open(str(tmp_path / "clip.wav")) as cut:
        assert whole.duration and cut.duration == pytest.approx(whole.duration, abs=50_000)
