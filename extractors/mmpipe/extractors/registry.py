"""Every extractor by name: one line each. Other packages add theirs by the entry point group `mmpipe.extractors`.

The strings keep `import` cheap; classes load when asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import entry_points
from typing import cast

from mmpipe.core.errors import UsageError
from mmpipe.extractors.contract import Extractor

__all__ = ["ENTRY_POINTS", "EXTRACTORS", "load", "load_libraries", "names"]

EXTRACTORS: dict[str, str] = {
    "is10": "mmpipe.extractors.audio.opensmile:IS10",
    "egemaps": "mmpipe.extractors.audio.opensmile:EGeMAPS",
    "speech-encoder": "mmpipe.extractors.audio.speech_encoder:SpeechEncoder",
    "face-crops": "mmpipe.extractors.faces.crops:FaceCrops",
    "densenet-ferplus": "mmpipe.extractors.faces.expression:Expression",
    "bert": "mmpipe.extractors.text.encoder:Bert",
}


ENTRY_POINTS = "mmpipe.extractors"
"""Entry point group in which another package names its extractors, each as "module:Class"."""


def names() -> dict[str, str]:
    """Name -> "module:Class" of mmpipe's own extractors and those of installed packages; own names win."""
    return {point.name: point.value for point in entry_points(group=ENTRY_POINTS)} | EXTRACTORS


def load_libraries(extractors: Sequence[str]) -> None:
    """Import what the extractors of these names will need; what fails will say so when it is used."""
    for name in extractors:
        with suppress(Exception):
            for library in load(name).libraries:
                importlib.import_module(library)


def load(name: str) -> type[Extractor]:
    """The extractor class registered under `name`, or the one that `module:Class` names on the Python path.

    Raises:
        UsageError: no extractor has that name; the message lists those that exist.
    """
    known = EXTRACTORS if name in EXTRACTORS else names()
    module, colon, attribute = known.get(name, name).partition(":")
    if not colon:
        valid = ", ".join(sorted(known))
        raise UsageError(f"extractor {name!r} does not exist; valid names: {valid}, or MODULE:CLASS of your own")
    try:
        return cast(type[Extractor], getattr(importlib.import_module(module), attribute))
    except (ImportError, AttributeError) as error:
        if name in known:
            raise
        raise UsageError(f"extractor {name!r} cannot be imported ({error}); is its folder in PYTHONPATH?") from error
