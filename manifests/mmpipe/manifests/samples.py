"""The sample corpora that come with mmpipe, in the true layouts of IEMOCAP, MELD and AMI."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from mmpipe.core.errors import UsageError

__all__ = ["SAMPLES", "sample_root"]

SAMPLES = ("ami", "iemocap", "meld")


def sample_root(name: str) -> Path:
    """The root of a sample corpus.

    Raises:
        UsageError: there is no sample of that corpus.
    """
    if name not in SAMPLES:
        raise UsageError(f"there is no sample of {name!r}; samples: {', '.join(SAMPLES)}")
    return Path(str(files("mmpipe.manifests") / "samples" / name))
