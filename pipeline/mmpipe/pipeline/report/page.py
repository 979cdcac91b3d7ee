"""The report: stores, a balanced list and runs on one self-contained HTML page.

The page asks for nothing from outside, and equal inputs give equal bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from mmpipe.core.errors import UsageError
from mmpipe.core.files import write_bytes
from mmpipe.core.reading import read_object
from mmpipe.pipeline.outputs import PAGE_MARK, claim
from mmpipe.pipeline.report.corpora import corpus_section
from mmpipe.pipeline.report.runs import balance_section, run_section

__all__ = ["build_report"]


def build_report(
    stores: Sequence[Path],
    runs: Sequence[Path],
    balanced: Path | None,
    probes: Path | None,
    out: Path,
    roots: Mapping[Path, Path] | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Write the page.

    Args:
        stores: feature stores, or manifests.
        runs: run folders of `mmpipe train`; none leaves the section out.
        balanced: the list of `mmpipe balance-unlabeled`, or None.
        probes: JSON of linear probes of single modalities, or None.
        out: the page; an earlier one is replaced.
        roots: the corpus root of each store that has one: frames with their boxes are shown for these.
        overwrite: replace whatever is there.

    Returns:
        `out`.

    Raises:
        StoreError: a store or the balanced list cannot be read.
        ManifestError: a file among the stores is not a manifest.
        UsageError: a run folder holds no finished run, the probes cannot be read, or `out` is not a report.
    """
    claim(out, "report", overwrite=overwrite)
    trained = [run_section(run) for run in runs]
    page = _environment().get_template("report.html.j2")
    corpora = [corpus_section(store, (roots or {}).get(store)) for store in stores]
    html = page.render(
        mark=PAGE_MARK,
        corpora=corpora,
        balance=None if balanced is None else balance_section(balanced),
        runs=trained,
        probes=None if probes is None else _json(probes),
        utterances=sum(corpus.summary.manifest.rows for corpus in corpora),
        hours=sum(corpus.summary.manifest.hours for corpus in corpora),
        best=max((run.result for run in trained), key=lambda run: run.pooled.ua, default=None),
    )
    write_bytes(out, html.encode())
    return out


def _json(path: Path) -> dict[str, Any]:
    try:
        return read_object(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"the probes {path} cannot be read: {error}") from error


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("mmpipe.pipeline.report"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda value: f"{100 * value:.1f}"
    environment.filters["json"] = lambda value: json.dumps(value, sort_keys=True, ensure_ascii=False)
    return environment
