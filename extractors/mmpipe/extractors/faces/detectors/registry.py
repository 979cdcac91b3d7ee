"""Every face detector by name. Other packages add theirs by the entry point group `mmpipe.detectors`."""

from __future__ import annotations

from mmpipe.core.registry import Registry
from mmpipe.extractors.faces.detectors.contract import Detector

__all__ = ["DETECTORS"]

DETECTORS: Registry[Detector] = Registry(
    "face detector",
    "mmpipe.detectors",
    {
        "mtcnn": "mmpipe.extractors.faces.detectors.mtcnn:MTCNN",
        "yunet": "mmpipe.extractors.faces.detectors.yunet:YuNet",
        "full-frame": "mmpipe.extractors.faces.detectors.full_frame:FullFrame",
    },
)
"""The face detectors."""
