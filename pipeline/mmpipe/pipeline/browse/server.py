"""The local page: what it answers to which request.

    GET  /             the list, with its filters in the link
    GET  /utterance    one utterance, `store` and `id` in the link, the filters of the list too
    GET  /clip         its audio or video; GET /face: one of its face crops
    GET  /marks.csv    the list of marks
    POST /mark         changes the mark of an utterance; needs the token of the page

`Guard` refuses requests of other sites before any of these sees them.
"""

from __future__ import annotations

import re
import secrets
import socket
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qsl, urlencode

import uvicorn
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from mmpipe.core.errors import MmpipeError, Rejected, UsageError
from mmpipe.core.statuses import STATUSES
from mmpipe.core.text import clean
from mmpipe.pipeline.browse.catalog import NONE, Catalog
from mmpipe.pipeline.browse.guard import Guard
from mmpipe.pipeline.browse.marks import MarkList
from mmpipe.pipeline.browse.media import CLIP_SECONDS, Clips, Kind, media_problem
from mmpipe.pipeline.browse.query import MARKED, PAGE_ROWS, Filters
from mmpipe.pipeline.store.marks import Mark, list_text

__all__ = ["listen", "make_app", "serve"]

_STATIC = {"browse.css": "text/css", "browse.js": "text/javascript", "icon.svg": "image/svg+xml"}

_MOST_BODY = 1 << 16
"""Bytes of a form."""

_LONGEST_LABEL, _LONGEST_NOTE = 100, 2000

_FEW_VALUES = 100
"""Values of a facet that a menu lists; of more, the most frequent are proposed."""


def make_app(catalog: Catalog, marks: MarkList, clips: Clips) -> Guard:
    """The application: what it shows, where marks are kept, and where clips are cut to."""
    page = _Pages(catalog, marks, clips)
    routes = [
        Route("/", page.list_),
        Route("/utterance", page.utterance),
        Route("/clip", page.clip),
        Route("/face", page.face),
        Route("/marks.csv", page.export),
        Route("/mark", page.mark, methods=["POST"]),
        Route("/static/{name}", page.static),
    ]
    handlers: dict[Any, Callable[..., Response]] = {HTTPException: page.refused, MmpipeError: page.failed}
    return Guard(Starlette(routes=routes, exception_handlers=handlers))


