"""Nothing good is lost: not when media are gone, and not when memory, file handles, disks or networks fail."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pyarrow as pa
import pytest

from mmpipe.core.environment import exhausted, unavailable
from mmpipe.core.errors import CorpusError, MmpipeError, Rejected, ResourceError, StorageError
from mmpipe.manifests.io import write_manifest
from mmpipe.manifests.schema import MediaSpan, Utterance, to_table
from mmpipe.pipeline.extraction import media_guard, resume
from mmpipe.pipeline.extraction.apply import Answer, run_stage
from mmpipe.pipeline.extraction.engines.crashes import make_again
from mmpipe.pipeline.extraction.engines.local import LocalEngine
from mmpipe.pipeline.extraction.engines.serial import SerialEngine
from mmpipe.pipeline.extraction.engines.worker import WorkerDied
from mmpipe.pipeline.extraction.run import ExtractPlan, plan_extraction, run_plan
from mmpipe.pipeline.extraction.stages import StageSpec
from mmpipe.pipeline.extraction.tasks import make_rows
from mmpipe.pipeline.media.repair import Repair
from mmpipe.pipeline.store.feature_store import FeatureStore

from .conftest import tone, write_wav
from .runs import call, contents
from .toys import ROOT, Counting, Samples, Starved, toy

CLIPS = 20
SOUND = toy(Samples, "sound")


pytestmark = pytest.mark.usefixtures("importable")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Short clips: two shards of them."""
    root = tmp_path / "corpus"
    root.mkdir()
    for number in range(CLIPS):
        write_wav(root / f"{number:02d}.wav", tone(0.1, seed=number))
    return root


def manifest(count: int = CLIPS, text: str = "words") -> pa.Table:
    names = [f"{number:02d}.wav" for number in range(count)]
    return to_table(Utterance(f"test/{n}", "test", audio=MediaSpan(n), text=text) for n in names)


def planned(root: Path, store: Path, stage: StageSpec = SOUND, rows: pa.Table = None, **options: Any) -> ExtractPlan:
    return plan_extraction(manifest() if rows is None else rows, "test", root, store, [stage], **options)


def made(root: Path, store: Path, stage: StageSpec = SOUND, **options: Any) -> dict[str, int]:
    run_plan(planned(root, store, stage, **options), SerialEngine())
    return FeatureStore(store).statuses(stage.name)


def test_an_unmounted_root_stops_the_command_before_anything_is_written(corpus: Path, tmp_path: Path) -> None:
    write_manifest(manifest(), tmp_path / "manifest.parquet", {})
    where = ["--dataset", "folder", "--root", corpus, "--manifest", tmp_path / "manifest.parquet"]
    stage = ["--stages", "sound", "--set", "sound.extractor=tests.pipeline.toys:Samples", "--device", "cpu"]
    extract = ["extract", *where, "--out", tmp_path / "store", *stage, "--workers", "1"]
    done = call(*extract)
    assert done.returncode == 0, done.stderr
    before = contents(tmp_path / "store")
    mount = corpus.rename(tmp_path / "elsewhere")
    for empty in (False, True):  # no mount point, or the empty folder that is left of a mount
        if empty:
            corpus.mkdir()
        lost = call(*extract)
        assert lost.returncode == 1
        assert str(corpus) in lost.stderr and "mount the disk" in lost.stderr and "--accept-missing" in lost.stderr
        assert contents(tmp_path / "store") == before
        fresh = call(*extract, "--out", tmp_path / "fresh")
        assert fresh.returncode == 1 and "mount the disk" in fresh.stderr
        assert not (tmp_path / "fresh").exists()
    meant = call(*extract, "--accept-missing")
    assert meant.returncode == 0, meant.stderr
    assert FeatureStore(tmp_path / "store").statuses("sound") == {"media_missing": CLIPS}
    corpus.rmdir()
    mount.rename(corpus)
    assert call(*extract).returncode == 0
    assert contents(tmp_path / "store") == before


