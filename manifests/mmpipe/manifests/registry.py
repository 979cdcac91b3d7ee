"""Every corpus by name: one line each. Other packages add theirs by the entry point group `mmpipe.corpora`."""

from __future__ import annotations

from mmpipe.core.registry import Registry
from mmpipe.manifests.contract import Corpus

__all__ = ["CORPORA"]

CORPORA: Registry[Corpus] = Registry(
    "dataset",
    "mmpipe.corpora",
    {
        "ami": "mmpipe.manifests.corpora.ami:Ami",
        "iemocap": "mmpipe.manifests.corpora.iemocap:Iemocap",
        "meld": "mmpipe.manifests.corpora.meld:Meld",
        "folder": "mmpipe.manifests.corpora.folder:Folder",
    },
)
"""The readers of corpora."""
