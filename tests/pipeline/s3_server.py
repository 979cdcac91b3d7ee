"""An S3 server in this process that counts its requests, and answers some of them as S3 does on a bad day."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import parse_qs

import pytest

_ERROR = '<?xml version="1.0"?><Error><Code>{}</Code><Message>{}</Message></Error>'

_CODES = {"AccessDenied": 403, "ExpiredToken": 400, "InternalError": 500, "SlowDown": 503, "QuotaExceeded": 507}
"""HTTP status of the errors that S3 and its like answer (API reference, Error responses)."""


@dataclass(frozen=True)
class Request:
    """What a client asks for: `LIST`, or the method; and the bucket with the key, or with the prefix of a listing."""

    kind: str
    place: str


Fault = Callable[[Request], str | None]
"""Answers a request with the code of an error, with `slow` for a pause, or not at all (None)."""


@dataclass
class S3Server:
    """A server at `url`.

    Attributes:
        url: its address.
        seen: all requests, in their order.
        backend: the objects themselves.
        fault: see `Fault`; it can be set while the server runs.
    """

    url: str
    backend: Any
    seen: list[Request] = field(default_factory=list)
    fault: Fault = lambda request: None

    @property
    def variables(self) -> dict[str, str]:
        """The usual environment variables of its clients."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_SESSION_TOKEN": "token",
            "AWS_REGION": "us-east-1",
        }

    def requests(self, kind: str, part: str = "") -> list[str]:
        """The places of the requests of a kind in whose place `part` is."""
        return [request.place for request in self.seen if request.kind == kind and part in request.place]

    def put(self, place: str, data: bytes | Path) -> None:
        """Put an object, or the files of a folder, at `BUCKET/KEY`, without a request."""
        if isinstance(data, Path):
            for path in sorted(data.rglob("*")):
                if path.is_file():
                    self.put(f"{place}/{path.relative_to(data).as_posix()}", path.read_bytes())
            return
        bucket, _, key = place.partition("/")
        self.backend.put_object(bucket, key, data)

    def contents(self, place: str) -> dict[str, bytes]:
        """What lies below `BUCKET/PREFIX`, but for logs, without a request."""
        bucket, _, prefix = place.partition("/")
        objects = {name: key.value for name, key in self.backend.buckets[bucket].keys.items()}
        start = f"{prefix}/"
        found = {name.removeprefix(start): data for name, data in objects.items() if name.startswith(start)}
        return {name: data for name, data in found.items() if not name.startswith("logs/")}


class _Counted:
    """A WSGI application in front of another one."""

    def __init__(self, inner: Any, server: S3Server) -> None:
        self._inner, self._server = inner, server
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        place, query = environ["PATH_INFO"].lstrip("/"), parse_qs(environ.get("QUERY_STRING", ""), True)
        kind = environ["REQUEST_METHOD"]
        if kind == "GET" and ("list-type" in query or "/" not in place):
            kind, place = "LIST", f"{place.rstrip('/')}/{query.get('prefix', [''])[0]}"
        with self._lock:
            self._server.seen.append(request := Request(kind, place))
            code = self._server.fault(request)
        if code == "slow":
            time.sleep(1.0)
        elif code is not None:
            body = b"" if kind == "HEAD" else _ERROR.format(code, "as the test wants").encode()
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))]
            start_response(f"{_CODES[code]} {code}", headers)
            return [body]
        return self._inner(environ, start_response)  # type: ignore[no-any-return]


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """A running server with the bucket `speech`; the environment names it to the processes that are started."""
    pytest.importorskip("moto.server")
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from moto.s3.models import s3_backends
    from werkzeug.serving import make_server

    backend = s3_backends["123456789012"]["aws"]  # the account of clients that name none
    backend.reset()
    backend.create_bucket("speech", "us-east-1")
    server = S3Server("", backend)
    application = _Counted(DomainDispatcherApplication(create_backend_app), server)
    running = make_server("127.0.0.1", 0, application, threaded=True)
    server.url = f"http://127.0.0.1:{running.server_port}"
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    try:
        with mock.patch.dict(os.environ, server.variables):
            yield server
    finally:
        running.shutdown()
        thread.join()
        running.server_close()