def test_a_wrong_root_is_refused_and_one_with_most_of_the_media_is_not(corpus: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    write_wav(wrong / "other.wav", tone(0.1))
    with pytest.raises(CorpusError, match=r"none of the 20 media files .* is in .*wrong"):
        planned(wrong, tmp_path / "store")
    made(corpus, tmp_path / "store")
    for number in range(11):
        (corpus / f"{number:02d}.wav").unlink()
    with pytest.raises(CorpusError, match=r"11 of the 20 media files .* stage sound .*first: 00.wav"):
        planned(corpus, tmp_path / "store")
    write_wav(corpus / "00.wav", tone(0.1, seed=0))
    assert planned(corpus, tmp_path / "store").tasks == ()


def test_a_slice_whose_own_media_are_missing_is_not_taken_for_a_lost_root(corpus: Path, tmp_path: Path) -> None:
    for number in range(16, 20):
        (corpus / f"{number:02d}.wav").unlink()
    rows = {task.shard: task.rows.num_rows for task in planned(corpus, tmp_path / "store", part=(2, 2)).tasks}
    assert rows == {1: 4}


def test_finished_rows_keep_their_features_when_media_are_gone_and_the_run_says_which(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mmpipe.pipeline.cli.extract_view import ExtractView

    store = tmp_path / "store"
    assert made(corpus, store) == {"ok": CLIPS}
    before = contents(store)
    (corpus / "03.wav").unlink()
    (corpus / "17.wav").unlink()
    again = planned(corpus, store)
    assert again.tasks == () and again.kept == {"sound": ("test/03.wav", "test/17.wav")}
    ExtractView().on_plan(again, corpus, 1)
    shown = " ".join(capsys.readouterr().out.split())
    assert "2 rows of stage sound keep their earlier features" in shown and "test/03.wav, test/17.wav" in shown
    run_plan(again, SerialEngine())
    assert contents(store) == before
    assert made(corpus, store, accept_missing=True) == {"ok": CLIPS - 2, "media_missing": 2}


def test_other_rows_of_a_shard_are_made_again_while_those_whose_media_are_gone_stay(
    corpus: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    made(corpus, store)
    counts = FeatureStore(store).read("sound").column("count").to_pylist()
    (corpus / "03.wav").unlink()
    write_wav(corpus / "04.wav", tone(0.2, seed=4))
    again = planned(corpus, store)
    assert again.reasons == {("sound", "changed: media content"): 1}
    assert made(corpus, store) == {"ok": CLIPS}
    now = FeatureStore(store).read("sound").column("count").to_pylist()
    assert now == [*counts[:4], 3200, *counts[5:]]
    assert planned(corpus, store).tasks == ()
    write_wav(corpus / "03.wav", tone(0.1, seed=3))
    assert planned(corpus, store).tasks == ()


def test_a_shard_that_must_be_made_again_is_not_without_its_media(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    made(corpus, store)
    (corpus / "03.wav").unlink()
    monkeypatch.setattr("tests.pipeline.toys.Samples.revision", 99)
    changed = StageSpec("sound", "tests.pipeline.toys:Samples", {})
    with pytest.raises(CorpusError, match=r"shard 0 of stage sound must be made again \(changed: .*first: 03.wav"):
        planned(corpus, store, changed)
    assert made(corpus, store, changed, accept_missing=True) == {"ok": CLIPS - 1, "media_missing": 1}


def test_a_shard_that_the_system_does_not_let_read_is_not_taken_for_damaged(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(corpus, tmp_path / "store")

    def fails(path: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(resume, "read_footer", fails)
    with pytest.raises(StorageError, match=r"00000.parquet cannot be read \(Input/output error\)"):
        planned(corpus, tmp_path / "store")


def sentences(special: str) -> pa.Table:
    texts = [special if number == 18 else f"sentence {number}" for number in range(CLIPS)]
    return to_table(Utterance(f"test/{n:02d}", "test", text=text) for n, text in enumerate(texts))


@pytest.mark.parametrize("engine", [SerialEngine, lambda: LocalEngine(1)], ids=["serial", "local"])
def test_a_memory_error_is_never_a_row(tmp_path: Path, engine: Callable[[], Any]) -> None:
    store, runner = tmp_path / "store", engine()
    stage = toy(Starved)
    plan = plan_extraction(sentences("raise MemoryError"), "test", tmp_path, store, [stage])
    with pytest.raises(ResourceError, match=r"stage toy, shard 1: memory is used up; .*fewer --workers.*run the same"):
        if isinstance(runner, LocalEngine):
            with runner:
                run_plan(plan, runner)
        else:
            run_plan(plan, runner)
    assert [path.name for path in (store / "toy").glob("*")] == ["00000.parquet"]
    run_plan(plan_extraction(sentences("words"), "test", tmp_path, store, [stage]), SerialEngine())
    assert FeatureStore(store).statuses("toy") == {"ok": CLIPS}


@pytest.mark.parametrize("killed", [2, 3])
def test_rows_whose_processes_are_killed_for_want_of_memory_stop_the_run_when_they_are_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: int
) -> None:
    plan = plan_extraction(manifest(4), "test", tmp_path, tmp_path / "store", [toy(Counting)])

    def alone(search: Any, call: Any) -> Any:
        if call.func is make_rows and {*call.args[1]} & {*range(killed)}:
            raise WorkerDied("killed by SIGKILL (out of memory?)")
        return call()

    monkeypatch.setattr("mmpipe.pipeline.extraction.engines.crashes._Search._alone", alone)
    if killed == 2:
        assert make_again(plan.tasks[0], WorkerDied("it died")).statuses == {"worker_crashed": 2, "ok": 2}
        return
    with pytest.raises(ResourceError, match=r"shard 0: the processes of 3 .* alone were killed.*fewer --workers"):
        make_again(plan.tasks[0], WorkerDied("it died"))
    assert not (tmp_path / "store" / "toy").exists()


@pytest.mark.parametrize("name", ["ENOSPC", "EMFILE", "ENFILE", "EDQUOT", "ENOMEM"])
def test_what_is_used_up_is_never_a_row(tmp_path: Path, name: str) -> None:
    plan = plan_extraction(sentences(f"raise {name}"), "test", tmp_path, tmp_path / "store", [toy(Starved)])
    with pytest.raises(ResourceError, match="no more"):
        run_plan(plan, SerialEngine())
    assert not (tmp_path / "store" / "toy" / "00001.parquet").exists()


def breaking(monkeypatch: pytest.MonkeyPatch, names: set[str], error: Callable[[str], BaseException]) -> None:
    """Let the media of these names fail to be opened from now on."""
    opened = Path.open

    def open_(self: Path, *arguments: Any, **options: Any) -> Any:
        if self.name in names:
            raise error(str(self))
        return opened(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", open_)


def io_error(path: str) -> OSError:
    return OSError(errno.EIO, os.strerror(errno.EIO), path)


def test_a_damaged_sector_costs_its_rows_and_a_lost_disk_stops_the_run(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sector, disk = (planned(corpus, tmp_path / name) for name in ("sector", "disk"))
    with monkeypatch.context() as patch:
        breaking(patch, {"03.wav", "04.wav"}, io_error)
        run_plan(sector, SerialEngine())
    assert FeatureStore(tmp_path / "sector").statuses("sound") == {"ok": CLIPS - 2, "media_error": 2}
    with monkeypatch.context() as patch:
        breaking(patch, {"03.wav", "04.wav", "09.wav"}, io_error)
        with pytest.raises(ResourceError, match=r"Input/output error in 3 of its rows, the last test/09.wav"):
            run_plan(disk, SerialEngine())
        assert not (tmp_path / "disk" / "sound").exists()
        with pytest.raises(ResourceError, match=r"3 media files cannot be read, the last \d\d.wav: Input/output error"):
            planned(corpus, tmp_path / "other")
    monkeypatch.undo()
    monkeypatch.syspath_prepend(ROOT)
    assert made(corpus, tmp_path / "disk") == {"ok": CLIPS}


def test_too_many_open_files_stop_planning_and_reading(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(corpus, tmp_path / "store")
    breaking(monkeypatch, {"07.wav"}, lambda path: OSError(errno.EMFILE, os.strerror(errno.EMFILE), path))
    with pytest.raises(ResourceError, match=r"Too many open files.*ulimit -n"):
        run_plan(plan, SerialEngine())
    with pytest.raises(ResourceError, match="Too many open files"):
        planned(corpus, tmp_path / "other")
    assert not (tmp_path / "store" / "sound").exists()


def test_media_that_go_while_the_run_works_are_not_written_as_missing(corpus: Path, tmp_path: Path) -> None:
    plan = planned(corpus, tmp_path / "store")
    for path in corpus.iterdir():
        path.unlink()
    with pytest.raises(ResourceError, match=r"the media of test/00.wav were there when the run was planned"):
        run_plan(plan, SerialEngine())
    assert not (tmp_path / "store" / "sound").exists()


@pytest.mark.parametrize("disk", [False, True])
def test_media_that_go_after_they_were_read_are_not_written_as_changed(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: bool
) -> None:
    plan = planned(corpus, tmp_path / "store")

    def lost(root: Path, uri: str) -> str:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(root / uri))

    def read_and_lose(*given: Any) -> list[Answer]:
        answers = run_stage(*given)
        if disk:
            monkeypatch.setattr(media_guard, "media_state", lost)
        else:
            for path in corpus.iterdir():
                path.unlink()
        return answers

    monkeypatch.setattr("mmpipe.pipeline.extraction.tasks.run_stage", read_and_lose)
    with pytest.raises(ResourceError, match=r"Input/output error in 3 of its rows" if disk else r"were there when"):
        run_plan(plan, SerialEngine())
    assert not (tmp_path / "store" / "sound").exists()


def test_a_repair_that_finds_the_disk_full_is_not_the_files_fault(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess(
            command, 1, b"", b"repaired.nut: No space left on device\nConversion failed!"
        )

    monkeypatch.setattr("mmpipe.pipeline.media.repair.subprocess.run", full)
    repair = Repair()
    with pytest.raises(OSError, match="No space left on device") as raised:
        repair(corpus / "00.wav", Rejected("media_error", "00.wav: cannot be decoded"))
    repair.close()
    assert exhausted(raised.value)


def test_errors_of_object_stores_and_libraries_are_told_from_those_of_files() -> None:
    import torch

    lost = pytest.importorskip("botocore.exceptions").EndpointConnectionError(endpoint_url="https://s3")
    assert unavailable(lost) == "the object store cannot be reached (EndpointConnectionError)"
    assert unavailable(TimeoutError()) and unavailable(ConnectionResetError(errno.ECONNRESET, "reset"))
    assert not any(map(unavailable, (FileNotFoundError(2, "no"), PermissionError(13, "no"), ValueError("no"))))
    assert exhausted(torch.OutOfMemoryError("CUDA out of memory"))
    assert exhausted(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"))
    assert not any(map(exhausted, (RuntimeError("shape"), ValueError(), FileNotFoundError(2, "no"))))
    hostile = av.error.MemoryError(errno.ENOMEM, "Cannot allocate memory")
    assert exhausted(hostile) is None, "a damaged header asks for too much while memory is free"
    assert unavailable(av.error.OSError(errno.EIO, "Input/output error")) is None, "FFmpeg says so of damaged bytes"


def test_ffmpegs_word_counts_where_memory_is_short() -> None:
    code = (
        "import av, errno, resource; from mmpipe.core.environment import exhausted\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20),) * 2)\n"
        "print(exhausted(av.error.MemoryError(errno.ENOMEM, 'Cannot allocate memory')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "memory is used up"


def test_errors_that_stop_a_run_reach_the_main_process_as_they_are() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(ResourceError("stage toy, shard 1: memory is used up")))
    assert isinstance(error, MmpipeError) and str(error).startswith("stage toy")
