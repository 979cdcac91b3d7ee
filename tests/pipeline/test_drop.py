"""A store whose corpus lost clips keeps its other features, wherever the dropping of their rows is stopped."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmpipe.core.errors import BusyError, StoreError, UsageError
from mmpipe.extractors.weights.checkpoints import PACKAGED_MODEL
from mmpipe.manifests.schema import MediaSpan, Utterance, to_table
from mmpipe.pipeline.extraction import drop
from mmpipe.pipeline.extraction.corpus import extract_corpus
from mmpipe.pipeline.extraction.drop import drop_missing, finish_drop
from mmpipe.pipeline.extraction.engines.serial import SerialEngine
from mmpipe.pipeline.extraction.recovery import repair_store
from mmpipe.pipeline.extraction.request import ExtractListener, ExtractRequest
from mmpipe.pipeline.extraction.run import plan_extraction, run_plan
from mmpipe.pipeline.extraction.stages import DEFAULT_STAGES, resolve_stages
from mmpipe.pipeline.extraction.tasks import TaskResult
from mmpipe.pipeline.store.export import export
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.store.verify import verify_store

from .runs import call, contents

TOY = {"toy": {"extractor": "tests.pipeline.toys:Counting"}}


class Heard(ExtractListener):
    """What was made and dropped."""

    def __init__(self) -> None:
        self.made: list[int] = []
        self.dropped: list[str] = []

    def on_task(self, done: TaskResult) -> None:
        """Note it."""
        self.made.append(done.shard)

    def on_dropped(self, ids: Sequence[str]) -> None:
        """Note them."""
        self.dropped += ids


def write_rows(root: Path, numbers: Sequence[int]) -> None:
    root.mkdir(exist_ok=True)
    rows = "".join(f"clips/{number:03d}.wav,words of clip {number}\n" for number in numbers)
    (root / "t.csv").write_text("file,text\n" + rows)


def extract(root: Path, out: Path, **given: object) -> Heard:
    heard = Heard()
    options = {"corpus_options": {"table": "t.csv"}, "stages": ("toy",), "stage_options": TOY, **given}
    extract_corpus(ExtractRequest("folder", root, out, **options), SerialEngine(), heard)  # type: ignore[arg-type]
    return heard


def ids(store: Path) -> list[str]:
    """As the files say it, without mmpipe."""
    files = sorted((store / "toy").glob("*.parquet"))
    return [value for file in files for value in pq.read_table(file).column("utterance_id").to_pylist()]


def test_a_row_inserted_at_the_top_leaves_the_finished_shards_alone(tmp_path: Path) -> None:
    write_rows(tmp_path / "root", range(1, 41))
    extract(tmp_path / "root", tmp_path / "store")
    before = contents(tmp_path / "store")
    write_rows(tmp_path / "root", range(41))
    assert extract(tmp_path / "root", tmp_path / "store").made == [3]
    after = contents(tmp_path / "store")
    assert all(after[f"toy/0000{shard}.parquet"] == before[f"toy/0000{shard}.parquet"] for shard in range(3))
    assert sorted(ids(tmp_path / "store")) == [f"folder/clips/{number:03d}.wav" for number in range(41)]


def test_lost_clips_are_refused_by_number_and_name_and_dropped_where_the_user_says_so(tmp_path: Path) -> None:
    write_rows(tmp_path / "root", range(40))
    root, store = tmp_path / "root", tmp_path / "store"
    extract(root, store)
    before = contents(store)
    write_rows(root, [number for number in range(42) if number not in (3, 5)])
    with pytest.raises(
        StoreError, match=r"2 utterances .*\(folder/clips/003.wav, folder/clips/005.wav\).*--drop-missing"
    ):
        extract(root, store)
    assert contents(store) == before
    heard = extract(root, store, drop_missing=True)
    assert heard.dropped == ["folder/clips/003.wav", "folder/clips/005.wav"]
    assert heard.made == [3], "the shard without its lost rows is up to date, and the new clips have their own"
    after = contents(store)
    assert [name for name in before if name.startswith("toy/") and after[name] != before[name]] == ["toy/00000.parquet"]
    present = [f"folder/clips/{number:03d}.wav" for number in range(42) if number not in (3, 5)]
    assert ids(store) == FeatureStore(store).manifest().column("utterance_id").to_pylist() == present
    found = verify_store(store)
    assert not found.damaged and not found.missing
    assert extract(root, store).made == [] and contents(store) == after


def test_shards_that_lose_all_rows_stay_empty_or_go_at_the_end(tmp_path: Path) -> None:
    write_rows(tmp_path / "root", range(64))
    root, store = tmp_path / "root", tmp_path / "store"
    extract(root, store)
    write_rows(root, [*range(16), *range(32, 47)])
    extract(root, store, drop_missing=True)
    assert [pq.read_metadata(file).num_rows for file in sorted((store / "toy").glob("*"))] == [16, 0, 15]
    assert not (found := verify_store(store)).damaged and not found.missing
    both = {"stages": ("toy", "text"), "stage_options": TOY | {"text": {"model": PACKAGED_MODEL}}}
    assert extract(root, store, **both).made == [0, 1, 2], "a new stage has the empty shard as well"
    assert FeatureStore(store).statuses("text") == {"ok": 31}
    exported = export(FeatureStore(store), tmp_path / "joined", stages=("toy", "text"))
    assert exported.rows == 31
    assert pq.read_table(tmp_path / "joined").num_rows == 31
    write_rows(root, range(64))
    assert extract(root, store).made == [3, 4, 5], "what comes back is new"
    assert len(set(ids(store))) == 64


def test_a_damaged_shard_is_removed_and_made_again(tmp_path: Path) -> None:
    """Written again without its rows, damaged values would get a new seal."""
    root, store = tmp_path / "root", tmp_path / "store"
    write_rows(root, range(20))
    extract(root, store)
    (store / "toy" / "00000.parquet").write_bytes(b"PAR1")
    write_rows(root, range(1, 20))
    assert extract(root, store, drop_missing=True).made == [0]
    assert not (found := verify_store(store)).damaged and not found.missing


def test_a_store_that_shares_nothing_with_the_corpus_is_refused(tmp_path: Path) -> None:
    write_rows(tmp_path / "root", range(3))
    extract(tmp_path / "root", tmp_path / "store")
    before = contents(tmp_path / "store")
    write_rows(tmp_path / "root", range(10, 13))
    with pytest.raises(StoreError, match="has none of them"):
        extract(tmp_path / "root", tmp_path / "store", drop_missing=True)
    assert contents(tmp_path / "store") == before


def test_a_store_with_names_of_an_earlier_version_says_so_and_can_be_kept(tmp_path: Path) -> None:
    root, store = tmp_path / "root", tmp_path / "store"
    write_rows(root, range(3))
    old = [
        Utterance(
            f"folder/clips/{n:03d}.wav#{n + 2}", "folder", audio=MediaSpan(f"clips/{n:03d}.wav"), text=f"words of {n}"
        )
        for n in range(3)
    ]
    run_plan(plan_extraction(to_table(old), "folder", root, store, resolve_stages(["toy"], TOY)), SerialEngine())
    before = contents(store)
    with pytest.raises(StoreError, match=r"named by their number before this version.*--out.*--manifest"):
        extract(root, store)
    with pytest.raises(StoreError, match="named by their number before this version"):
        extract(root, store, drop_missing=True)
    assert extract(root, store, manifest=store / "manifest.parquet").made == []
    assert contents(store) == before


def test_dropping_goes_with_neither_a_slice_nor_a_dry_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="without --slice"):
        ExtractRequest("folder", tmp_path, tmp_path, part=(1, 2), drop_missing=True)
    refused = call("extract", "-d", "folder", "--root", tmp_path, "--dry-run", "--drop-missing")
    assert refused.returncode == 2 and "--drop-missing" in refused.stderr + refused.stdout


def test_another_run_on_the_store_stops_the_dropping(tmp_path: Path) -> None:
    write_rows(tmp_path / "root", range(3))
    extract(tmp_path / "root", tmp_path / "store")
    before = contents(tmp_path / "store")
    lock = {"host": "elsewhere", "pid": 1, "started": "1", "space": "another", "since": 1.0, "what": "mmpipe extract"}
    path = tmp_path / "store" / "logs" / "run.0123456789ab.lock"
    path.write_text(json.dumps(lock | {"options": "others", "part": [1, 1]}))
    write_rows(tmp_path / "root", range(2))
    with pytest.raises(BusyError, match=r"is being written by mmpipe extract \(process 1 on elsewhere"):
        extract(tmp_path / "root", tmp_path / "store", drop_missing=True)
    assert contents(tmp_path / "store") == before
    with pytest.raises(BusyError, match=r"is being written by another process: mmpipe extract \(process 1"):
        repair_store(tmp_path / "store")
    os.utime(path, (1, 1))  # no sign of life for years
    assert extract(tmp_path / "root", tmp_path / "store", drop_missing=True).dropped == ["folder/clips/002.wav"]
    assert not list((tmp_path / "store").rglob("*.lock"))


def test_slices_wait_for_the_one_that_finishes_a_dropping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, store, finish, finished = tmp_path / "root", tmp_path / "store", drop._finish, list[str]()
    write_rows(root, range(40))
    extract(root, store)
    write_rows(root, range(1, 40))

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    def slowly(path: Path) -> None:
        finished.append(threading.current_thread().name)
        time.sleep(0.5)
        finish(path)

    monkeypatch.setattr(drop, "_finish", killed)
    with suppress(KeyboardInterrupt):
        extract(root, store, drop_missing=True)
    with pytest.raises(StoreError, match="did not end"):
        FeatureStore(store)
    monkeypatch.setattr(drop, "_finish", slowly)
    with ThreadPoolExecutor(2) as pool:
        made = [heard.made for heard in pool.map(lambda number: extract(root, store, part=(number, 2)), (1, 2))]
    assert len(finished) == 1 and made == [[], []]
    assert sorted(ids(store)) == [f"folder/clips/{number:03d}.wav" for number in range(1, 40)]
    assert not list(store.rglob("*.lock"))


def rows_and_footers(store: Path) -> dict[str, object]:
    """Every table of a store with what its footer says of it, and store.json; hashes of whole files left out."""
    described = json.loads((store / "store.json").read_text())
    del described["seal"], described["manifest"]["sha256"]
    found: dict[str, object] = {"store.json": described}
    for path in store.rglob("*.parquet"):
        made = json.loads((pq.read_metadata(path).metadata or {})[b"mmpipe"])
        made.pop("upstream", None)
        found[path.relative_to(store).as_posix()] = pq.read_table(path).to_pylist(), made
    return found


@pytest.fixture(scope="module")
def fewer(sample_store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[pa.Table, dict[str, object]]:
    """The manifest of `sample_store` without two of its rows, and the store made of it from the start."""
    from mmpipe.manifests.samples import sample_root

    manifest = pq.read_table(sample_store / "manifest.parquet").replace_schema_metadata(None).take([0, 2, 4])
    stages, out = (
        resolve_stages(list(DEFAULT_STAGES), {"text": {"model": PACKAGED_MODEL}}),
        tmp_path_factory.mktemp("f"),
    )
    run_plan(plan_extraction(manifest, "iemocap", sample_root("iemocap"), out, stages), SerialEngine())
    return manifest, rows_and_footers(out)


def test_killed_at_any_write_and_run_again_it_is_the_store_made_without_the_rows(
    sample_store: Path, fewer: tuple[pa.Table, dict[str, object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, expected = fewer
    whole, writes, replace = tmp_path / "whole", 0, os.replace
    shutil.copytree(sample_store, whole)
    assert drop_missing(whole, manifest) and rows_and_footers(whole) == expected

    for kill_at in range(20):
        store = tmp_path / str(kill_at)
        shutil.copytree(sample_store, store)
        left = [kill_at]

        def renamed(source: Path, target: Path, left: list[int] = left) -> None:
            if target.parent.name != "logs":
                if left[0] == 0:
                    raise KeyboardInterrupt
                left[0] -= 1
            replace(source, target)

        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", renamed)
            with suppress(KeyboardInterrupt):
                drop_missing(store, manifest)
                break
        if kill_at > 1:
            with pytest.raises(StoreError, match="did not end"):
                FeatureStore(store)
        finish_drop(store)
        drop_missing(store, manifest)
        assert contents(store) == contents(whole), f"stopped at write {kill_at}"
        writes += 1
    assert writes == 7, "store.json, four shards, the manifest, store.json"
