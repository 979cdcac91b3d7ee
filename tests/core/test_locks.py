"""Locks let one process write, are taken from the dead and from nobody else, and leave nothing behind."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mmpipe.core.errors import BusyError, StorageError
from mmpipe.core.exclusive import exclusive
from mmpipe.core.files import write_bytes
from mmpipe.core.locks import Holder, hold, refuse_others, writing_alone
from mmpipe.core.scratch import scratch_beside, sweep_parts

HOLDS = """
import sys, time
from pathlib import Path
from mmpipe.core.locks import writing_alone
from mmpipe.core.scratch import scratch_beside
out = Path(sys.argv[1])
with writing_alone(out, "another program"), scratch_beside(out) as part:
    part.write_text("half")
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that is writing `out` in the folder of the test."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def hidden(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_a_second_writer_is_refused_with_the_first_ones_process_host_and_age_and_a_stale_lock_is_not_in_the_way(
    tmp_path: Path, elsewhere: subprocess.Popen[str]
) -> None:
    host = os.uname().nodename
    refused = (
        rf"out is being written by another process: another program \(process {elsewhere.pid} on {host}, for \d+ s"
    )
    with pytest.raises(BusyError, match=refused), writing_alone(tmp_path / "out", "this"):
        pytest.fail("two writers at once")
    sweep_parts(tmp_path)
    assert len(list(tmp_path.glob(".out.*.part"))) == 1, "what a living process writes is not swept"
    elsewhere.kill()
    elsewhere.wait()
    assert len(hidden(tmp_path)) == 3, "its lock, half a file, and the lock of that"
    began = time.monotonic()
    with writing_alone(tmp_path / "out", "this"):
        assert [name for name in hidden(tmp_path) if not name.endswith(".lock")] == []
    assert time.monotonic() - began < 5
    assert hidden(tmp_path) == []


def lock_file(folder: Path, *, age: float = 0.0, **fields: object) -> Path:
    """The lock of somebody else, made by this process as a model."""
    with hold(folder, "run", "mmpipe extract", lambda others: None):
        (mine,) = folder.glob("run.*.lock")
        model = json.loads(mine.read_text())
    folder.mkdir(exist_ok=True)
    path = folder / "run.0000.lock"
    path.write_text(json.dumps(model | fields))
    os.utime(path, (time.time() - age,) * 2)
    return path


def may_write(folder: Path) -> bool:
    try:
        with hold(folder, "run", "this", refuse_others(folder)):
            return True
    except BusyError:
        return False


def test_a_process_that_has_the_number_of_a_dead_one_does_not_keep_its_lock(tmp_path: Path) -> None:
    assert not may_write(lock_file(tmp_path / "a").parent)
    assert may_write(lock_file(tmp_path / "b", started="1").parent)
    assert may_write(lock_file(tmp_path / "c", pid=2**22 + 1).parent)
    assert hidden(tmp_path / "b") == hidden(tmp_path / "c") == []


@pytest.mark.parametrize("pid", [1, 2**22 + 1, os.getpid()], ids=["first", "none", "this"])
def test_the_lock_of_another_host_or_container_counts_while_it_gives_signs_of_life(tmp_path: Path, pid: int) -> None:
    fields = {"host": "node17", "pid": pid, "space": "of another kernel", "since": time.time() - 3600}
    folder = lock_file(tmp_path / "alive", age=20, **fields).parent
    with pytest.raises(BusyError, match=rf"process {pid} on node17, for 60 min"), writing_run(folder):
        pytest.fail("two writers at once")
    assert may_write(lock_file(tmp_path / "silent", age=300, **fields).parent)


def writing_run(folder: Path):  # type: ignore[no-untyped-def]
    return hold(folder, "run", "this", refuse_others(folder))


def test_a_run_whose_lock_was_taken_notices(tmp_path: Path) -> None:
    with writing_run(tmp_path) as held:
        held.check()
        next(tmp_path.glob("run.*.lock")).unlink()
        with pytest.raises(BusyError, match="gave no sign of life for 60 s"):
            held.check()


def test_signs_of_life_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmpipe.core.locks._BEAT_SECONDS", 0.02)
    with writing_run(tmp_path):
        (mine,) = tmp_path.glob("run.*.lock")
        os.utime(mine, (0, 0))
        deadline = time.monotonic() + 10
        while time.time() - mine.stat().st_mtime > 60:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_lock_leaves_neither_files_nor_folders_however_its_block_ends(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), hold(tmp_path / "new" / "logs", "run", "this", lambda others: None):
        raise KeyboardInterrupt
    assert hidden(tmp_path) == []
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written"), writing_alone(tmp_path / "file" / "out", "this"):
        pass


def no_locks(*_: object) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


