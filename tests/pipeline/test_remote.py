"""Corpus, manifest and store may lie on an object store: the same bytes come out, and failures keep their rows."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmpipe.manifests.io import write_manifest
from mmpipe.manifests.schema import MediaSpan, Utterance, to_table
from mmpipe.pipeline.store.feature_store import FeatureStore

from .conftest import tone, write_video, write_wav
from .runs import contents, run

_AT = "import sys; from fsspec.core import url_to_fs as at; fs, path = at(sys.argv[1]); "
FETCH = _AT + "fs.get(path, sys.argv[2], recursive=True)"
SEND = _AT + "fs.put(sys.argv[2], path, recursive=True)"
BUCKET = _AT + "fs.mkdir(path)"


def python(code: str, *arguments: object) -> None:
    """Run code that talks to the store in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A bucket of an S3 server that runs for this module, found through the usual environment variables."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not answers(port):
        assert time.monotonic() < deadline and server.poll() is None, "the S3 server does not answer"
        time.sleep(0.1)
    variables = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    saved = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        python(BUCKET, "s3://speech")
        yield "s3://speech"
    finally:
        server.terminate()
        server.wait()
        for name, value in saved.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Films, PCM, something broken and something missing, with their manifest."""
    root = tmp_path_factory.mktemp("corpus")
    for number in range(18):
        write_video(root / f"film {number}.mp4", 30, audio=tone(1.2, seed=number))
    write_wav(root / "speech.wav", tone(3.0))
    (root / "broken.mp4").write_bytes(b"no film")
    names = [*sorted(path.name for path in root.iterdir()), "missing.mp4"]
    spans = [MediaSpan(name, 0.2, 1.0) if name.startswith(("film", "speech")) else MediaSpan(name) for name in names]
    rows = (Utterance(f"folder/{s.uri}", "folder", audio=s, video=s, text=f"words of {s.uri}") for s in spans)
    write_manifest(to_table(rows), root / "manifest.parquet", {})
    return root


STAGES = ["--stages", "audio,faces", "--set", "faces.detector=full-frame", "--device", "cpu", "--workers", "2"]


def extract(root: object, out: object, *more: str) -> str:
    """Run the command; what it printed."""
    where = ["--dataset", "folder", "--root", root, "--manifest", f"{root}/manifest.parquet", "--out", out]
    done = run("extract", *where, *STAGES, *more)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_remote_corpus_gives_the_bytes_of_a_local_one_in_a_remote_store(
    bucket: str, corpus: Path, tmp_path: Path
) -> None:
    extract(corpus, tmp_path / "local")
    python(SEND, f"{bucket}/corpus/", f"{corpus}/")
    extract(f"{bucket}/corpus", f"{bucket}/store", "--slice", "1/2")
    extract(f"{bucket}/corpus", f"{bucket}/store")
    fetched = tmp_path / "store"
    python(FETCH, f"{bucket}/store", f"{tmp_path}/")
    assert contents(fetched) == contents(tmp_path / "local")
    statuses = FeatureStore(fetched).statuses("audio")
    assert statuses == {"ok": 19, "media_error": 1, "media_missing": 1}
    assert "Nothing to do" in extract(f"{bucket}/corpus", f"{bucket}/store")

    shown = run("inspect", f"{bucket}/store")
    assert shown.returncode == 0, shown.stderr
    assert "ok 19" in shown.stdout
    one = run("inspect", f"{bucket}/store", "--utterance", "folder/speech.wav")
    assert "words of speech.wav" in one.stdout
    assert run("inspect", f"{bucket}/store", "--verify").returncode == 0
    shard = fetched / "audio" / "00000.parquet"
    data = shard.read_bytes()
    shard.write_bytes(data[:900] + bytes([data[900] ^ 1]) + data[901:])
    python(SEND, f"{bucket}/store/audio/00000.parquet", shard)
    found = run("inspect", f"{bucket}/store", "--verify")
    assert found.returncode == 1
    assert "damaged: audio/00000.parquet" in found.stdout


def test_a_bucket_that_cannot_be_written_is_named(bucket: str, corpus: Path) -> None:
    where = ["--dataset", "folder", "--root", corpus, "--manifest", corpus / "manifest.parquet"]
    done = run("extract", *where, *STAGES, "--out", "s3://nowhere/store")
    assert done.returncode == 1
    assert "s3://nowhere/store" in done.stderr and "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_manifest_a_remote_corpus_is_refused_with_the_remedy(tmp_path: Path) -> None:
    done = run("extract", "--dataset", "ami", "--root", "s3://speech/ami", "--out", tmp_path / "store")
    assert done.returncode == 2
    assert "--manifest FILE --root s3://speech/ami" in done.stderr
    assert not (tmp_path / "store").exists()
