"""`mmpipe browse`: a local page to look through the utterances of feature stores, and to mark them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmpipe.core.errors import UsageError
from mmpipe.pipeline.cli.console import console, result, styled
from mmpipe.pipeline.cli.modes import one_mode
from mmpipe.pipeline.cli.options import Config, FollowLinks, Root, Sample, allow_links

if TYPE_CHECKING:
    from mmpipe.pipeline.browse.catalog import Catalog, OpenStore
    from mmpipe.pipeline.cli.settings import Settings

__all__ = ["browse"]


class _Host(StrEnum):
    """Addresses of the loopback interface."""

    IPV4 = "127.0.0.1"
    IPV6 = "::1"


def browse(
    stores: Annotated[list[Path], typer.Argument(metavar="STORE...", help="Feature stores.")],
    balanced: Annotated[Path | None, typer.Option(help="Balanced list: shows pseudo-labels.")] = None,
    out: Annotated[Path, typer.Option(help="Where marks are kept.")] = Path("marks.csv"),
    root: Root = None,
    sample: Sample = False,
    config: Config = None,
    follow_links: FollowLinks = False,
    host: Annotated[_Host, typer.Option(help="Address of this machine alone.")] = _Host.IPV4,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8765,
) -> None:
    """Look through utterances in a browser on this machine: filter, play, mark as bad, correct labels."""
    one_mode({"--root": root, "--sample": sample, "--config": config})
    if root is not None and len(stores) > 1:
        raise UsageError("--root names the corpus of one store: name the roots of several in mmpipe.toml")
    if find_spec("starlette") is None or find_spec("uvicorn") is None:
        raise UsageError("the page needs the packages starlette and uvicorn: pip install 'mmpipe[browse]'")
    from mmpipe.core.locks import writing_alone
    from mmpipe.pipeline.browse.marks import MarkList
    from mmpipe.pipeline.browse.media import Clips
    from mmpipe.pipeline.browse.server import listen, make_app, serve
    from mmpipe.pipeline.cli.settings import load_settings

    allow_links(follow_links)
    opened = _opened(stores, root, load_settings(config), sample=sample)
    catalog = _read(opened, balanced)
    MarkList(out)  # a file that is not a list is refused before its lock is made
    with writing_alone(out, "mmpipe browse"), listen(host.value, port) as listening, Clips() as clips:
        marks = MarkList(out)
        address = f"[{host.value}]" if host is _Host.IPV6 else host.value
        console.print(f"{len(catalog)} utterances, {len(marks.current())} marks in {out}")
        result(f"Open http://{address}:{listening.getsockname()[1]}/ ; Ctrl-C ends it")
        with suppress(KeyboardInterrupt):  # the server ends in good order, then raises the signal again
            serve(make_app(catalog, marks, clips), listening)
        console.print(f"{len(marks.current())} marks are in {out}")


def _opened(paths: Sequence[Path], root: Path | None, settings: Settings, *, sample: bool) -> list[OpenStore]:
    """The stores with their corpus roots; one whose root is not known is shown without media."""
    from mmpipe.pipeline.browse.catalog import OpenStore
    from mmpipe.pipeline.cli.store_source import find_root
    from mmpipe.pipeline.extraction.source import Source, read_source
    from mmpipe.pipeline.store.feature_store import FeatureStore

    opened: list[OpenStore] = []
    for path in paths:
        store, without = FeatureStore(path), ""
        folder: Path | None = None
        try:
            folder = find_root(read_source(path) or Source(store.corpus, ""), root, settings, sample=sample)
        except UsageError as error:
            without = str(error)
            console.print(styled("[yellow]{} is shown without media[/]: {}", path, without))
        else:
            console.print(f"{path}: media of {folder}")
        opened.append(OpenStore(_name(path, [other.name for other in opened]), store, folder, without))
    return opened


def _name(path: Path, taken: Sequence[str]) -> str:
    """What links call a store: the name of its folder, with a number where another one has it."""
    name = path.resolve().name or "store"
    return next(n for n in (name, *(f"{name}-{k}" for k in range(2, len(taken) + 3))) if n not in taken)


def _read(opened: Sequence[OpenStore], balanced: Path | None) -> Catalog:
    """Read what the page lists, with progress."""
    from mmpipe.pipeline.browse.catalog import open_catalog
    from mmpipe.pipeline.browse.pseudo import read_pseudo_labels
    from mmpipe.pipeline.cli.progress import progress

    pseudo = None if balanced is None else read_pseudo_labels(balanced)
    with progress("shard") as bars:
        bar = bars.add_task("reading", total=sum(o.store.num_shards * len(o.store.info["stages"]) for o in opened))
        return open_catalog(opened, pseudo, lambda: bars.advance(bar))
