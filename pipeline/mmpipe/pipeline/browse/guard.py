"""What a browser may ask of the local page, and what it may do with an answer.

A page of another site may let the user's browser send requests to 127.0.0.1, also under a name of its own that it makes
point there (DNS rebinding). So names other than those of the loopback interface, and requests that another origin
makes, are refused.
"""

from __future__ import annotations

import re
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

__all__ = ["Guard"]

_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "img-src 'self'",
        "media-src 'self'",
        "style-src 'self'",
        "script-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)

_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """ASGI middleware: refuses foreign hosts and origins, and adds the headers of security to every answer."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"only HTTP is served, not {scope['type']}")

        async def send_guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        problem = _problem(Headers(scope=scope), scope["method"])
        app = self._app if problem is None else PlainTextResponse(problem, 403)
        await app(scope, receive, send_guarded)


def _problem(headers: Headers, method: str) -> str | None:
    """Why a request is refused, or None."""
    hosts = headers.getlist("host")
    if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
        return "This page answers to 127.0.0.1, [::1] and localhost only."
    if any(origin.lower() != f"http://{hosts[0].lower()}" for origin in headers.getlist("origin")):
        return "Another site asked for this: open the page itself."
    site = headers.get("sec-fetch-site", "none")
    is_visit = method == "GET" and headers.get("sec-fetch-mode") == "navigate"
    if site not in ("same-origin", "none") and not (is_visit and headers.get("sec-fetch-dest") == "document"):
        return "Another site asked for this: open the page itself."
    return None
