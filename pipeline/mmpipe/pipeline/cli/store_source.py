"""What a command takes from the record of a store: its corpus, root, options and manifest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpipe.core.errors import UsageError
from mmpipe.core.files import location
from mmpipe.core.text import printable
from mmpipe.extractors.registry import EXTRACTORS
from mmpipe.pipeline.cli.console import console
from mmpipe.pipeline.cli.presets import store_path
from mmpipe.pipeline.cli.settings import Settings, dataset_root
from mmpipe.pipeline.extraction.source import Source, read_source

if TYPE_CHECKING:
    from mmpipe.pipeline.extraction.request import ExtractRequest

__all__ = ["find_root", "known_list", "known_manifest", "known_source", "note_other_options"]


def known_source(
    dataset: str | None, store: Path | None, assigned: Mapping[str, Mapping[str, Any]] | None = None
) -> Source:
    """What to extract from: a dataset that is named, with nothing else known; else what the store was extracted from.

    The store may come from somebody else: what it names is printed.

    Args:
        dataset: a name, or None.
        store: the store.
        assigned: options of the stages that the user gives.

    Raises:
        UsageError: neither is there, or the store names an extractor that is not installed under its name, which the
            user does not name too.
    """
    if dataset is not None:
        return Source(dataset, "")
    if store is None:
        raise UsageError("what to extract? Name a corpus with --dataset, or with --out a store that exists")
    if (known := read_source(store)) is None:
        raise UsageError(f"{store} does not say what it was extracted from: name its corpus with --dataset and --root")
    installed = EXTRACTORS.names()
    for stage, options in known.stage_options.items():
        extractor = options.get("extractor", "")
        if extractor and extractor not in installed and "extractor" not in (assigned or {}).get(stage, {}):
            shown = f"{stage}.extractor={extractor}"
            raise UsageError(
                f"{store} names {printable(shown)[:200]!r}, which would import code that is not installed as an "
                f"extractor: if you know who made the store, name it too: --set {printable(shown)[:200]}"
            )
    _show(known, store)
    return known


def _show(known: Source, store: Path) -> None:
    """Print what a store makes an extraction read, and how."""
    parts = [f"corpus {known.dataset} of {known.root}"]
    parts += [f"manifest {known.manifest}"] if known.manifest is not None else []
    parts += [f"{name}={value}" for name, value in known.corpus_options.items()]
    for stage, options in known.stage_options.items():
        parts += [f"{stage}.{name}={value}" for name, value in options.items()]
    parts += [f"without what {known.exclude} marks as bad"] if known.exclude is not None else []
    parts += ["links out of the corpus are followed"] if known.follow_links else []
    console.print(f"As {store} says: {', '.join(parts)}")


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
    if (recorded := _existing(known.root)) is not None:
        return recorded
    try:
        return dataset_root(known.dataset, None, settings)
    except UsageError:
        raise UsageError(
            f"the corpus {known.dataset} was at {known.root}, which is not there now: mount it, or name its root with "
            "--root"
        ) from None


def _existing(text: str) -> Path | None:
    """The place that a text names, if there is one."""
    try:
        return place if (place := location(text)).exists() else None
    except (OSError, ValueError, ImportError):  # a kind of URL that nothing here reads
        return None


def known_manifest(known: Source, store: Path | None) -> Path | None:
    """The manifest that the store was extracted with, or the store's own where that one is gone."""
    if known.manifest is None or store is None:
        return None
    if (recorded := _existing(known.manifest)) is not None:
        return recorded
    console.print(f"{printable(known.manifest)} is not there now: the rows are those of the store", markup=False)
    return store / "manifest.parquet"


def known_list(known: Source) -> Path | None:
    """The list of marks that the store was extracted with.

    Raises:
        UsageError: it is gone.
    """
    if known.exclude is None:
        return None
    if (recorded := _existing(known.exclude)) is None:
        raise UsageError(
            f"the list {known.exclude}, whose bad utterances the store leaves out, is not there now: restore it, name "
            "it with --exclude, or extract all utterances with --dataset and --root"
        )
    return recorded


def note_other_options(request: ExtractRequest) -> None:
    """Say so if a store was extracted with other options of the corpus."""
    before = read_source(request.out)
    if before is None:
        return
    if before.exclude is not None and request.exclude is None:
        console.print(
            f"{request.out} left out what {before.exclude} marks as bad; without --exclude it is extracted too",
            markup=False,
        )
    if request.manifest is not None or dict(before.corpus_options) == dict(request.corpus_options):
        return
    shown = ", ".join(f"{name}={value}" for name, value in before.corpus_options.items()) or "no options"
    console.print(
        f"{request.out} was extracted with {shown} of the corpus; `mmpipe extract --out {request.out}` takes "
        "them again",
        markup=False,
    )
