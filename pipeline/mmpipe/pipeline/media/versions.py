"""The versions that decide decoded samples and frames; they enter the shards' fingerprints."""

from __future__ import annotations

import importlib.metadata

__all__ = ["media_versions", "repair_versions"]

_MEDIA_REVISION = 3
"""Raised whenever the readers of media change the samples or frames of a span.

3: one clock for audio and video, gaps and jumps of timestamps, the standard downmix of 5.1, square pixels and mirrors.
"""


def media_versions() -> dict[str, str]:
    """The versions that decide decoded values."""
    return {"av": importlib.metadata.version("av"), "mmpipe.media": str(_MEDIA_REVISION)}


def repair_versions() -> dict[str, str]:
    """The versions that decide the values of repaired files."""
    return {"imageio-ffmpeg": importlib.metadata.version("imageio-ffmpeg")}