def listen(host: str, port: int) -> socket.socket:
    """A socket on the loopback interface; port 0 takes a free one.

    Raises:
        UsageError: the port is in use, or the address is not there.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise UsageError(
            f"{host} port {port} cannot be used ({error.strerror}): name another one with --port, or --port 0 for any "
            "that is free"
        ) from error


def serve(app: Guard, listening: socket.socket) -> None:
    """Answer requests until the process is interrupted."""
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, proxy_headers=False, server_header=False, lifespan="off", ws="none"
    )
    uvicorn.Server(config).run([listening])


class _Pages:
    """Answers of the page."""

    def __init__(self, catalog: Catalog, marks: MarkList, clips: Clips) -> None:
        self._catalog, self._marks, self._clips = catalog, marks, clips
        self._token = secrets.token_urlsafe(32)
        self._static = {name: (files("mmpipe.pipeline.browse") / "static" / name).read_bytes() for name in _STATIC}
        self._templates = Environment(
            loader=PackageLoader("mmpipe.pipeline.browse"),
            autoescape=select_autoescape(default=True, default_for_string=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals.update(
            link=_link, none=NONE, meanings=STATUSES, stores=list(catalog.stores), clip_seconds=CLIP_SECONDS
        )

    def list_(self, request: Request) -> Response:
        """A page of the list."""
        filters, marks = Filters.parse(request.query_params, self._catalog), self._marks.current()
        rows = filters.rows(self._catalog, marks)
        pages = max(1, -(-len(rows) // PAGE_ROWS))
        first = (filters.page - 1) * PAGE_ROWS
        return self._html(
            "list.html.j2",
            filters=filters,
            menus=self._menus(),
            status_chosen=any(name.startswith("status.") for name in filters.facets),
            has_pseudo="pseudo" in self._catalog.facets,
            marked=MARKED,
            found=len(rows),
            total=len(self._catalog),
            first=first,
            pages=pages,
            rows=self._catalog.shown(rows[first : first + PAGE_ROWS].tolist()),
            marks=marks,
            list_path=self._marks.path,
        )

    def utterance(self, request: Request) -> Response:
        """One utterance."""
        row = self._row(request.query_params)
        filters, marks = Filters.parse(request.query_params, self._catalog), self._marks.current()
        rows, detail = filters.rows(self._catalog, marks), self._catalog.detail(row)
        place = int(rows.searchsorted(row))
        is_listed = place < len(rows) and rows[place] == row
        after = place + 1 if is_listed else place
        utterance, root = detail.utterance, detail.opened.root
        kinds: tuple[Kind, ...] = ("video", "audio")
        spans = {"video": utterance.video, "audio": utterance.audio}
        return self._html(
            "utterance.html.j2",
            filters=filters.query(page=place // PAGE_ROWS + 1),
            detail=detail,
            problems={kind: media_problem(spans[kind], root, kind) for kind in kinds},
            before=self._catalog.name_of(int(rows[place - 1])) if place > 0 else None,
            after=self._catalog.name_of(int(rows[after])) if after < len(rows) else None,
            place=place + 1 if is_listed else None,
            found=len(rows),
            mark=marks.get(utterance.utterance_id, Mark()),
            labels=sorted({*self._values("label"), *self._values("pseudo")}),
            token=self._token,
            list_path=self._marks.path,
        )

    def clip(self, request: Request) -> Response:
        """The audio or video of an utterance."""
        utterance, opened = self._catalog.utterance(self._row(request.query_params))
        kind: Kind = "video" if request.query_params.get("kind") == "video" else "audio"
        span = utterance.video if kind == "video" else utterance.audio
        problem = media_problem(span, opened.root, kind)
        if problem is not None or opened.root is None:
            raise HTTPException(404, problem)
        try:
            path = self._clips.clip(opened.name, utterance, opened.root, kind)
        except Rejected as error:
            raise HTTPException(404, str(error)) from error
        return FileResponse(path, media_type="video/mp4" if kind == "video" else "audio/wav")

    def face(self, request: Request) -> Response:
        """A face crop."""
        number, row = request.query_params.get("n", ""), self._row(request.query_params)
        crop = self._catalog.crop(row, int(number)) if re.fullmatch("[0-9]{1,9}", number) else None
        if crop is None:
            raise HTTPException(404, "the utterance has no such face")
        return Response(crop, media_type="image/png")

    def export(self, request: Request) -> Response:
        """The list of marks as a file."""
        headers = {"content-disposition": 'attachment; filename="marks.csv"'}
        return Response(list_text(self._marks.current()), media_type="text/csv", headers=headers)

    def static(self, request: Request) -> Response:
        """Style, script and icon."""
        name = request.path_params["name"]
        if name not in self._static:
            raise HTTPException(404, "there is no such file")
        return Response(self._static[name], media_type=_STATIC[name])

    async def mark(self, request: Request) -> Response:
        """Change the mark of an utterance, and show it again."""
        form = await _form(request)
        if not secrets.compare_digest(form.get("token", "").encode(), self._token.encode()):
            raise HTTPException(403, "the page is of an earlier start of the server: load it again")
        return await run_in_threadpool(self._changed, form)

    def _changed(self, form: Mapping[str, str]) -> Response:
        row = self._row(form)
        filters = Filters.parse(dict(parse_qsl(form.get("filters", ""))), self._catalog)
        label, note = clean(form.get("label", "")), form.get("note", "").replace("\r\n", "\n").strip()
        if len(label) > _LONGEST_LABEL or len(note) > _LONGEST_NOTE:
            raise UsageError(f"a label has at most {_LONGEST_LABEL} characters, a note {_LONGEST_NOTE}")
        utterance, opened = self._catalog.utterance(row)
        corrected = None if label in ("", utterance.label) else label
        self._marks.put(utterance.utterance_id, Mark("bad" in form, corrected, note.replace("\0", "")))
        return RedirectResponse(_link(opened.name, utterance.utterance_id, filters.query()), 303)

    def refused(self, request: Request, error: HTTPException) -> Response:
        """A request for what is not there, or that is not allowed."""
        return self._message(error.status_code, error.detail)

    def failed(self, request: Request, error: MmpipeError) -> Response:
        """A request with a wrong filter, or that met a store or list that cannot be used."""
        return self._message(400 if isinstance(error, UsageError) else 500, str(error))

    def _message(self, code: int, text: str) -> Response:
        return self._html("message.html.j2", code=code, text=text)

    def _html(self, template: str, code: int = 200, **values: Any) -> Response:
        return HTMLResponse(self._templates.get_template(template).render(code=code, **values), code)

    def _row(self, parameters: Mapping[str, str]) -> int:
        """The row of the utterance that a link names.

        Raises:
            HTTPException: there is none.
        """
        row = self._catalog.row_of(parameters.get("store", ""), parameters.get("id", ""))
        if row is None:
            raise HTTPException(404, "the stores have no such utterance")
        return row

    def _values(self, facet: str) -> tuple[str, ...]:
        held = self._catalog.facets.get(facet)
        return () if held is None else held.values

    def _menus(self) -> list[dict[str, Any]]:
        """The facets that tell rows apart: how the page and links call them, and their values."""
        menus = []
        for name, facet in self._catalog.facets.items():
            if len(facet.values) + (facet.missing > 0) < 2 and not name.startswith("status."):
                continue
            values = list(zip(facet.values, facet.counts, strict=True))
            menus.append(
                {
                    "facet": name,
                    "parameter": "from" if name == "store" else name,
                    "title": name.removeprefix("status.") if name.startswith("status.") else _TITLES.get(name, name),
                    "is_status": name.startswith("status."),
                    "is_long": len(values) > _FEW_VALUES,
                    "values": values[:_FEW_VALUES],
                    "missing": facet.missing,
                }
            )
        return menus


_TITLES = {"pseudo": "pseudo-label"}


def _link(store: str, utterance_id: str, filters: str = "", path: str = "/utterance", **more: Any) -> str:
    """The link of an utterance, or of its clip or face; with the filters of the list behind it."""
    query = urlencode({"store": store, "id": utterance_id, **more})
    return f"{path}?{query}" + (f"&{filters}" if filters else "")


async def _form(request: Request) -> dict[str, str]:
    """The fields of a posted form.

    Raises:
        HTTPException: it is of another kind, too large, or not UTF-8.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise HTTPException(415, "a form is expected")
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _MOST_BODY:
            raise HTTPException(413, f"a form has at most {_MOST_BODY} bytes")
    try:
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict"))
    except ValueError as error:
        raise HTTPException(400, "the form cannot be read") from error
