"""Every engine by name: one line each. Other packages add theirs by the entry point group `mmpipe.engines`."""

from __future__ import annotations

from typing import Any

from mmpipe.core.registry import Registry
from mmpipe.pipeline.extraction.run import Engine

__all__ = ["ENGINES"]


def _lack(kind: Any) -> str:
    missing = [name for name in ("options", "is_remote", "run", "__enter__", "__exit__") if not hasattr(kind, name)]
    return f"has no {missing[0]}" if missing else ""


ENGINES: Registry[Engine] = Registry(
    "engine",
    "mmpipe.engines",
    {
        "local": "mmpipe.pipeline.extraction.engines.local:LocalEngine",
        "ray": "mmpipe.pipeline.extraction.engines.ray:RayEngine",
    },
    check=_lack,
)
"""The engines. A class is called with `workers`, `extractors` and those of its `options` that are given."""
