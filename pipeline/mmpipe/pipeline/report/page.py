"""The report: stores, balanced lists and runs as one page that people look at.

Every section is a module that gives blocks of data; `html` and `markdown` write them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

from mmpipe.core.errors import UsageError
from mmpipe.core.files import write_bytes
from mmpipe.pipeline.outputs import claim
from mmpipe.pipeline.report.balance import balance_section
from mmpipe.pipeline.report.blocks import Section
from mmpipe.pipeline.report.comparison import comparison_section
from mmpipe.pipeline.report.extraction import extraction_section
from mmpipe.pipeline.report.features import features_section
from mmpipe.pipeline.report.html import to_html
from mmpipe.pipeline.report.lists import show_list
from mmpipe.pipeline.report.manifest import manifest_section
from mmpipe.pipeline.report.markdown import write_markdown, write_pictures
from mmpipe.pipeline.report.paper_tables import grid_runs, paper_tables
from mmpipe.pipeline.report.probes import probes_section
from mmpipe.pipeline.report.sources import ReportSources
from mmpipe.pipeline.report.stores import ShownStore, show_store
from mmpipe.pipeline.report.summary import summary_section
from mmpipe.pipeline.report.training import show_run, training_section

__all__ = ["Format", "build_report"]

Format = Literal["html", "md", "png"]
"""`html` is one page; `md` is Markdown with PNG files beside it; `png` is a folder of these files alone."""


def build_report(sources: ReportSources, out: Path, *, format_: Format = "html", overwrite: bool = False) -> Path:
    """Write the report.

    Args:
        sources: what it is about; `sort_sources` tells paths apart.
        out: the file, or the folder of pictures; an earlier one is replaced.
        format_: how it is written.
        overwrite: replace whatever is there.

    Returns:
        `out`.

    Raises:
        StoreError: a store or a balanced list cannot be read.
        ManifestError: a file among the stores is not a manifest.
        UsageError: there is nothing to report on, a run folder holds no finished run, the probes or a table of runs
            cannot be read, or `out` is something else.
    """
    if not (sources.stores or sources.runs or sources.balanced or sources.grids):
        raise UsageError("there is nothing to report on: name a store, a balanced list or a run folder")
    claim(out, "folder of pictures" if format_ == "png" else "report", overwrite=overwrite)
    sections = [section for section in _sections(sources) if section.blocks]
    title = _title(sources)
    if format_ == "md":
        write_markdown(title, sections, out, overwrite=overwrite)
    elif format_ == "png":
        write_pictures(sections, out, overwrite=overwrite)
    else:
        write_bytes(out, to_html(title, sections).encode("utf-8", "backslashreplace"))
    return out


def _title(sources: ReportSources) -> str:
    if not sources.stores:
        return "Trained models" if sources.runs or sources.grids else "Balanced data"
    is_trained = bool(sources.runs or sources.grids)
    return f"From filmed speech to features{' to a trained model' if is_trained else ''}"


def _sections(sources: ReportSources) -> Iterator[Section]:
    paths = dict.fromkeys([*sources.runs, *(run for grid in sources.grids for run in grid_runs(grid))])
    runs = [show_run(path) for path in paths]
    lists = [show_list(path) for path in sources.balanced]
    stores = _named_apart([show_store(path, sources.roots.get(path)) for path in sources.stores])
    yield summary_section(stores, runs, lists)
    yield manifest_section(stores)
    yield extraction_section(stores)
    yield features_section(stores)
    if lists:
        yield balance_section(lists, stores)
    if runs:
        yield training_section(runs, _speakers(stores), paper_tables(sources.grids, paths))
    if len(runs) > 1:
        yield comparison_section(runs)
    if sources.probes is not None:
        yield probes_section(sources.probes)


def _named_apart(stores: list[ShownStore]) -> list[ShownStore]:
    """Stores of one corpus are called after their folders, too."""
    titles = [store.title for store in stores]
    return [
        replace(store, title=f"{store.title} ({store.path.name})") if titles.count(store.title) > 1 else store
        for store in stores
    ]


def _speakers(stores: list[ShownStore]) -> dict[str, str]:
    found = {}
    for store in stores:
        columns = (store.manifest.column(name).to_pylist() for name in ("utterance_id", "speaker"))
        found.update({name: speaker for name, speaker in zip(*columns, strict=True) if speaker})
    return found
