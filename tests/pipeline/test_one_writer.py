"""A store has one writer: equal runs share it or wait, a run with other options is refused, and none leaves a lock."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from mmpipe.core.errors import BusyError
from mmpipe.core.locks import Holder
from mmpipe.core.scratch import machine
from mmpipe.manifests.io import write_manifest
from mmpipe.manifests.schema import Utterance, to_table
from mmpipe.pipeline.extraction.corpus import extract_corpus
from mmpipe.pipeline.extraction.engines.serial import SerialEngine
from mmpipe.pipeline.extraction.engines.worker import Worker
from mmpipe.pipeline.extraction.request import ExtractListener, ExtractRequest
from mmpipe.pipeline.extraction.writer import writing
from mmpipe.pipeline.store.feature_store import FeatureStore

from .runs import call, contents, start
from .toys import ROOT

ROWS = 64
SECONDS = {"one": 0.002, "other": 0.003}
"""The option by which two runs differ: seconds a row."""


pytestmark = pytest.mark.usefixtures("importable")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A manifest of four shards of texts."""
    root = tmp_path / "corpus"
    root.mkdir()
    rows = (Utterance(f"folder/{n:03d}", "folder", text=f"sentence {n}") for n in range(ROWS))
    write_manifest(to_table(rows), root / "manifest.parquet", {})
    return root


def request(corpus: Path, store: Path, which: str = "one", part: tuple[int, int] = (1, 1)) -> ExtractRequest:
    options = {"text": {"extractor": "tests.pipeline.toys:Slow", "seconds": SECONDS[which]}}
    manifest = corpus / "manifest.parquet"
    return ExtractRequest(
        "folder", corpus, store, manifest, stages=["text"], stage_options=options, device="cpu", part=part
    )


def extract_later(asked: ExtractRequest, seconds: float) -> str:
    """Extract after a while: how it ended."""
    time.sleep(seconds)
    try:
        extract_corpus(asked, SerialEngine())
    except BusyError as error:
        return str(error)
    return "done"


