"""`mmpipe inspect`: what a store or a manifest holds."""

from __future__ import annotations

from pathlib import Path

from mmpipe.pipeline.console import console
from mmpipe.pipeline.inspect import inspect_store, inspect_utterance, render_summary, render_utterance

__all__ = ["run_inspect"]


def run_inspect(path: Path, utterance: str | None, strip: Path | None) -> None:
    """Print the summary of a store or manifest, or one utterance in full."""
    if utterance is None:
        console.print(render_summary(inspect_store(path)))
    else:
        console.print(render_utterance(inspect_utterance(path, utterance, strip)))
