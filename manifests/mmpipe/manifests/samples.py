"""The sample corpora that come with mmpipe, in the layouts of IEMOCAP, MELD and AMI."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from mmpipe.core.errors import UsageError

__all__ = ["SAMPLES", "sample_root"]

SAMPLES = ("ami", "iemocap", "meld")


def sample_root(name: str) -> Path:
    """The root of a sample corpus.

    Raises:
        UsageError: that corpus does not have a sample.
    """
    if name not in SAMPLES:
        raise UsageError(f"there is no sample of {name!r}; samples: {', '.join(SAMPLES)}")
    return Path(str(files("mmpipe.manifests") / "samples" / name))
