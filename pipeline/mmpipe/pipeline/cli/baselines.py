"""The baselines of a store, scored and shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmpipe.pipeline.cli.console import console, result, table

if TYPE_CHECKING:
    from mmpipe.pipeline.training.config import TrainConfig

__all__ = ["show_baselines"]


def show_baselines(
    config: TrainConfig,
    store: Path,
    folder: Path,
    *,
    seeds: int = 1,
    device: str = "cpu",
    overwrite: bool = False,
    names: Sequence[str] = (),
) -> None:
    """Score baselines on the folds of a run, print them, and write them to STORE-baselines.csv in a folder.

    Without `names` all baselines are scored. The other arguments are those of `score_baselines` and `claim`.
    """
    from mmpipe.pipeline.cli.progress import progress
    from mmpipe.pipeline.hardware import use_threads
    from mmpipe.pipeline.outputs import claim
    from mmpipe.pipeline.training.baselines import BASELINES, score_baselines, write_baselines
    from mmpipe.pipeline.training.data.inputs import load_input
    from mmpipe.pipeline.training.metrics import METRICS

    target, chosen = folder / f"{store.name}-baselines.csv", tuple(names or BASELINES)
    claim(target, "table of baselines", overwrite=overwrite)
    use_threads(config.threads)
    data = load_input(config, store)
    if data.caution:
        console.print(data.caution)
    with progress("fit") as bars:
        bar = bars.add_task("baselines", total=len(chosen) * len(data.folds) * seeds)

        def report(name: str) -> None:
            bars.update(bar, advance=1, description=name)

        scores = score_baselines(config, data, seeds, report, chosen, device=device)
    write_baselines(target, scores)
    table(
        "Baselines (per cent)",
        ["baseline", *METRICS.values()],
        ((name, *(f"{100 * s[m].mean:.1f} ± {100 * s[m].std:.1f}" for m in METRICS)) for name, s in scores.items()),
    )
    result(f"Written: {target}")
