"""`mmpipe run`: a folder of clips becomes a checked manifest, features, baselines and a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmpipe.pipeline.cli.baselines import show_baselines
from mmpipe.pipeline.cli.config_for import config_for
from mmpipe.pipeline.cli.console import console, next_command, result
from mmpipe.pipeline.cli.corpus_options import refuse_foreign, refuse_ignored_options, takes_corpus_options
from mmpipe.pipeline.cli.extract import show_extraction
from mmpipe.pipeline.cli.idle_options import name_idle, refuse_idle
from mmpipe.pipeline.cli.options import Config, FollowLinks, Overwrite, Set, Stages, Workers, allow_links, names
from mmpipe.pipeline.cli.presets import store_path

if TYPE_CHECKING:
    import pyarrow as pa

    from mmpipe.pipeline.extraction.request import ExtractRequest

__all__ = ["run"]

_BASELINES = ("majority", "logistic", "concat-mlp")
"""Those that take seconds."""

_MOST_DROPPED = 0.5
"""If more of the store's utterances are gone, the folder may not be mounted: nothing is dropped without being asked."""


@takes_corpus_options
def run(
    folder: Annotated[Path, typer.Argument(help="A folder of clips.")],
    out: Annotated[Path | None, typer.Option(help="The feature store. Default: features/FOLDER.")] = None,
    stages: Stages = "",
    set_: Set = [],  # noqa: B006
    workers: Workers = None,
    corpus: Mapping[str, Any] = {},
    follow_links: FollowLinks = False,
    overwrite: Overwrite = False,
    config: Config = None,
) -> None:
    """From a folder of clips to checked features, baselines and a report, with what is there.

    Run it again when the folder has changed: only what is new is made, and rows of removed clips are dropped.
    """
    from mmpipe.pipeline.cli.settings import corpus_options, load_settings, parse_assignments, stage_options
    from mmpipe.pipeline.extraction.request import ExtractRequest

    refuse_foreign("folder", corpus)
    allow_links(follow_links)
    settings = load_settings(config)
    options = {**_options(folder, corpus, follow_links=follow_links), **corpus_options("folder", settings), **corpus}
    refuse_ignored_options("folder", corpus, options)
    store = out or store_path("folder", folder, sample=False)
    assigned = parse_assignments(set_)
    request = ExtractRequest(
        "folder",
        folder,
        store,
        corpus_options=options,
        stages=names(stages),
        stage_options=stage_options(settings, assigned),
        workers=workers,
    )
    specs = request.specs()
    refuse_idle(specs, assigned)
    name_idle(specs, settings.stages)
    console.rule("1/4  Check", align="left")
    rows = _checked_rows(folder, options, store, overwrite=overwrite)
    console.rule("2/4  Extract", align="left")
    show_extraction(_with_what_is_here(request, rows), is_last=False)
    console.rule("3/4  Baselines", align="left")
    _show_baselines(store, overwrite=overwrite)
    console.rule("4/4  Report", align="left")
    _write_report(store, folder, overwrite=overwrite)
    next_command(f"mmpipe train --supervised --labeled {store}")


def _options(folder: Path, given: Mapping[str, Any], *, follow_links: bool) -> dict[str, str]:
    """Options that the folder itself shows, unless some are given."""
    from mmpipe.manifests.contract import require
    from mmpipe.manifests.corpora.folder_guess import guess_options

    require(folder, "a folder of clips", (), "the clips")
    if given:
        return {}
    found, why = guess_options(folder, follow_links=follow_links)
    shown = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in found.items())
    console.print(f"{folder}: {why}" + (f" ({shown})" if shown else ""), markup=False)
    return found


def _checked_rows(folder: Path, options: Mapping[str, Any], store: Path, *, overwrite: bool) -> pa.Table:
    """The rows of the folder. What is odd, also in the headers of media, is printed and written beside the store."""
    from mmpipe.manifests.prepare import prepare_corpus
    from mmpipe.manifests.schema import to_table
    from mmpipe.pipeline.cli.extract_view import show_problems
    from mmpipe.pipeline.media.corpus_check import check_media
    from mmpipe.pipeline.media.header_checks import write_problems
    from mmpipe.pipeline.outputs import claim

    report = store.with_name(f"{store.name}.check.csv")
    claim(report, "list of problems", overwrite=overwrite)
    prepared = prepare_corpus("folder", folder, options)
    rows = to_table(prepared.utterances)
    problems = [*prepared.problems, *check_media(prepared, folder, rows, logs=store / "logs")]
    show_problems(problems)
    write_problems(problems, report)
    labels = sorted({label for label in rows.column("label").to_pylist() if label is not None})
    named = f"labels {', '.join(labels)}" if labels else "no labels"
    console.print(f"{rows.num_rows} utterances, {named}; {len(problems)} things missing or odd: {report}", markup=False)
    return rows


def _with_what_is_here(request: ExtractRequest, rows: pa.Table) -> ExtractRequest:
    """The request without a text stage whose model is not here, and with leave to drop the rows of removed clips."""
    from mmpipe.core.errors import WeightsError
    from mmpipe.pipeline.extraction.material import split_by_material
    from mmpipe.pipeline.extraction.stages import naming_remedies
    from mmpipe.pipeline.store.feature_store import FeatureStore

    specs = split_by_material(rows, request.specs())[0]
    able = list(specs)
    for spec in specs:
        try:
            with naming_remedies(spec, specs):
                spec.build().weights()
        except WeightsError as error:
            if request.stages:
                raise
            console.print(f"Left out: {error}", markup=False, style="yellow")
            able = [s for s in able if spec.name not in (s.name, s.needs)]
    if able:
        request = replace(request, stages=[spec.name for spec in able])
    if (request.out / "store.json").exists():
        held = FeatureStore(request.out, while_dropping=True).manifest().column("utterance_id").to_pylist()
        gone = len(set(held) - set(rows.column("utterance_id").to_pylist()))
        request = replace(request, drop_missing=0 < gone <= _MOST_DROPPED * len(held))
    return request


def _show_baselines(store: Path, *, overwrite: bool) -> None:
    """Baselines of a store with two labels or more; a line says why where there are none."""
    from mmpipe.core.errors import TrainingError

    try:
        config = config_for({}, {"size": "small"}, [store], sample=False)
        show_baselines(config, store, Path("runs"), overwrite=overwrite, names=_BASELINES)
    except TrainingError as error:
        console.print(f"No baselines: {error}", markup=False, style="yellow")


def _write_report(store: Path, folder: Path, *, overwrite: bool) -> None:
    from mmpipe.pipeline.report.page import build_report
    from mmpipe.pipeline.report.sources import ReportSources

    page = build_report(ReportSources([store], roots={store: folder}), Path(f"{store.name}.html"), overwrite=overwrite)
    result(f"Report: {page}")
