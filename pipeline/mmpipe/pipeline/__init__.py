"""What the commands do, as a library: `from mmpipe.pipeline import extract, open_store, train, predict`.

Nothing here prints. A name loads its module when it is first used, so importing this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmpipe.pipeline.balancing.pseudo_labels import balance
    from mmpipe.pipeline.extraction.clips import extract
    from mmpipe.pipeline.extraction.corpus import extract_corpus
    from mmpipe.pipeline.extraction.engines.serial import SerialEngine
    from mmpipe.pipeline.extraction.request import ExtractRequest
    from mmpipe.pipeline.report.page import build_report
    from mmpipe.pipeline.store.feature_store import open_store
    from mmpipe.pipeline.training.config import make_config
    from mmpipe.pipeline.training.evaluation import evaluate
    from mmpipe.pipeline.training.predict import predict
    from mmpipe.pipeline.training.run import train

__all__ = [
    "ExtractRequest",
    "SerialEngine",
    "balance",
    "build_report",
    "evaluate",
    "extract",
    "extract_corpus",
    "make_config",
    "open_store",
    "predict",
    "train",
]

_MODULES = {
    "ExtractRequest": "extraction.request",
    "SerialEngine": "extraction.engines.serial",
    "balance": "balancing.pseudo_labels",
    "build_report": "report.page",
    "evaluate": "training.evaluation",
    "extract": "extraction.clips",
    "extract_corpus": "extraction.corpus",
    "make_config": "training.config",
    "open_store": "store.feature_store",
    "predict": "training.predict",
    "train": "training.run",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
