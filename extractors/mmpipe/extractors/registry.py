"""Every extractor by name: one line each. The strings keep `import` cheap; classes load when asked for."""

from __future__ import annotations

import importlib
from typing import cast

from mmpipe.extractors.contract import Extractor
from mmpipe.manifests.errors import UsageError

__all__ = ["EXTRACTORS", "load"]

EXTRACTORS: dict[str, str] = {
    "is10": "mmpipe.extractors.opensmile:IS10",
    "face-crops": "mmpipe.extractors.faces:FaceCrops",
    "densenet-ferplus": "mmpipe.extractors.expression:Expression",
    "bert": "mmpipe.extractors.bert:Bert",
}


def load(name: str) -> type[Extractor]:
    """The extractor class registered under `name`, or the one that `module:Class` names on the Python path.

    Raises:
        UsageError: no extractor has that name; the message lists those that exist.
    """
    module, colon, attribute = EXTRACTORS.get(name, name).partition(":")
    if not colon:
        valid = ", ".join(sorted(EXTRACTORS))
        raise UsageError(f"extractor {name!r} does not exist; valid names: {valid}, or MODULE:CLASS of your own")
    try:
        return cast(type[Extractor], getattr(importlib.import_module(module), attribute))
    except (ImportError, AttributeError) as error:
        if name in EXTRACTORS:
            raise
        raise UsageError(f"extractor {name!r} cannot be imported ({error}); is its folder in PYTHONPATH?") from error
