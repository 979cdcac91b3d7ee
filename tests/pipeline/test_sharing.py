"""Jobs that share a store, runs that meet on one, and runs that only say what they would do."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from mmpipe.core.errors import UsageError
from mmpipe.manifests.io import write_manifest
from mmpipe.manifests.schema import MediaSpan, Utterance, to_table
from mmpipe.pipeline.cli.app import app
from mmpipe.pipeline.cli.options import parse_slice
from mmpipe.pipeline.extraction.corpus import extract_corpus
from mmpipe.pipeline.extraction.engines.serial import SerialEngine
from mmpipe.pipeline.extraction.request import ExtractRequest
from mmpipe.pipeline.extraction.run import commit_plan, plan_extraction, run_plan
from mmpipe.pipeline.extraction.stages import StageSpec
from mmpipe.pipeline.store.feature_store import FeatureStore

from .conftest import clip_utterance, tone, write_video, write_wav
from .runs import contents, start
from .toys import Counting, toy

pytestmark = pytest.mark.usefixtures("importable")


AUDIO = StageSpec("audio", "is10")


def sentences(count: int) -> list[Utterance]:
    return [Utterance(f"test/{number:06d}", "test", text=f"sentence {number}") for number in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_slices_make_every_shard_once_and_the_store_of_one_run(tmp_path: Path, count: int) -> None:
    manifest, stages = to_table(sentences(90)), [toy(Counting, "one"), toy(Counting, "two")]
    run_plan(plan_extraction(manifest, "test", tmp_path, tmp_path / "whole", stages), SerialEngine())
    made: list[tuple[str, int]] = []
    for number in range(1, count + 1):
        planned = plan_extraction(manifest, "test", tmp_path, tmp_path / "sliced", stages, part=(number, count))
        result = run_plan(planned, SerialEngine(), lambda done: made.append((done.stage, done.shard)))
        assert sum(result.statuses["one"].values()) == sum(task.rows.num_rows for task in planned.tasks) / 2
    assert sorted(made) == [(stage, shard) for stage in ("one", "two") for shard in range(6)]
    assert contents(tmp_path / "sliced") == contents(tmp_path / "whole")


def test_a_slice_hashes_its_own_media_only(corpus_root: Path, tmp_path: Path) -> None:
    manifest = to_table(clip_utterance(number) for number in range(20))
    planned = plan_extraction(manifest, "test", corpus_root, tmp_path, [AUDIO], part=(2, 2))
    commit_plan(planned)
    hashed = json.loads((tmp_path / "logs" / "media_hashes.json").read_text())
    uris = {row["audio"]["uri"] for task in planned.tasks for row in task.rows.to_pylist()}
    assert set(hashed) == uris
    assert len(uris) == 4


def test_a_slice_that_was_planned_before_another_one_added_a_stage_does_not_remove_it(tmp_path: Path) -> None:
    manifest, one, two = to_table(sentences(20)), toy(Counting, "one"), toy(Counting, "two")
    early = plan_extraction(manifest, "test", tmp_path, tmp_path / "store", [one], part=(1, 2))
    run_plan(plan_extraction(manifest, "test", tmp_path, tmp_path / "store", [one, two], part=(2, 2)), SerialEngine())
    run_plan(early, SerialEngine())
    assert list(FeatureStore(tmp_path / "store").info["stages"]) == ["one", "two"]


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "-1/2", "1/2/3", ""])
def test_a_slice_that_cannot_be_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(UsageError, match="expected I/N"):
        parse_slice(text)


def test_a_slice_out_of_range_is_refused_with_the_range_of_a_job_array() -> None:
    for text in ("0/8", "9/8"):
        with pytest.raises(UsageError, match=r"slices are counted from 1, so 8 jobs of Slurm are --array=1-8"):
            parse_slice(text)


def test_a_dry_run_estimates_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "corpus"
    root.mkdir()
    for number in range(20):
        write_video(root / f"clip{number:02d}.mp4", 12, audio=tone(0.48, seed=number))
    stages = ["audio", "faces", "expression"]
    where = ["--dataset", "folder", "--root", str(root), "--out", str(tmp_path / "store")]
    what = ["--stages", ",".join(stages), "--set", "faces.detector=full-frame", "--workers", "1", "--device", "cpu"]

    app(["extract", *where, *what, "--dry-run"], standalone_mode=False)
    shown = capsys.readouterr().out
    assert not (tmp_path / "store").exists()
    assert "Estimate, from 8 utterances of each stage" in shown
    estimated = float(shown.split("workers and ")[1].split(" MB")[0])
    options = {"faces": {"detector": "full-frame"}}
    request = ExtractRequest("folder", root, tmp_path / "store", stages=stages, stage_options=options, device="cpu")
    extract_corpus(request, SerialEngine())
    size = sum(path.stat().st_size for stage in stages for path in (tmp_path / "store" / stage).iterdir()) / 1e6
    assert estimated == pytest.approx(size, rel=0.25)
    before = contents(tmp_path / "store")
    capsys.readouterr()
    app(["extract", *where, *what, "--dry-run"], standalone_mode=False)
    assert "Nothing to do" in capsys.readouterr().out
    assert contents(tmp_path / "store") == before


def is_reading(pid: int, path: Path) -> bool:
    """Whether a process has a file open, by /proc/PID/fd (proc(5))."""
    with suppress(OSError):
        return any(link.readlink() == path for link in Path(f"/proc/{pid}/fd").iterdir())
    return False


def test_ctrl_c_does_not_wait_for_large_media_to_be_hashed(tmp_path: Path) -> None:
    write_wav(tmp_path / "clip.wav", tone(0.5))
    with (tmp_path / "huge.wav").open("wb") as stream:
        stream.truncate(60 << 30)  # sparse: takes no disk, and minutes to hash
    manifest = to_table([Utterance(n, "folder", audio=MediaSpan(n)) for n in ("clip.wav", "huge.wav")])
    write_manifest(manifest, tmp_path / "manifest.parquet", {})
    where = ["--root", tmp_path, "--manifest", tmp_path / "manifest.parquet", "--out", tmp_path / "store"]
    process = start("extract", "--dataset", "folder", *where, "--stages", "audio", "--device", "cpu")
    deadline = time.monotonic() + 60
    while not is_reading(process.pid, tmp_path / "huge.wav"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - began < 2
    assert process.returncode == 130
    assert "run the same command again" in errors
