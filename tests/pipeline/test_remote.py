"""Corpus, manifest and store may lie on an object store: the same bytes come out, and failures keep their rows."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmpipe.manifests.io import write_manifest
from mmpipe.manifests.schema import MediaSpan, Utterance, to_table
from mmpipe.pipeline.store.feature_store import FeatureStore

from .conftest import tone, write_video, write_wav
from .runs import call, contents, run_in_a_row
from .s3_server import s3_server

_AT = "from fsspec.core import url_to_fs as at; fs, path = at({!r}); "
"""Code that talks to the store runs in processes of its own, between commands that do."""


def fetch(url: str, folder: object) -> str:
    return _AT.format(url) + f"fs.get(path, {str(folder)!r}, recursive=True)"


def send(source: object, url: str) -> str:
    return _AT.format(url) + f"fs.put({str(source)!r}, path, recursive=True)"


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A bucket of an S3 server that runs for this module, found through the usual environment variables."""
    with s3_server():
        yield "s3://speech"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Films, PCM, something broken and something missing, with their manifest."""
    root = tmp_path_factory.mktemp("corpus")
    for number in range(15):
        write_video(root / f"film {number}.mp4", 20, audio=tone(0.8, seed=number))
    write_wav(root / "speech.wav", tone(3.0))
    (root / "broken.mp4").write_bytes(b"no film")
    names = [*sorted(path.name for path in root.iterdir()), "missing.mp4"]
    spans = [MediaSpan(name, 0.2, 0.7) if name.startswith(("film", "speech")) else MediaSpan(name) for name in names]
    rows = (Utterance(f"folder/{s.uri}", "folder", audio=s, video=s, text=f"words of {s.uri}") for s in spans)
    write_manifest(to_table(rows), root / "manifest.parquet", {})
    return root


STAGES = ["--stages", "audio,faces", "--set", "faces.detector=full-frame", "--device", "cpu", "--workers", "1"]


def extract(root: object, out: object, *more: str) -> list[object]:
    """The command."""
    where = ["--dataset", "folder", "--root", root, "--manifest", f"{root}/manifest.parquet", "--out", out]
    return ["extract", *where, *STAGES, *more]


def test_a_remote_corpus_gives_the_bytes_of_a_local_one_in_a_remote_store(
    bucket: str, corpus: Path, tmp_path: Path
) -> None:
    local = call(*extract(corpus, tmp_path / "local"))
    assert local.returncode == 0, local.stderr
    store = f"{bucket}/store"
    planned, one_half, due, the_rest, again, shown, one, sound, complete = run_in_a_row(
        send(f"{corpus}/", f"{bucket}/corpus/"),
        [*extract(f"{bucket}/corpus", store)[: -len(STAGES)], *STAGES[:-2], "--plan-only"],
        extract(f"{bucket}/corpus", store, "--slice", "1/2"),
        ["inspect", store, "--missing"],
        extract(f"{bucket}/corpus", store),
        extract(f"{bucket}/corpus", store),
        ["inspect", store],
        ["inspect", store, "--utterance", "folder/speech.wav"],
        ["inspect", store, "--verify"],
        ["inspect", store, "--missing"],
        fetch(store, f"{tmp_path}/"),
    )
    for done in (planned, one_half, the_rest, again, shown, one, sound, complete):
        assert done.returncode == 0, done.stderr
    assert due.returncode == 3 and "slices 2 are due" in due.stderr, due.stdout + due.stderr
    fetched = tmp_path / "store"
    assert contents(fetched) == contents(tmp_path / "local")
    statuses = FeatureStore(fetched).statuses("audio")
    assert statuses == {"ok": 16, "media_error": 1, "media_missing": 1}
    assert "Nothing to do" in again.stdout and "Nothing to do" not in the_rest.stdout
    assert "ok 16" in shown.stdout
    assert "words of speech.wav" in one.stdout

    shard = fetched / "audio" / "00000.parquet"
    data = shard.read_bytes()
    shard.write_bytes(data[:900] + bytes([data[900] ^ 1]) + data[901:])
    (found,) = run_in_a_row(send(shard, f"{store}/audio/00000.parquet"), ["inspect", store, "--verify"])
    assert found.returncode == 1
    assert "damaged: audio/00000.parquet" in found.stdout


LOCKED = """
from threading import Thread
from mmpipe.core.errors import BusyError
from mmpipe.core.exclusive import exclusive
from mmpipe.core.files import location
from mmpipe.pipeline.extraction.writer import writing
store, inside, most = location({!r}), [0], [0]
def count():
    for _ in range(3):
        with exclusive(store / "logs" / "plan.lock"):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            inside[0] -= 1
threads = [Thread(target=count) for _ in range(3)]
[thread.start() for thread in threads], [thread.join() for thread in threads]
assert most == [1], most
with writing(store, "one", (1, 2), print) as held:
    held.check()
    with writing(store, "one", (2, 2), print):
        pass
    try:
        with writing(store, "other", (2, 2), print):
            raise SystemExit("two writers at once")
    except BusyError as error:
        assert "is being written by mmpipe extract --slice 1/2 (process" in str(error), error
store.fs.invalidate_cache()
assert not list(store.rglob("*lock*"))
"""


def test_a_store_in_a_bucket_has_one_writer(bucket: str) -> None:
    command = [sys.executable, "-c", LOCKED.format(f"{bucket}/locked")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_a_bucket_that_cannot_be_written_is_named(bucket: str, corpus: Path) -> None:
    where = ["--dataset", "folder", "--root", corpus, "--manifest", corpus / "manifest.parquet"]
    (done,) = run_in_a_row(["extract", *where, *STAGES, "--out", "s3://nowhere/store"])
    assert done.returncode == 1
    assert "s3://nowhere/store" in done.stderr and "the bucket does not exist (NoSuchBucket): make it" in done.stderr
