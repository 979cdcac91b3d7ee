"""A whole extraction from a bucket into a bucket, killed and hindered again and again, gives the files of a disk."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from mmpipe.manifests.samples import sample_root

from ..pipeline.runs import contents, run, run_in_a_row, start
from ..pipeline.s3_server import Request, S3Server, s3_server

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

OPTIONS = ["--stages", "audio,faces", "--set", "faces.detector=full-frame", "--set", "faces.every=25", "--workers", "2"]
WINDOWS = ["--num-crops", "40", "--crop", "2"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server with the sample of AMI in its bucket."""
    with s3_server() as running:
        os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))  # the server's end restores the variables
        running.put("speech/ami", sample_root("ami"))
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


@pytest.mark.parametrize("cache", [[], ["--media-cache", "3MB"]], ids=["by-range", "kept"])
def test_a_run_that_is_killed_again_and_again_gives_the_same_files(
    cache: list[str], server: S3Server, local: dict[str, bytes]
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
        for name, data in server.contents(url.removeprefix("s3://")).items():
            assert local[name] == data or name == "store.json", f"{name} is whole, or not there"
    done = run(*extract("s3://speech/ami", url, *cache))
    assert done.returncode == 0, done.stderr
    assert server.contents(url.removeprefix("s3://")) == local


def test_random_errors_never_change_a_byte(server: S3Server, local: dict[str, bytes]) -> None:
    random_, url = random.Random(7), "s3://speech/hindered"

    def fault(request: Request) -> str | None:
        return random_.choices(["SlowDown", "InternalError", "slow", None], [5, 5, 0.2, 90])[0]

    server.fault = fault
    try:
        done = run(*extract("s3://speech/ami", url, "--media-cache", "3MB"))
    finally:
        server.fault = lambda request: None
    assert done.returncode == 0, done.stderr
    assert server.contents(url.removeprefix("s3://")) == local


def test_credentials_that_expire_at_any_request_cost_one_line_and_no_row(
    server: S3Server, local: dict[str, bytes]
) -> None:
    url = "s3://speech/expired"
    for limit in (3, 40, 90, 160, 250):
        left = [limit]

        def fault(request: Request, left: list[int] = left) -> str | None:
            left[0] -= 1
            return "ExpiredToken" if left[0] < 0 else None

        server.fault = fault
        (done,) = run_in_a_row(extract("s3://speech/ami", url), AWS_MAX_ATTEMPTS="1")
        server.fault = lambda request: None
        assert done.returncode == 1, (limit, done.stdout, done.stderr)
        assert done.stderr.count("\n") == 1 and "expired" in done.stderr, (limit, done.stderr)
    done = run(*extract("s3://speech/ami", url))
    assert done.returncode == 0, done.stderr
    assert server.contents(url.removeprefix("s3://")) == local


def test_two_slices_at_once_share_a_small_cache_and_a_store(server: S3Server, local: dict[str, bytes]) -> None:
    url, codes = "s3://speech/slices", list[int]()

    def one(part: str) -> None:
        codes.append(run(*extract("s3://speech/ami", url, "--media-cache", "2MB", "--slice", part)).returncode)

    threads = [threading.Thread(target=one, args=(part,)) for part in ("1/2", "2/2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0, 0]
    assert server.contents(url.removeprefix("s3://")) == local


REMEDIES = {
    "AccessDenied": "let these credentials read and write there",
    "ExpiredToken": "AWS_SESSION_TOKEN",
    "QuotaExceeded": "free space or lift the quota",
    "InternalError": "wait until it works again",
    "SlowDown": "wait until it works again",
}


@pytest.mark.parametrize("code", REMEDIES)
def test_an_object_store_that_refuses_a_shard_ends_the_run_with_one_line(
    code: str, server: S3Server, local: dict[str, bytes]
) -> None:
    url = f"s3://speech/refused-{code.lower()}"
    server.fault = lambda r: code if r.kind == "PUT" and r.place.endswith("faces/00001.parquet") else None
    (refused,) = run_in_a_row(extract("s3://speech/ami", url), AWS_MAX_ATTEMPTS="2")
    server.fault = lambda request: None
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1, refused
    assert f"{url}/faces/00001.parquet cannot be written" in refused.stderr and REMEDIES[code] in refused.stderr
    verified, resumed = run_in_a_row(["inspect", url, "--verify"], extract("s3://speech/ami", url))
    assert "damaged" not in verified.stdout, verified.stdout
    assert resumed.returncode == 0, resumed.stderr
    assert server.contents(url.removeprefix("s3://")) == local


def test_a_server_that_is_away_and_a_profile_that_is_unknown_are_named(server: S3Server) -> None:
    inspect = ["inspect", "s3://speech/some"]
    (lost,) = run_in_a_row(inspect, AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_MAX_ATTEMPTS="2")
    (unknown,) = run_in_a_row(inspect, AWS_PROFILE="nobody")
    assert "the object store cannot be reached" in lost.stderr and lost.stderr.count("\n") == 1, lost.stderr
    assert "AWS_PROFILE" in unknown.stderr and unknown.stderr.count("\n") == 1, unknown.stderr
