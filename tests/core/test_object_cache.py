"""The cache of objects stays within its size and keeps what is in use; readers of objects ask for the size first."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pytest

from mmpipe.core.exclusive import exclusive
from mmpipe.core.files import location, write_bytes
from mmpipe.core.object_cache import ObjectCache
from mmpipe.core.parquet import peek, read_parquet, write_parquet
from mmpipe.core.reading import read_json


@pytest.fixture
def bucket() -> Path:
    """A place in memory that only this test uses."""
    return location(f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def fetched(bucket: Path) -> Iterator[list[str]]:
    """The names of the objects that are fetched as a whole."""
    names: list[str] = []
    kind = type(bucket.fs)  # type: ignore[attr-defined]
    real = kind.get_file

    def get_file(self: Any, rpath: str, lpath: str, **options: Any) -> None:
        names.append(rpath.rpartition("/")[2])
        real(self, rpath, lpath, **options)

    with mock.patch.object(kind, "get_file", get_file):
        yield names


def put(bucket: Path, **sizes: int) -> None:
    for name, size in sizes.items():
        write_bytes(bucket / f"{name}.wav", name.encode() * (size // len(name)))


def kept(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*/*") if not path.name.startswith(".")}


def test_the_least_recently_used_object_goes_first_and_one_in_use_stays(
    bucket: Path, fetched: list[str], tmp_path: Path
) -> None:
    put(bucket, a=40, b=40, c=40, d=40)
    cache = ObjectCache(tmp_path, 100)
    with cache.hold(bucket / "a.wav") as a:
        assert a.path.read_bytes() == b"a" * 40 and a.path.name == "a.wav" and a.path.is_relative_to(tmp_path)
    cache.hold(bucket / "b.wav").release()
    cache.hold(bucket / "a.wav").release()
    assert fetched == ["a.wav", "b.wav"], "the second time it is there"
    cache.hold(bucket / "c.wav").release()
    assert kept(tmp_path) == {"a.wav", "c.wav"}, "a was used after b"
    with cache.hold(bucket / "a.wav") as a, cache.hold(bucket / "c.wav"):
        refused = cache.hold(bucket / "d.wav")
        assert refused.path == bucket / "d.wav", "no room beside what is in use: it is read where it is"
        assert a.path.read_bytes() == b"a" * 40
    cache.hold(bucket / "d.wav").release()
    assert "d.wav" in kept(tmp_path) and len(kept(tmp_path)) == 2


def test_what_is_larger_than_the_cache_or_not_there_is_left_to_its_reader(bucket: Path, tmp_path: Path) -> None:
    put(bucket, a=200)
    cache = ObjectCache(tmp_path, 100)
    assert cache.hold(bucket / "a.wav").path == bucket / "a.wav"
    assert cache.hold(bucket / "gone.wav").path == bucket / "gone.wav"
    assert kept(tmp_path) == set()


def test_a_changed_object_and_a_damaged_file_are_fetched_again(
    bucket: Path, fetched: list[str], tmp_path: Path
) -> None:
    put(bucket, a=40)
    cache = ObjectCache(tmp_path, 100)
    with cache.hold(bucket / "a.wav") as held:
        held.path.write_bytes(b"cut")
    with cache.hold(bucket / "a.wav") as held:
        assert held.path.read_bytes() == b"a" * 40
    write_bytes(bucket / "a.wav", b"z" * 40)
    with cache.hold(bucket / "a.wav") as held:
        assert held.path.read_bytes() == b"z" * 40
    assert fetched == ["a.wav"] * 3


def test_a_lock_of_another_process_keeps_an_object(bucket: Path, tmp_path: Path) -> None:
    put(bucket, a=60, b=60)
    cache = ObjectCache(tmp_path, 100)
    cache.hold(bucket / "a.wav").release()
    (use,) = tmp_path.glob("*/.use")
    lock = (
        f"import fcntl, time; f = open({str(use)!r}); fcntl.flock(f, fcntl.LOCK_SH); print(flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", lock], stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None and worker.stdout.readline()
        assert cache.hold(bucket / "b.wav").path == bucket / "b.wav"
        worker.kill()
    with cache.hold(bucket / "b.wav") as held:
        assert held.path.read_bytes() == b"b" * 60
    assert kept(tmp_path) == {"b.wav"}


def test_an_entry_that_is_removed_while_it_is_entered_is_made_again(bucket: Path, tmp_path: Path) -> None:
    put(bucket, a=40)
    real, asked = os.mkdir, list[Path]()

    def mkdir(path: Path, *mode: int) -> None:
        asked.append(Path(path))
        if len(asked) == 1:  # it was there, and another process removes it now
            raise FileExistsError(path)
        real(path, *mode)

    with mock.patch("os.mkdir", mkdir), ObjectCache(tmp_path, 100).hold(bucket / "a.wav") as held:
        assert held.path.read_bytes() == b"a" * 40
    assert asked[0] == asked[1] == held.path.parent


def test_many_readers_share_one_fetch_and_never_go_beyond_the_size(
    bucket: Path, fetched: list[str], tmp_path: Path
) -> None:
    put(bucket, **dict.fromkeys("abcdefgh", 40))
    cache, most, wrong = ObjectCache(tmp_path, 130), [0], list[str]()

    def read(first: int) -> None:
        for number in range(24):
            letter = "abcdefgh"[(first + number * 3) % 8]
            with cache.hold(bucket / f"{letter}.wav") as held:
                if held.path.read_bytes() != letter.encode() * 40:
                    wrong.append(letter)
            with exclusive(tmp_path / "room"):  # nothing is removed meanwhile
                most[0] = max(most[0], sum(path.stat().st_size for path in tmp_path.glob("*/*.wav")))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, [0, 1, 2, 3] * 2))
    assert not wrong and 40 < most[0] <= 130
    assert len(fetched) < 8 * 24, "what is kept is not fetched again"
    assert not list(tmp_path.glob("*/.part")) and not list(tmp_path.glob("*.fetch"))


def test_the_size_of_an_object_is_known_before_it_is_fetched(bucket: Path) -> None:
    system: Any = bucket.fs  # type: ignore[attr-defined]
    real, sizes = system.info, {"large.json": 1 << 40, "large.parquet": 1 << 40}
    write_bytes(bucket / "large.json", b"{}")
    write_bytes(bucket / "large.parquet", b"PAR1")

    def info(path: str, **options: Any) -> dict[str, Any]:
        name = path.rpartition("/")[2]
        return dict(real(path, **options)) | ({"size": sizes[name]} if name in sizes else {})

    never = mock.Mock(side_effect=AssertionError("bytes are fetched"))
    with mock.patch.object(system, "info", info), mock.patch.object(system, "cat_file", never):
        with mock.patch.object(system, "open", never), pytest.raises(ValueError, match=r"1,099,511,627,776 bytes"):
            read_json(bucket / "large.json")
        with mock.patch.object(system, "open", never), pytest.raises(pa.ArrowInvalid, match=r"1,099,511,627,776 bytes"):
            read_parquet(bucket / "large.parquet")


def test_a_column_of_a_shard_is_read_without_the_others(bucket: Path) -> None:
    noise = [os.urandom(100_000) for _ in range(10)]
    table = pa.table({"status": ["ok"] * 9 + ["no_face"], "features": noise})
    write_parquet(bucket / "00000.parquet", table, {}, plain=("features",))
    system: Any = bucket.fs  # type: ignore[attr-defined]
    real, fetched = system.cat_file, list[int]()

    def cat_file(path: str, start: int, end: int) -> bytes:
        fetched.append(end - start)
        return bytes(real(path, start, end))

    with mock.patch.object(system, "cat_file", cat_file):
        assert peek(bucket / "00000.parquet", ["status"]).column("status").to_pylist() == ["ok"] * 9 + ["no_face"]
    assert len(fetched) <= 2 and sum(fetched) < 400_000
