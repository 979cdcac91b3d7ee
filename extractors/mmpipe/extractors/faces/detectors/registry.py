"""Every face detector by name. Other packages add theirs by the entry point group `mmpipe.detectors`."""

from __future__ import annotations

from typing import Any

from mmpipe.core.registry import Registry
from mmpipe.extractors.faces.detectors.contract import Detector, DetectorConfig

__all__ = ["DETECTORS"]


def _lack(kind: Any) -> str:
    if not (isinstance(kind, type) and issubclass(kind, Detector)):
        return "is not a Detector"
    config = getattr(kind, "Config", None)
    return "" if isinstance(config, type) and issubclass(config, DetectorConfig) else "has no Config"


DETECTORS: Registry[Detector] = Registry(
    "face detector",
    "mmpipe.detectors",
    {
        "mtcnn": "mmpipe.extractors.faces.detectors.mtcnn:MTCNN",
        "yunet": "mmpipe.extractors.faces.detectors.yunet:YuNet",
        "seetaface": "mmpipe.extractors.faces.detectors.seetaface:SeetaFace",
        "full-frame": "mmpipe.extractors.faces.detectors.full_frame:FullFrame",
    },
    check=_lack,
)
"""The face detectors."""
