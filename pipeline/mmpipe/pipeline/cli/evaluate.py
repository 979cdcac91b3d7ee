"""`mmpipe evaluate`: what a trained model says of another store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmpipe.pipeline.cli.console import console, styled, table
from mmpipe.pipeline.cli.modes import refuse_ignored
from mmpipe.pipeline.cli.options import Device, Normalise, Overwrite, located

if TYPE_CHECKING:
    from mmpipe.pipeline.training.evaluation import Evaluation

__all__ = ["evaluate"]

_FEW = 30
"""Utterances below which a mean and a deviation of each feature are little to go by."""


def evaluate(
    model: Annotated[Path, typer.Argument(help="A run folder of `mmpipe train` (mean of its models), or one fold's.")],
    store: Annotated[Path, typer.Option(parser=located, metavar="PATH", help="The labelled store to score.")],
    split: Annotated[str | None, typer.Option(help="Only utterances of this split, such as test.")] = None,
    skip_unknown: Annotated[
        bool, typer.Option("--skip-unknown", help="Leave out labels that the model does not know.")
    ] = False,
    normalise: Annotated[
        Normalise | None,
        typer.Option(
            help="Whose statistics normalise the rows. Default: store, or speaker if the model was trained so."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the figures as this JSON file.")] = None,
    overwrite: Overwrite = False,
    device: Annotated[Device, typer.Option(help="Where the model runs.")] = Device.AUTO,
) -> None:
    """Score a trained model on a feature store that was made as its own."""
    from mmpipe.core.files import write_json
    from mmpipe.pipeline.outputs import claim
    from mmpipe.pipeline.training import evaluation

    if out is None:
        refuse_ignored("without --out", {"--overwrite": overwrite})
    else:
        claim(out, "evaluation", overwrite=overwrite)
    done = evaluation.evaluate(
        model,
        store,
        split=split,
        skip_unknown=skip_unknown,
        normalise=None if normalise is None else normalise.value,
        device=device.value,
    )
    _show(done)
    if out is not None:
        write_json(out, done.to_json())


def _show(done: Evaluation) -> None:
    from mmpipe.pipeline.training.metrics import METRICS

    if done.unknown:
        left_out, names = sum(done.unknown.values()), ", ".join(done.unknown)
        console.print(styled("[yellow]{} utterances left out[/]: unknown labels {}", left_out, names))
    if done.fitted is None:
        console.print("Features are normalised by the statistics of the training rows")
    else:
        each = ", each by its speaker's" if done.normalise == "speaker" else ""
        console.print(
            f"Features are normalised by the statistics of the {done.fitted} usable utterances of {done.store}{each}"
        )
    if done.fitted is not None and done.fitted < _FEW:
        console.print(
            styled(
                "[yellow]{} utterances are few for statistics of their own[/]: `--normalise train` takes those of the "
                "training rows",
                done.fitted,
            )
        )
    scores = done.scores
    table(
        f"{done.model} on {done.store} (per cent)",
        ["utterances", *METRICS.values()],
        [(scores.n, *(f"{100 * scores.value(name):.1f}" for name in METRICS))],
    )
    table(
        "By label",
        ["label", "utterances", "recall", *(f"as {label}" for label in done.labels)],
        (
            (label, sum(counts), f"{100 * scores.recall[label]:.1f}", *counts)
            for label, counts in zip(done.labels, scores.confusion, strict=True)
        ),
    )
