"""Every face detector by name. Other packages add theirs by the entry point group `mmpipe.detectors`."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import cast

from mmpipe.core.errors import UsageError
from mmpipe.extractors.faces.detectors.contract import Detector

__all__ = ["DETECTORS", "ENTRY_POINTS", "load", "names"]

DETECTORS: dict[str, str] = {
    "mtcnn": "mmpipe.extractors.faces.detectors.mtcnn:MTCNN",
    "yunet": "mmpipe.extractors.faces.detectors.yunet:YuNet",
    "full-frame": "mmpipe.extractors.faces.detectors.full_frame:FullFrame",
}

ENTRY_POINTS = "mmpipe.detectors"
"""Entry point group in which another package names its detectors, each as "module:Class"."""


def names() -> dict[str, str]:
    """Name -> "module:Class" of mmpipe's own detectors and those of installed packages; own names win."""
    return {point.name: point.value for point in entry_points(group=ENTRY_POINTS)} | DETECTORS


def load(name: str) -> type[Detector]:
    """The detector class registered under `name`.

    Raises:
        UsageError: no detector has that name; the message lists those that exist.
    """
    known = names()
    if name not in known:
        raise UsageError(f"face detector {name!r} does not exist; valid names: {', '.join(sorted(known))}")
    module, _, attribute = known[name].partition(":")
    return cast(type[Detector], getattr(importlib.import_module(module), attribute))
