"""An object store that refuses, breaks or ends in the middle of an answer costs one line."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from .runs import run_in_a_row

_ERROR = '<?xml version="1.0"?><Error><Code>{}</Code><Message>{}</Message></Error>'


class _Answers(BaseHTTPRequestHandler):
    """S3 as it answers on a bad day; the bucket's name says which."""

    def do_GET(self) -> None:
        bucket = self.path.split("/")[1].partition("?")[0]
        if bucket == "cut":
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(b'{"format": "mmp')
            self.close_connection = True
            return
        code, name = {"denied": (403, "AccessDenied"), "expired": (400, "ExpiredToken")}.get(bucket, (500, "Broken"))
        body = _ERROR.format(name, "no\x1b[31m").replace("\x1b", "").encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_PUT = do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def test_an_object_store_that_fails_is_answered_with_one_line(server: str) -> None:
    environment = {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }
    buckets = ("denied", "expired", "broken", "cut")
    quick = "import s3fs.core; s3fs.core.S3FileSystem.retries = 1"
    steps = [["inspect", f"s3://{bucket}/store"] for bucket in buckets]
    runs = run_in_a_row(quick, *steps, cwd=None, **environment)
    for bucket, done in zip(buckets, runs, strict=True):
        assert done.returncode == 1, (bucket, done)
        lines = done.stderr.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("Error: ") and "unexpected" not in lines[0], (bucket, lines)
        assert "object store" in lines[0] or "feature store" in lines[0], (bucket, lines)
