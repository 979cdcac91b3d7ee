"""Every corpus by name: one line each. Other packages add theirs by the entry point group `mmpipe.corpora`."""

from __future__ import annotations

from typing import Any

from mmpipe.core.registry import Registry
from mmpipe.manifests.contract import Corpus

__all__ = ["CORPORA"]


def _lack(kind: Any) -> str:
    return "" if isinstance(kind, type) and issubclass(kind, Corpus) else "is not a Corpus"


CORPORA: Registry[Corpus] = Registry(
    "dataset",
    "mmpipe.corpora",
    {
        "ami": "mmpipe.manifests.corpora.ami:Ami",
        "iemocap": "mmpipe.manifests.corpora.iemocap:Iemocap",
        "meld": "mmpipe.manifests.corpora.meld:Meld",
        "folder": "mmpipe.manifests.corpora.folder:Folder",
    },
    check=_lack,
)
"""The readers of corpora."""
