"""`mmpipe report`: stores, balanced lists and runs on one page."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mmpipe.core.errors import UsageError
from mmpipe.pipeline.cli.console import result
from mmpipe.pipeline.cli.modes import one_mode, refuse_ignored
from mmpipe.pipeline.cli.options import Config, Overwrite, Sample, located

__all__ = ["report"]


class _Format(StrEnum):
    """How a report is written."""

    HTML = "html"
    MD = "md"
    PNG = "png"


def report(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(
            parser=located,
            metavar="SOURCES...",
            help="Feature stores, manifests, balanced lists, run folders and folders of tables, in any order.",
        ),
    ] = None,
    run: Annotated[list[Path], typer.Option(help="Run folder of `mmpipe train`. Repeatable.")] = [],  # noqa: B006
    balanced: Annotated[Path | None, typer.Option(help="Balanced list of `mmpipe balance-unlabeled`.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The page, or the folder. Default: report.html, report.md or report-png.")
    ] = None,
    format_: Annotated[
        _Format,
        typer.Option("--format", help="One HTML page, Markdown with PNG files beside it, or a folder of these alone."),
    ] = _Format.HTML,
    overwrite: Overwrite = False,
    sample: Sample = False,
    config: Config = None,
) -> None:
    """Write one self-contained page about stores, lists and runs; with media where the corpus's root is known."""
    from mmpipe.pipeline.report.page import build_report
    from mmpipe.pipeline.report.sources import sort_sources

    one_mode({"--sample": sample, "--config": config})
    stores = [path for path in sources or [] if (path / "store.json").exists()]
    if not stores:
        refuse_ignored("without a feature store", {"--sample": sample, "--config": config})
    sorted_ = sort_sources(sources or [])
    chosen = replace(
        sorted_,
        runs=list(dict.fromkeys([*sorted_.runs, *run])),
        balanced=list(dict.fromkeys([*sorted_.balanced, *([] if balanced is None else [balanced])])),
        roots=_corpus_roots(stores, sample=sample, config=config),
    )
    default = Path("report-png" if format_ is _Format.PNG else f"report.{format_}")
    page = build_report(chosen, out or default, format_=format_.value, overwrite=overwrite)
    result(f"Report: {page}")


def _corpus_roots(stores: Sequence[Path], *, sample: bool, config: Path | None) -> dict[Path, Path]:
    """The corpus root of each store, where the environment or mmpipe.toml names it or the samples are asked for."""
    from mmpipe.pipeline.cli.settings import dataset_root, load_settings
    from mmpipe.pipeline.store.feature_store import FeatureStore

    settings, roots = load_settings(config), {}
    for store in stores:
        with suppress(UsageError):
            roots[store] = dataset_root(FeatureStore(store).corpus, None, settings, sample=sample)
    return roots
