"""What `mmpipe train` prints of a run: the estimate, progress and the figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmpipe.pipeline.cli.console import console, styled
from mmpipe.pipeline.cli.result_view import show_scores

if TYPE_CHECKING:
    from mmpipe.pipeline.training.requests import TrainRequest
    from mmpipe.pipeline.training.run import TrainRun

__all__ = ["show_estimate", "show_training"]


def show_training(request: TrainRequest) -> None:
    """Train a run; show the estimate, progress and the figures."""
    from mmpipe.pipeline.cli.progress import progress
    from mmpipe.pipeline.hardware import use_threads
    from mmpipe.pipeline.training.modalities import MODALITIES
    from mmpipe.pipeline.training.run import plan_run

    sources = request.sources
    drawn = sources.balanced or "all usable utterances"
    beside = "" if sources.unlabeled is None else f" with {sources.unlabeled} ({drawn}; {request.config.objective})"
    console.print(f"{sources.labeled}{beside} -> {request.out}")
    use_threads(request.config.threads)
    run = plan_run(request)
    for letter, share in run.data.cut.items():
        if share > 0:
            name = MODALITIES[letter].steps
            console.print(
                f"{100 * share:.1f} % of the utterances have more than {getattr(request.config, str(name))} {name} and "
                f"are cut; --set {name}=auto cuts 5 % at most"
            )
    show_estimate([run])
    with progress("epoch") as bars:
        bar = bars.add_task("training", total=run.epochs)

        def report(fold: str, row: dict[str, float]) -> None:
            bars.update(bar, advance=1, description=f"{fold} {row['train_loss']:.2f}")

        done = run.run(report, bars.console.print)
        bars.update(bar, completed=run.epochs)
    show_scores([request.out])
    for reason, count in done.excluded.items():
        console.print(styled("[yellow]{} utterances left out[/]: {}", count, reason))


def show_estimate(runs: Sequence[TrainRun]) -> None:
    """How long the unfinished folds of some runs take."""
    from mmpipe.pipeline.training.estimate import estimate_seconds

    unfinished = sum(len(run.unfinished) for run in runs)
    if not unfinished:
        console.print("Every fold is finished: their results are reused")
        return
    seconds = estimate_seconds(runs)
    text = f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"
    console.print(f"About {text} of training steps for {unfinished} unfinished folds, by three steps")
