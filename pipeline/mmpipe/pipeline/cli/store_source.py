"""What a command takes from the record of a store: its corpus, root, options and manifest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmpipe.core.errors import UsageError
from mmpipe.core.files import location
from mmpipe.core.text import printable
from mmpipe.pipeline.cli.console import console
from mmpipe.pipeline.cli.presets import store_path
from mmpipe.pipeline.cli.settings import Settings, dataset_root
from mmpipe.pipeline.extraction.source import Source, read_source

if TYPE_CHECKING:
    from mmpipe.pipeline.extraction.corpus import ExtractRequest

__all__ = ["find_root", "known_manifest", "known_source", "note_other_options"]


def known_source(dataset: str | None, store: Path | None) -> Source:
    """What to extract from: a dataset that is named, with nothing else known; else what the store was extracted from.

    Raises:
        UsageError: neither is there.
    """
    if dataset is not None:
        return Source(dataset, "")
    if store is None:
        raise UsageError("what to extract? Name a corpus with --dataset, or with --out a store that exists")
    if (known := read_source(store)) is None:
        raise UsageError(f"{store} does not say what it was extracted from: name its corpus with --dataset and --root")
    return known


def find_root(known: Source, given: Path | None, settings: Settings, *, sample: bool) -> Path:
    """The corpus root: the option, else that of the store, else what the environment or mmpipe.toml name.

    Raises:
        UsageError: none of them names it, or what they name is not there.
    """
    if given is not None or sample or not known.root:
        try:
            return dataset_root(known.dataset, given, settings, sample=sample)
        except UsageError:
            before = read_source(store_path(known.dataset, None, sample=False))
            if sample or given is not None or before is None or before.dataset != known.dataset:
                raise
            known = before
    if (recorded := location(known.root)).exists():
        return recorded
    try:
        return dataset_root(known.dataset, None, settings)
    except UsageError:
        raise UsageError(
            f"the corpus {known.dataset} was at {known.root}, which is not there now: mount it, or name its root with "
            "--root"
        ) from None


def known_manifest(known: Source, store: Path | None) -> Path | None:
    """The manifest that the store was extracted with, or the store's own where that one is gone."""
    if known.manifest is None or store is None:
        return None
    if (recorded := location(known.manifest)).exists():
        return recorded
    console.print(f"{printable(known.manifest)} is not there now: the rows are those of the store", markup=False)
    return store / "manifest.parquet"


def note_other_options(request: ExtractRequest) -> None:
    """Say so if a store was extracted with other options of the corpus."""
    before = read_source(request.out)
    if before is None or request.manifest is not None or dict(before.corpus_options) == dict(request.corpus_options):
        return
    shown = ", ".join(f"{name}={value}" for name, value in before.corpus_options.items()) or "no options"
    console.print(
        f"{request.out} was extracted with {shown} of the corpus; `mmpipe extract --out {request.out}` takes "
        "them again",
        markup=False,
    )
