"""Every extractor by name: one line each. Other packages add theirs by the entry point group `mmpipe.extractors`."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, get_args

from mmpipe.core.registry import Registry
from mmpipe.extractors.contract import Extractor, ExtractorConfig, InputKind

__all__ = ["EXTRACTORS", "load_libraries"]


def _lack(kind: Any) -> str:
    if not (isinstance(kind, type) and issubclass(kind, Extractor)):
        return "is not an Extractor"
    if (found := getattr(kind, "input", None)) not in get_args(InputKind):
        return f"reads {found!r}, which is not one of the inputs {', '.join(get_args(InputKind))}"
    config = getattr(kind, "Config", None)
    return "" if isinstance(config, type) and issubclass(config, ExtractorConfig) else "has no Config"


EXTRACTORS: Registry[Extractor] = Registry(
    "extractor",
    "mmpipe.extractors",
    {
        "is10": "mmpipe.extractors.audio.opensmile:IS10",
        "egemaps": "mmpipe.extractors.audio.opensmile:EGeMAPS",
        "speech-encoder": "mmpipe.extractors.audio.speech_encoder:SpeechEncoder",
        "face-crops": "mmpipe.extractors.faces.crops:FaceCrops",
        "densenet-ferplus": "mmpipe.extractors.faces.expression:Expression",
        "bert": "mmpipe.extractors.text.encoder:Bert",
    },
    takes_paths=True,
    check=_lack,
)
"""The extractors."""


def load_libraries(extractors: Sequence[str]) -> None:
    """Import what the extractors of these names need; an import that fails is reported when it is used."""
    for name in extractors:
        with suppress(Exception):
            for library in EXTRACTORS.load(name).libraries:
                importlib.import_module(library)
