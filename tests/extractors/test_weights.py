"""Hashes of weight files, and the cache that keeps those of large ones."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from mmpipe.core.errors import WeightsError
from mmpipe.extractors.weights import bundled
from mmpipe.extractors.weights.bundled import sha256


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(bundled, "_REMEMBERED_BYTES", 1000)
    bundled._sha256.cache_clear()
    return tmp_path / "cache" / "mmpipe" / "weight_hashes.json"


def as_another_process() -> None:
    bundled._sha256.cache_clear()


def test_a_large_file_is_hashed_once_and_a_small_one_is_not_remembered(tmp_path: Path, cache: Path) -> None:
    large, small = tmp_path / "large", tmp_path / "small"
    large.write_bytes(b"a" * 1000)
    small.write_bytes(b"a" * 999)
    assert sha256(large) == hashlib.sha256(b"a" * 1000).hexdigest()
    assert sha256(small) == hashlib.sha256(b"a" * 999).hexdigest()
    assert list(json.loads(cache.read_text())) == [str(large)]
    known = json.loads(cache.read_text())
    known[str(large)][-1] = "f" * 64
    cache.write_text(json.dumps(known))
    as_another_process()
    assert sha256(large) == "f" * 64  # read from the cache, not from the file


@pytest.mark.parametrize("change", ["content", "time", "inode"])
def test_a_file_that_changed_in_any_way_is_hashed_again(tmp_path: Path, cache: Path, change: str) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"a" * 2000)
    sha256(path)
    before = path.stat()
    cache.write_text(json.dumps({str(path): [before.st_size, before.st_mtime_ns, before.st_ino, "f" * 64]}))
    as_another_process()
    assert sha256(path) == "f" * 64
    if change == "content":
        path.write_bytes(b"b" * 2001)
    elif change == "time":
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    else:
        (tmp_path / "other").write_bytes(b"c" * 2000)
        os.utime(tmp_path / "other", ns=(before.st_atime_ns, before.st_mtime_ns))
        (tmp_path / "other").replace(path)
    assert sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"weights": 3}', '{"weights": [1, 2]}'])
def test_a_damaged_cache_is_written_again(tmp_path: Path, cache: Path, text: str) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"a" * 2000)
    cache.parent.mkdir(parents=True)
    cache.write_text(text)
    assert sha256(path) == hashlib.sha256(b"a" * 2000).hexdigest()
    assert str(path) in json.loads(cache.read_text())


def test_without_a_cache_folder_files_are_hashed_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    path = tmp_path / "weights"
    path.write_bytes(b"a" * 2000)
    for _ in range(2):
        as_another_process()
        assert sha256(path) == hashlib.sha256(b"a" * 2000).hexdigest()


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"the weights file .*gone cannot be read: No such file"):
        sha256(tmp_path / "gone")
