"""What a store was extracted from, so that the next extraction into it needs no options.

It is in the store's logs, `logs/source.json`, since it names folders of one machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from mmpipe.core.errors import StoreError
from mmpipe.core.files import is_local, write_json
from mmpipe.core.reading import read_object
from mmpipe.extractors.contract import Precision
from mmpipe.manifests.io import lies_inside

__all__ = ["Source", "absolute", "read_source", "record_source", "refuse_linked"]


@dataclass(frozen=True)
class Source:
    """The options of the last extraction into a store.

    Attributes:
        dataset: a name of the registry of corpora.
        root: the corpus root: an absolute path, or a URL.
        manifest: the manifest that was given, if one was.
        corpus_options: options of the corpus, by name.
        stages: names of the stages.
        stage_options: options of the stages, by stage.
        device: `auto`, `cpu` or `cuda`.
        precision: `float32` or `bf16`.
        transcode_fallback: whether media that cannot be decoded were repaired.
        follow_links: whether links out of the root were read.
        exclude: the list of marks whose bad utterances were left out, if one was given.
    """

    dataset: str
    root: str
    manifest: str | None = None
    corpus_options: Mapping[str, Any] = field(default_factory=dict)
    stages: tuple[str, ...] = ()
    stage_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    device: str = "auto"
    precision: Precision = "float32"
    transcode_fallback: bool = False
    follow_links: bool = False
    exclude: str | None = None


_SOURCE = TypeAdapter(Source)


def record_source(store: Path, source: Source) -> None:
    """Write down what a store is extracted from; what is equal is left alone.

    Raises:
        StorageError: the store cannot be written.
    """
    if read_source(store) != source:
        write_json(_path(store), asdict(source))


def read_source(store: Path) -> Source | None:
    """What the last extraction into a store read; None where nothing is written down."""
    try:
        return _SOURCE.validate_python(read_object(_path(store)))
    except (OSError, ValueError):
        return None


def refuse_linked(store: Path) -> None:
    """Make sure that what is written into a store stays in it: no folder or log of it is a link to another place.

    Raises:
        StoreError: one is.
    """
    if not is_local(store) or not store.is_dir():
        return
    for folder in (store, store / "logs"):
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.is_symlink() and not lies_inside(path, store):
                raise StoreError(
                    f"{path} is a link out of the store, through which an extraction would write: put a folder or a "
                    "file in its place, or extract into another store"
                )


def absolute(path: Path) -> str:
    """A local path as an absolute one; a URL as it is."""
    return str(path.expanduser().absolute() if is_local(path) else path)


def _path(store: Path) -> Path:
    return store / "logs" / "source.json"
