"""The report's pictures of latents by epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mmpipe.pipeline.report.blocks import Block, Details, Figure, Grid, Text
from mmpipe.pipeline.report.charts import PLAIN, Points
from mmpipe.pipeline.store.sampled import spread
from mmpipe.pipeline.training.latents import LatentEpoch, Latents
from mmpipe.pipeline.training.modalities import MODALITIES
from mmpipe.pipeline.training.results import FoldResult

__all__ = ["latents_blocks"]

_MOST_EPOCHS = 3
"""Epochs whose latents are shown, and the best one."""


def latents_blocks(folds: Sequence[FoldResult]) -> Iterator[Block]:
    """The latents of the first fold that has them, of a few epochs and the best one."""
    fold = next((fold for fold in folds if fold.latents is not None), None)
    if fold is None or fold.latents is None:
        return
    views = fold.latents.epochs
    shown = {views[place].epoch: views[place] for place in spread(len(views), _MOST_EPOCHS)}
    shown |= {view.epoch: view for view in views if view.epoch == fold.best_epoch}
    pool = " and of the unlabelled pool" if None in fold.latents.labels else ""
    yield Details(
        "Latents by epoch",
        [
            Text(
                f"Fold {fold.name} of seed {fold.seed}: a point is the latent of one modality of an utterance, on the "
                "two principal components of all latents after the epoch. The utterances are some of the validation "
                f"part{pool}, evenly spread."
            ),
            Grid([_cloud(fold, fold.latents, view) for _, view in sorted(shown.items())]),
        ],
    )


def _cloud(fold: FoldResult, latents: Latents, view: LatentEpoch) -> Figure:
    letters = list(view.points)
    labels = [label or PLAIN[0] for label in latents.labels]
    colourings: dict[str, list[str]] = {
        "modality": [MODALITIES[letter].name for letter in letters for _ in labels],
        "label": labels * len(letters),
    }
    tips = [
        f"{i}, {label}, {MODALITIES[m].name}" for m in letters for i, label in zip(latents.ids, labels, strict=True)
    ]
    places = [x for letter in letters for x in view.points[letter]]
    axes = [f"component {k + 1} ({100 * share:.0f} %)" for k, share in enumerate(view.shares)]
    shown = {name: values for name, values in colourings.items() if name == "label" or len(letters) > 1}
    title = f"Epoch {view.epoch}" + (", whose model was kept" if view.epoch == fold.best_epoch else "")
    points = Points(f"Latents of {fold.name}: {title}", places[::2], places[1::2], tips, shown, *axes)
    return Figure(points, title)
