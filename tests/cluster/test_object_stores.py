"""A whole extraction from a bucket into a bucket, killed and hindered again and again, gives the files of a disk."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmpipe.manifests.samples import sample_root

from ..pipeline.runs import clean_environment, contents, run, run_in_a_row, start
from ..pipeline.s3_server import Request, S3Server, s3_server

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

_AT = "from fsspec.core import url_to_fs as at; fs, path = at({!r}); "

OPTIONS = ["--stages", "audio,faces", "--set", "faces.detector=full-frame", "--set", "faces.every=25", "--workers", "2"]
WINDOWS = ["--num-crops", "40", "--crop", "2"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server with the sample of AMI in its bucket."""
    with s3_server() as running:
        os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))  # the server's end restores the variables
        send = f"fs.put({str(sample_root('ami')) + '/'!r}, 's3://speech/ami/', recursive=True)"
        run_in_a_row(_AT.format("s3://speech") + "fs.mkdir(path)", _AT.format("s3://speech") + send)
        yield running


@pytest.fixture(scope="module")
def local(server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an extraction from a disk to a disk gives."""
    store = tmp_path_factory.mktemp("local") / "store"
    done = run(*extract(sample_root("ami"), store))
    assert done.returncode == 0, done.stderr
    return contents(store)


def extract(root: object, out: object, *more: object) -> list[object]:
    return ["extract", "--dataset", "ami", "--root", root, *WINDOWS, "--out", out, *OPTIONS, *more]


def held(url: str, folder: Path) -> dict[str, bytes]:
    run_in_a_row(_AT.format(url) + f"fs.get(path, {str(folder / 'store')!r}, recursive=True)")
    return contents(folder / "store")


@pytest.mark.parametrize("cache", [[], ["--media-cache", "3MB"]], ids=["by-range", "kept"])
def test_a_run_that_is_killed_again_and_again_gives_the_same_files(
    cache: list[str], server: S3Server, local: dict[str, bytes], tmp_path: Path
) -> None:
    url, random_ = f"s3://speech/killed-{len(cache)}", random.Random(len(cache))
    for _ in range(4):
        server.seen.clear()
        process = start(*extract("s3://speech/ami", url, *cache))
        deadline, wanted = time.monotonic() + 120, random_.randint(60, 400)
        while process.poll() is None and len(server.seen) < wanted and time.monotonic() < deadline:
            time.sleep(0.05)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        shards = _AT.format(url) + "bad = [f for f in fs.find(path) if '.part' in f]; assert not bad, bad"
        run_in_a_row(shards)
    done = run(*extract("s3://speech/ami", url, *cache))
    assert done.returncode == 0, done.stderr
    assert held(url, tmp_path) == local


def test_random_errors_never_change_a_byte(server: S3Server, local: dict[str, bytes], tmp_path: Path) -> None:
    random_, url = random.Random(7), "s3://speech/hindered"

    def fault(request: Request) -> str | None:
        return random_.choices(["SlowDown", "InternalError", "slow", None], [5, 5, 0.2, 90])[0]

    server.fault = fault
    try:
        done = run(*extract("s3://speech/ami", url, "--media-cache", "3MB"))
    finally:
        server.fault = lambda request: None
    assert done.returncode == 0, done.stderr
    assert held(url, tmp_path) == local


def test_credentials_that_expire_at_any_request_cost_one_line_and_no_row(
    server: S3Server, local: dict[str, bytes], tmp_path: Path
) -> None:
    url = "s3://speech/expired"
    for limit in (3, 40, 90, 160, 250):
        left = [limit]

        def fault(request: Request, left: list[int] = left) -> str | None:
            left[0] -= 1
            return "ExpiredToken" if left[0] < 0 else None

        server.fault = fault
        done = subprocess.run(
            start_command(extract("s3://speech/ami", url)),
            env=clean_environment() | {"AWS_MAX_ATTEMPTS": "1"},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        server.fault = lambda request: None
        assert done.returncode == 1, (limit, done.stdout, done.stderr)
        assert done.stderr.count("\n") == 1 and "expired" in done.stderr, (limit, done.stderr)
    done = run(*extract("s3://speech/ami", url))
    assert done.returncode == 0, done.stderr
    assert held(url, tmp_path) == local


def start_command(arguments: list[object]) -> list[str]:
    import sys

    return [sys.executable, "-c", "from mmpipe.pipeline.cli.app import main; main()", *map(str, arguments)]


def test_two_slices_at_once_share_a_small_cache_and_a_store(
    server: S3Server, local: dict[str, bytes], tmp_path: Path
) -> None:
    url, codes = "s3://speech/slices", list[int]()

    def one(part: str) -> None:
        codes.append(run(*extract("s3://speech/ami", url, "--media-cache", "2MB", "--slice", part)).returncode)

    threads = [threading.Thread(target=one, args=(part,)) for part in ("1/2", "2/2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0, 0]
    assert held(url, tmp_path) == local
