"""Every corpus by name: one line each."""

from __future__ import annotations

import importlib
from typing import cast

from mmpipe.core.errors import UsageError
from mmpipe.manifests.contract import Corpus

__all__ = ["CORPORA", "load"]

CORPORA: dict[str, str] = {
    "ami": "mmpipe.manifests.corpora.ami:Ami",
    "iemocap": "mmpipe.manifests.corpora.iemocap:Iemocap",
    "meld": "mmpipe.manifests.corpora.meld:Meld",
    "folder": "mmpipe.manifests.corpora.folder:Folder",
}


def load(name: str) -> type[Corpus]:
    """The reader registered under `name`.

    Raises:
        UsageError: no corpus has that name; the message lists those that exist.
    """
    if name not in CORPORA:
        raise UsageError(f"dataset {name!r} does not exist; valid names: {', '.join(CORPORA)}")
    module, _, attribute = CORPORA[name].partition(":")
    return cast(type[Corpus], getattr(importlib.import_module(module), attribute))