@pytest.fixture(scope="module")
def two() -> Iterator[tuple[Worker, Worker]]:
    """Two processes that extract when they are asked to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT)
        workers = Worker(), Worker()
    yield workers
    for worker in workers:
        worker.kill()


def meet(two: tuple[Worker, Worker], pair: tuple[ExtractRequest, ExtractRequest], moment: random.Random) -> list[str]:
    """How two runs end that start at random moments."""
    for worker, asked in zip(two, pair, strict=True):
        worker.send(partial(extract_later, asked, moment.random() * ROWS * SECONDS["one"]))
    return [worker.answer() for worker in two]


def prove(folder: Path, corpus: Path, two: tuple[Worker, Worker], pairs: int) -> None:
    """Let pairs of runs meet, and compare their stores with those of runs that were alone."""
    seed = random.SystemRandom().randrange(10**6)
    moment, refused = random.Random(seed), 0
    alone = {}
    for which in SECONDS:
        extract_corpus(request(corpus, folder / which, which), SerialEngine())
        alone[which] = contents(folder / which)
    for number in range(pairs):
        where = f"seed {seed}, pair {number}"
        equal, halves, mixed = (folder / f"{kind}{number}" for kind in ("equal", "halves", "mixed"))
        assert meet(two, (request(corpus, equal), request(corpus, equal)), moment) == ["done"] * 2, where
        assert contents(equal) == alone["one"], where
        slices = request(corpus, halves, part=(1, 2)), request(corpus, halves, part=(2, 2))
        assert meet(two, slices, moment) == ["done"] * 2, where
        assert contents(halves) == alone["one"], where
        ends = meet(two, (request(corpus, mixed, "one"), request(corpus, mixed, "other")), moment)
        winners = [which for which, end in zip(SECONDS, ends, strict=True) if end == "done"]
        assert winners, where
        assert contents(mixed) in [alone[which] for which in winners], f"{where}: {ends}"
        for which, end, other in zip(SECONDS, ends, reversed(two), strict=True):
            if which not in winners:
                assert f"(process {other._process.pid} on {os.uname().nodename}, for " in end, where
                assert "other options" in end and "--out" in end, where
                refused += 1
        assert not list(folder.rglob("*.lock*")), where
    assert refused >= pairs / 4, f"seed {seed}: the runs hardly ever meet"


def test_pairs_of_runs_give_the_bytes_of_one_run_or_one_clear_refusal(
    tmp_path: Path, corpus: Path, two: tuple[Worker, Worker]
) -> None:
    prove(tmp_path, corpus, two, 4)


@pytest.mark.slow
def test_fifty_pairs_of_runs_give_the_bytes_of_one_run_or_one_clear_refusal(
    tmp_path: Path, corpus: Path, two: tuple[Worker, Worker]
) -> None:
    prove(tmp_path, corpus, two, 50)


class Waits(ExtractListener):
    """Keeps whom the run waited for."""

    def __init__(self) -> None:
        self.waited = list[Holder]()

    def on_wait(self, other: Holder) -> None:
        self.waited.append(other)


def wait_for(folder: Path, pattern: str) -> None:
    deadline = time.monotonic() + 60
    while not list(folder.glob(pattern)):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_an_equal_run_waits_for_the_first_and_finds_nothing_left_to_do(
    tmp_path: Path, corpus: Path, two: tuple[Worker, Worker]
) -> None:
    asked = request(corpus, tmp_path / "store")
    two[0].send(partial(extract_later, asked, 0.0))
    wait_for(tmp_path / "store", "text/*.parquet")
    listener = Waits()
    result = extract_corpus(asked, SerialEngine(), listener)
    assert two[0].answer() == "done"
    assert [holder.pid for holder in listener.waited] == [two[0]._process.pid]
    assert result.shards == {"text": 0} and result.statuses == {"text": {"ok": ROWS}}


@pytest.mark.parametrize("change", ["stages", "root", "retry_failed", "accept_missing", "manifest"])
def test_runs_that_differ_in_anything_that_decides_the_bytes_do_not_meet(
    tmp_path: Path, corpus: Path, change: str
) -> None:
    asked = request(corpus, tmp_path / "store")
    other = tmp_path / "other"
    other.mkdir()
    write_manifest(to_table([Utterance("folder/000", "folder", text="another text")]), other / "manifest.parquet", {})
    options = {**asked.stage_options, "more": {"extractor": "tests.pipeline.toys:Counting"}}
    changed = {
        "stages": replace(asked, stages=["text", "more"], stage_options=options),
        "root": replace(asked, root=other),
        "retry_failed": replace(asked, retry_failed=True),
        "accept_missing": replace(asked, accept_missing=True),
        "manifest": replace(asked, manifest=other / "manifest.parquet"),
    }[change]

    class Meanwhile(ExtractListener):
        def on_plan(self, *_: object) -> None:
            with pytest.raises(BusyError, match="other options"):
                extract_corpus(changed, SerialEngine())

    extract_corpus(asked, SerialEngine(), Meanwhile())
    assert FeatureStore(tmp_path / "store").statuses("text") == {"ok": ROWS}


def test_a_store_that_another_program_writes_refuses_the_command_and_stays_as_it_is(
    tmp_path: Path, corpus: Path
) -> None:
    store = tmp_path / "store"
    where = ["--root", corpus, "--manifest", corpus / "manifest.parquet", "--out", store]
    stage = ["--stages", "text", "--set", "text.extractor=tests.pipeline.toys:Counting", "--device", "cpu"]
    with writing(store, "others", (1, 1), lambda holder: None):
        done = call("extract", "--dataset", "folder", *where, *stage, "--workers", "1")
    assert done.returncode == 1
    assert f"is being written by mmpipe extract (process {os.getpid()} on" in done.stderr
    assert not store.exists()


def test_leftovers_of_a_killed_run_are_swept_by_the_next(tmp_path: Path, corpus: Path) -> None:
    store = tmp_path / "store"
    for name in (f"text/.00000.parquet.{machine()}.0a1b2c3d.part", "logs/arrays/.text-abc.ffffffff.0a1b2c3d.part"):
        (store / name).parent.mkdir(parents=True)
        for file in (name, f"{name}-lock"):
            (store / file).touch()
    (store / "logs/run.0000.lock").write_text("half a lock")
    for path in store.rglob("*"):
        os.utime(path, (time.time() - 7200,) * 2)
    extract_corpus(request(corpus, store), SerialEngine())
    names = {path.relative_to(store).as_posix() for path in store.rglob("*") if path.name.startswith((".", "run."))}
    assert names == set()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "Ctrl-C"])
def test_an_interrupted_run_leaves_no_lock(tmp_path: Path, corpus: Path, number: signal.Signals, code: int) -> None:
    where = ["--root", corpus, "--manifest", corpus / "manifest.parquet", "--out", tmp_path / "store"]
    slow = ["--stages", "text", "--set", "text.extractor=tests.pipeline.toys:Slow", "--set", "text.seconds=0.1"]
    process = start("extract", "--dataset", "folder", *where, *slow, "--workers", 1, "--device", "cpu")
    wait_for(tmp_path / "store", "text/*.parquet")
    assert list((tmp_path / "store" / "logs").glob("run.*.lock"))
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == code
    assert "run the same command again" in errors and "Traceback" not in errors
    names = [path.name for path in (tmp_path / "store").rglob("*")]
    assert not [name for name in names if "lock" in name or name.endswith(".part")]
