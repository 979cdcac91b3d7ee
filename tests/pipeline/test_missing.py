"""What a store still lacks is listed by stage and shard, with the reason and the slice that makes it."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mmpipe.manifests.schema import Utterance, to_table
from mmpipe.pipeline.extraction.engines.serial import SerialEngine
from mmpipe.pipeline.extraction.run import commit_plan, plan_extraction, run_plan
from mmpipe.pipeline.extraction.source import Source, record_source

from .runs import call
from .toys import Counting, Threads, toy

pytestmark = pytest.mark.usefixtures("importable")

STAGES = [toy(Counting, "one"), toy(Counting, "two")]


def rows(count: int, text: str = "sentence") -> Any:
    return to_table(Utterance(f"test/{n:06d}", "test", text=f"{text} {n}") for n in range(count))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """90 utterances in six shards of two stages, of which slices 1 and 3 of four are made."""
    for number in (1, 3):
        planned = plan_extraction(rows(90), "test", tmp_path, tmp_path / "store", STAGES, part=(number, 4))
        run_plan(planned, SerialEngine())
    return tmp_path / "store"


def listed(store: Path, *options: object, code: int = 3) -> list[tuple[str, int, int, Any, str]]:
    done = call("inspect", store, "--missing", "--json", *options)
    assert done.returncode == code, done.stderr
    return [(m["stage"], m["shard"], m["rows"], m["slice"], m["why"]) for m in json.loads(done.stdout)["missing"]]


def test_shards_that_were_never_made_are_listed_with_their_slice(store: Path) -> None:
    lacking = {(stage, shard) for stage in ("one", "two") for shard in range(6)}
    made = {(file.parent.name, int(file.stem)) for file in store.glob("*/*.parquet")}
    assert len(made) == 6
    found = listed(store)
    assert {(stage, shard) for stage, shard, *_ in found} == lacking - made
    assert all(part == shard % 4 + 1 for _, shard, _, part, _ in found)  # four slices, by the logs
    assert {why for *_, why in found} == {"not made yet"}
    counts = pq.read_table(store / "manifest.parquet", columns=["shard"])["shard"].to_pylist()
    assert all(number == counts.count(shard) for _, shard, number, *_ in found)
    assert [part for _, _, _, part, _ in listed(store, "--slices", 6)] == [shard + 1 for _, shard, *_ in found]


def test_text_and_csv_say_the_same_without_colours_and_standard_error_says_how_many(store: Path) -> None:
    done = call("inspect", store, "--missing", "--csv")
    lines = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [(m["stage"], int(m["shard"]), int(m["rows"]), int(m["slice"]), m["why"]) for m in lines] == listed(store)
    assert done.returncode == 3
    assert done.stderr == "6 shards of slices 2, 4 are due: run the same `mmpipe extract` again\n"
    text = call("inspect", store, "--missing", "--slices", 3).stdout
    assert "\x1b" not in text and "slice of 3" in text
    assert [line.split() for line in text.splitlines() if "one" in line] == [
        ["one", "2", "1", "16", "not", "made", "yet"],
        ["one", "1", "3", "16", "not", "made", "yet"],
        ["one", "3", "5", "10", "not", "made", "yet"],
    ]


def test_a_complete_store_lacks_nothing_and_ends_with_0(store: Path, tmp_path: Path) -> None:
    run_plan(plan_extraction(rows(90), "test", tmp_path, store, STAGES), SerialEngine())
    done = call("inspect", store, "--missing")
    assert done.returncode == 0 and done.stderr == "" and done.stdout.startswith("Nothing is due")
    assert listed(store, code=0) == []
    assert call("inspect", store, "--missing", "--csv").stdout == "stage,shard,rows,slice,why\n"


def test_the_reasons_are_those_of_the_next_run(store: Path, tmp_path: Path) -> None:
    """Damage, a copy of another shard, other options and other rows, as `mmpipe extract` would say of them."""
    run_plan(plan_extraction(rows(90), "test", tmp_path, store, STAGES), SerialEngine())
    flipped = bytearray((store / "one" / "00001.parquet").read_bytes())
    flipped[len(flipped) // 3] ^= 1
    (store / "one" / "00001.parquet").write_bytes(flipped)
    shutil.copy(store / "one" / "00003.parquet", store / "one" / "00002.parquet")
    (store / "one" / "00004.parquet").write_bytes(b"")
    other = [STAGES[0], toy(Threads, "two")]
    changed = to_table(
        Utterance(f"test/{n:06d}", "test", text=f"{'other' if n > 87 else 'sentence'} {n}") for n in range(90)
    )
    planned = plan_extraction(changed, "test", tmp_path, store, other)
    commit_plan(planned)
    found = listed(store)
    assert {(stage, shard): why for stage, shard, _, _, why in found} == {
        (task.stage.name, task.shard): task.reason for task in planned.tasks
    }
    reasons = dict.fromkeys(why for *_, why in found)
    assert [why for stage, *_, why in found if stage == "one"] == [
        "the file is damaged",
        "the file is a copy of another shard",
        "the file is damaged",
        "changed: manifest rows",
    ]
    assert {"changed: extractor", "changed: extractor, manifest rows"} <= reasons.keys()


def test_a_shard_whose_upstream_shard_is_due_is_due_too(sample_store: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(sample_store, tmp_path / "store"))
    assert listed(store, code=0) == []
    (store / "faces" / "00000.parquet").unlink()
    waits = "its shard of stage faces, which it reads, is due"
    assert listed(store) == [("faces", 0, 5, None, "not made yet"), ("expression", 0, 5, None, waits)]
    (store / "expression" / "00000.parquet").unlink()
    assert listed(store)[1] == ("expression", 0, 5, None, f"not made yet; {waits}")
    (store / "text" / "00000.parquet").unlink()
    assert listed(store)[2] == ("text", 0, 5, None, "not made yet")


def test_a_stage_that_waits_for_statistics_is_due_though_it_is_not_planned(store: Path, tmp_path: Path) -> None:
    run_plan(plan_extraction(rows(90), "test", tmp_path, store, STAGES), SerialEngine())
    options = {"expression": {"statistics": "corpus"}}
    record_source(store, Source("folder", str(tmp_path), stages=("one", "two"), stage_options=options))
    found = listed(store)
    assert [(stage, shard) for stage, shard, *_ in found] == [("expression", shard) for shard in range(6)]
    assert all("waits for the faces of all shards" in why for *_, why in found)


def test_what_is_not_a_store_is_refused_in_one_line(tmp_path: Path) -> None:
    done = call("inspect", tmp_path, "--missing")
    assert done.returncode == 1 and "is not a feature store" in done.stderr and done.stderr.count("\n") == 1
