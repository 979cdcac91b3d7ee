"""`mmpipe report`: stores, a balanced list and runs on one page."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from mmpipe.core.errors import UsageError
from mmpipe.pipeline.cli.console import result
from mmpipe.pipeline.cli.modes import one_mode, refuse_ignored
from mmpipe.pipeline.cli.options import Config, Overwrite, Sample, located

__all__ = ["report"]


def report(
    stores: Annotated[
        list[Path], typer.Argument(parser=located, metavar="STORES...", help="Feature stores, or manifests.")
    ],
    run: Annotated[list[Path], typer.Option(help="Run folder of `mmpipe train`. Repeatable.")] = [],  # noqa: B006
    balanced: Annotated[Path | None, typer.Option(help="Balanced list of `mmpipe balance-unlabeled`.")] = None,
    out: Annotated[Path, typer.Option(help="The page.")] = Path("report.html"),
    overwrite: Overwrite = False,
    sample: Sample = False,
    config: Config = None,
) -> None:
    """Write one self-contained HTML page about stores and runs; with frames where the corpus's root is known."""
    from mmpipe.pipeline.report.page import build_report

    one_mode({"--sample": sample, "--config": config})
    if not any((store / "store.json").exists() for store in stores):
        refuse_ignored("without a feature store", {"--sample": sample, "--config": config})
    roots = _corpus_roots(stores, sample=sample, config=config)
    result(f"Report: {build_report(stores, run, balanced, None, out, roots, overwrite=overwrite)}")


def _corpus_roots(stores: Sequence[Path], *, sample: bool, config: Path | None) -> dict[Path, Path]:
    """The corpus root of each store, where the environment or mmpipe.toml names it or the samples are asked for."""
    from mmpipe.pipeline.cli.settings import dataset_root, load_settings
    from mmpipe.pipeline.store.feature_store import FeatureStore

    settings, roots = load_settings(config), {}
    for store in stores:
        if (store / "store.json").exists():
            with suppress(UsageError):
                roots[store] = dataset_root(FeatureStore(store).corpus, None, settings, sample=sample)
    return roots