@pytest.mark.parametrize("kernel_locks", [True, False], ids=["flock", "no locks"])
def test_the_short_lock_lets_one_in_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel_locks: bool
) -> None:
    monkeypatch.setattr("mmpipe.core.exclusive.POLL_SECONDS", 0.001)
    if not kernel_locks:
        monkeypatch.setattr(fcntl, "flock", no_locks)
    inside, most = [0], [0]

    def count() -> None:
        for _ in range(20):
            with exclusive(tmp_path / "plan.lock"):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.0005)
                inside[0] -= 1

    threads = [threading.Thread(target=count) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert hidden(tmp_path) == []


def test_without_kernel_locks_a_dead_owner_is_waited_for_and_then_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", no_locks)
    monkeypatch.setattr("mmpipe.core.exclusive.ALIVE_SECONDS", 0.5)
    (tmp_path / "plan.lock-claim").write_bytes(b"of a process that was killed")
    began = time.monotonic()
    with exclusive(tmp_path / "plan.lock"):
        assert time.monotonic() - began > 0.5
    assert hidden(tmp_path) == []


def make_folder(path: Path) -> None:
    path.mkdir()
    (path / "features.npy").touch()


LEFTOVERS: dict[str, Callable[[Path], None]] = {
    ".00000.parquet.node17.4711.part": Path.touch,  # of a version that named host and process
    ".out.99999999.0a1b2c3d.part": make_folder,  # of a machine that was restarted, or another container
    ".part-x1y2z3": make_folder,
    ".exported.4711.part": make_folder,
}


@pytest.mark.parametrize("name", list(LEFTOVERS))
def test_leftovers_are_swept_when_they_are_old_and_what_may_be_in_use_is_not(tmp_path: Path, name: str) -> None:
    part = tmp_path / "logs" / name
    part.parent.mkdir()
    LEFTOVERS[name](part)
    (tmp_path / "notes.part").touch()
    sweep_parts(tmp_path)
    assert part.exists(), "another machine may be writing it"
    for path in (part, *part.rglob("*")):
        os.utime(path, (time.time() - 7200,) * 2)
    sweep_parts(tmp_path)
    assert hidden(tmp_path) == ["logs", "notes.part"], "a file of the user stays, whatever its age"


def test_sweeping_does_not_mind_writers_that_finish_meanwhile(tmp_path: Path) -> None:
    ended = threading.Event()

    def write() -> None:
        while not ended.is_set():
            with scratch_beside(tmp_path / "folder" / "f") as part:
                make_folder(part)
                assert (part / "features.npy").exists()

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        sweep_parts(tmp_path)
    ended.set()
    for thread in threads:
        thread.join()
    assert hidden(tmp_path) == ["folder"]


def test_temporary_names_are_random_and_made_exclusively(tmp_path: Path) -> None:
    with scratch_beside(tmp_path / "f") as one, scratch_beside(tmp_path / "f") as other:
        assert one != other
        assert {path.parent for path in (one, other)} == {tmp_path}
        with pytest.raises(FileExistsError):
            os.open(f"{one}-lock", os.O_CREAT | os.O_EXCL)
    assert hidden(tmp_path) == []


def test_writers_of_one_file_at_a_time_give_the_bytes_of_one_of_them(tmp_path: Path) -> None:
    path = tmp_path / "f"
    threads = [threading.Thread(target=write_bytes, args=(path, bytes([n]) * 100_000)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(path.read_bytes())) == 1 and hidden(tmp_path) == ["f"]


def test_a_file_that_is_killed_in_the_middle_of_its_writing_leaves_the_old_one(tmp_path: Path) -> None:
    write_bytes(tmp_path / "f", b"old")
    code = (
        "import os, signal, sys; from pathlib import Path; from mmpipe.core.files import write_atomic\n"
        "def write(part): part.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_atomic(Path(sys.argv[1]), write)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "f")], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "f").read_bytes() == b"old" and len(hidden(tmp_path)) == 3
    sweep_parts(tmp_path)
    assert hidden(tmp_path) == ["f"]


def test_slices_of_one_count_overlap_only_with_themselves() -> None:
    one = Holder("h", 1, "", "s", 0.0, "what", "", (1, 4))
    assert [part for part in [(1, 4), (2, 4), (1, 1), (2, 3)] if one.overlaps(part)] == [(1, 4), (1, 1), (2, 3)]


@pytest.mark.parametrize(("one", "other"), [("meld", "meld.parquet"), ("meld.parquet", "meld"), ("a", "a.b.c")])
def test_outputs_whose_names_begin_alike_are_written_at_the_same_time(tmp_path: Path, one: str, other: str) -> None:
    with writing_alone(tmp_path / one, "one"), writing_alone(tmp_path / other, "other"):
        assert len([name for name in hidden(tmp_path) if name.endswith(".lock")]) == 2
    assert hidden(tmp_path) == []
