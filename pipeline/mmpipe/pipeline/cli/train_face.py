"""`mmpipe train-face`: train or evaluate the face expression network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from mmpipe.core.errors import UsageError
from mmpipe.pipeline.cli.console import console, progress, table
from mmpipe.pipeline.hardware import available_cores, use_threads

if TYPE_CHECKING:
    from mmpipe.pipeline.face_training.recipe import FaceTraining

__all__ = ["run_evaluate_face", "run_train_face"]


def _config(given: dict[str, Any], assignments: Sequence[str]) -> FaceTraining:
    from mmpipe.pipeline.cli.settings import parse_assignments
    from mmpipe.pipeline.face_training.recipe import FaceTraining

    given = given | parse_assignments(f"train-face.{text}" for text in assignments).get("train-face", {})
    try:
        return FaceTraining.model_validate(given)
    except ValidationError as error:
        problems = "; ".join(f"{d['loc'][0]}: {d['msg']} (got {d['input']!r})" for d in error.errors())
        raise UsageError(f"{problems}; hyper-parameters: {', '.join(FaceTraining.model_fields)}") from error


def run_train_face(
    data: Path, out: Path, given: dict[str, Any], assignments: Sequence[str], *, threads: int | None
) -> None:
    """Train the network; a run that stopped goes on from its checkpoint."""
    from mmpipe.pipeline.face_training.recipe import train_face

    config = _config(given, assignments)
    use_threads(1 if config.native else threads or available_cores())
    console.print(f"FERPlus in {data} -> {out}, {config.epochs} epochs; stop it any time, the same command goes on")
    with progress("step") as bars:
        bar = bars.add_task("training", total=None)
        figures = train_face(
            data,
            out,
            config,
            lambda row: bars.update(
                bar, completed=row["step"], total=row["steps"], description=f"loss {row['loss']:.3f}"
            ),
        )
    _show(figures, f"{out} on the valid part")


def run_evaluate_face(data: Path, part: str, weights: Path | None, *, flip: bool, threads: int | None) -> None:
    """Evaluate weights on one part of FERPlus and print accuracy, UAR, macro F1 and the confusion matrix."""
    from mmpipe.extractors.faces.densenet import load_network
    from mmpipe.extractors.weights.bundled import FERPLUS_DENSENET, bundled, sha256
    from mmpipe.pipeline.face_training.ferplus import PARTS, read_ferplus
    from mmpipe.pipeline.face_training.recipe import evaluate

    if part not in PARTS:
        raise UsageError(f"--evaluate {part!r}: valid parts are {', '.join(PARTS)}")
    use_threads(threads or available_cores())
    path = weights or bundled(FERPLUS_DENSENET)
    figures = evaluate(load_network(path), read_ferplus(data, part), flip=flip)
    console.print(f"{path.name}, SHA-256 {sha256(path)}")
    _show(figures, f"{part} part{', averaged with the mirror image' if flip else ''}")


def _show(figures: dict[str, Any], title: str) -> None:
    table(
        title,
        ["faces", "accuracy", "UAR", "macro F1"],
        [(figures["faces"], *(f"{figures[name]:.2%}" for name in ("accuracy", "uar", "macro_f1")))],
    )
    classes = list(figures["recall"])
    rows = (
        (name, f"{figures['recall'][name]:.1%}", *counts)
        for name, counts in zip(classes, figures["confusion"], strict=True)
    )
    table("Confusion (rows are the majority votes)", ["class", "recall", *(c[:9] for c in classes)], rows)
