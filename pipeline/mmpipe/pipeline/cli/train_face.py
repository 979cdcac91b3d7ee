"""`mmpipe train-face`: train or evaluate the face expression network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from mmpipe.core.errors import UsageError
from mmpipe.pipeline.cli.console import console, result, table
from mmpipe.pipeline.cli.modes import refuse_ignored, refuse_twice
from mmpipe.pipeline.cli.options import Device, Overwrite

if TYPE_CHECKING:
    from mmpipe.pipeline.face_training.config import FaceTraining
    from mmpipe.pipeline.face_training.evaluation import FaceScores
    from mmpipe.pipeline.face_training.loop import FaceProgress
    from mmpipe.pipeline.face_training.twins import TrainingFaces

__all__ = ["Part", "parse_training", "print_faces", "print_scores", "train_face", "training_progress"]

_Training = TypeVar("_Training", bound="FaceTraining")


class Part(StrEnum):
    """The parts of FERPlus."""

    TRAIN = "train"
    VALID = "valid"
    TEST = "test"


def train_face(
    data: Annotated[Path, typer.Option(help="Folder of FERPlus: CSV files, image folders or Parquet.")],
    out: Annotated[Path | None, typer.Option(help="The weights to write; log and checkpoint are beside it.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training part. Default: 8.")] = None,
    start: Annotated[Path | None, typer.Option(help="Weights to start from. Default: random ones.")] = None,
    as_published: Annotated[
        bool,
        typer.Option("--as-published", help="Keep training faces that have a twin in an evaluation part."),
    ] = False,
    set_: Annotated[list[str], typer.Option("--set", help="A hyper-parameter: NAME=VALUE. Repeatable.")] = [],  # noqa: B006
    seed: Annotated[int | None, typer.Option(help="Decides every random choice. Default: 0.")] = None,
    overwrite: Overwrite = False,
    device: Annotated[Device, typer.Option(help="Where the network runs.")] = Device.AUTO,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads. Default: the cores.")] = None,
    evaluate: Annotated[Part | None, typer.Option(help="Train nothing: evaluate on this part.")] = None,
    weights: Annotated[Path | None, typer.Option(help="With --evaluate. Default: the bundled weights.")] = None,
    flip: Annotated[
        bool, typer.Option("--flip", help="With --evaluate: average each face and its mirror image.")
    ] = False,
) -> None:
    """Train the face expression network on FERPlus, or evaluate weights of it."""
    from mmpipe.pipeline.hardware import available_cores, pick_device, use_threads
    from mmpipe.pipeline.outputs import claim

    given = {"epochs": epochs, "start": start, "as_published": as_published or None, "seed": seed}
    if evaluate is not None:
        hyper = {f"--{name.replace('_', '-')}": value for name, value in given.items()}
        unused = {"--out": out, "--overwrite": overwrite, **hyper}
        refuse_ignored("with --evaluate", unused | {"--set": set_})
        chosen = pick_device(device.value)
        use_threads(threads or available_cores())
        _evaluate(data, evaluate, weights, flip=flip, device=chosen)
        return
    refuse_ignored("without --evaluate", {"--weights": weights, "--flip": flip})
    if out is None:
        raise UsageError("--out is missing: name the weights file to write, or give --evaluate PART")
    claim(out, "face network", overwrite=overwrite)
    chosen = pick_device(device.value)
    use_threads(threads or available_cores())
    _train(data, out, given, set_, device=chosen)


def _train(data: Path, out: Path, given: Mapping[str, Any], assignments: Sequence[str], *, device: str) -> None:
    from mmpipe.pipeline.face_training.config import FaceTraining
    from mmpipe.pipeline.face_training.recipe import train_face as train

    config = parse_training(FaceTraining, given, assignments)
    console.print(
        f"FERPlus in {data} -> {out}, {config.epochs} epochs on {device}; stop it any time, the same command goes on"
    )
    with training_progress() as listener:
        scores = train(data, out, config, listener, device=device, on_faces=print_faces)
    print_scores({"all": scores}, f"{out} on the valid part")
    result(f"Weights: {out}, {scores.accuracy:.2%} of the valid part")


def _evaluate(data: Path, part: Part, weights: Path | None, *, flip: bool, device: str) -> None:
    from mmpipe.extractors.faces.densenet import load_network
    from mmpipe.extractors.weights.bundled import FERPLUS_DENSENET, bundled, sha256
    from mmpipe.pipeline.face_training.evaluation import evaluate, evaluate_twins
    from mmpipe.pipeline.face_training.ferplus import has_part, read_ferplus

    path = weights or bundled(FERPLUS_DENSENET)
    network, faces = load_network(path), read_ferplus(data, part.value)
    scores: dict[str, FaceScores | None]
    if compared := part is not Part.TRAIN and has_part(data, Part.TRAIN.value):
        both = evaluate_twins(network, faces, read_ferplus(data, Part.TRAIN.value), flip=flip, device=device)
        scores = {
            "all, as published": both.published,
            "without exact twins": both.without_exact,
            "without near twins": both.without_near,
        }
    else:
        scores = {"all, as published": evaluate(network, faces, flip=flip, device=device)}
    console.print(f"{path.name}, SHA-256 {sha256(path)}")
    if compared:
        console.print(
            "Twins: faces that the training part holds too, equal (exact) or nearly so (near, exact included)"
        )
    elif part is not Part.TRAIN:
        console.print(f"{data} holds no training part: faces with a twin in it are not counted apart", markup=False)
    print_scores(scores, f"{part.value} part{', averaged with the mirror image' if flip else ''}")
    figures = (f"{_figures(value)} {name}" for name, value in scores.items() if value is not None)
    result(f"{path.name} on the {part.value} part: {'; '.join(figures)}")


def parse_training(kind: type[_Training], given: Mapping[str, Any], assignments: Sequence[str]) -> _Training:
    """Hyper-parameters from options and from texts such as `peak_rate=0.1`.

    Args:
        kind: `FaceTraining` or a subclass of it.
        given: values by name; None takes the default.
        assignments: the texts of --set.

    Raises:
        UsageError: a name is unknown, a value is out of range (the message lists the names), or given twice.
    """
    from pydantic import ValidationError

    from mmpipe.core.options import explain
    from mmpipe.pipeline.cli.settings import parse_hyper_parameters

    assigned = parse_hyper_parameters(assignments)
    refuse_twice(given, assigned)
    values = {name: value for name, value in given.items() if value is not None} | assigned
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        names = kind.model_fields
        raise UsageError(f"{explain(error, names)}; hyper-parameters: {', '.join(names)}") from error


@contextmanager
def training_progress() -> Iterator[Callable[[FaceProgress], None]]:
    """A bar of steps; what it gives is the listener of a training."""
    from mmpipe.pipeline.cli.progress import progress

    with progress("step") as bars:
        bar = bars.add_task("training", total=None)

        def show(done: FaceProgress) -> None:
            bars.update(bar, completed=done.step, total=done.steps, description=f"loss {done.loss:.3f}")

        yield show


def print_faces(faces: TrainingFaces) -> None:
    """Print how many training faces there are, and how many were left out because of their twins."""
    number = len(faces.part.faces)
    if not faces.compared_with:
        console.print(f"{number} training faces, as published: their twins in the evaluation parts are kept")
        return
    parts = " and ".join(faces.compared_with)
    console.print(f"{number} training faces; {faces.left_out} more with a twin in {parts} are left out")
    if missing := {"valid", "test"} - set(faces.compared_with):
        console.print(
            f"The {' and '.join(sorted(missing))} part is not here: training faces with a twin in it are kept"
        )


def _figures(scores: FaceScores) -> str:
    return f"accuracy {scores.accuracy:.2%}, UAR {scores.uar:.2%}, macro F1 {scores.macro_f1:.2%}"


def print_scores(scores: Mapping[str, FaceScores | None], title: str) -> None:
    """Print accuracy, UAR and macro F1 on sets of faces, by name, and the confusion matrix of the first set."""
    rows = [
        (name, 0, "-", "-", "-")
        if s is None
        else (name, s.faces, *map("{:.2%}".format, (s.accuracy, s.uar, s.macro_f1)))
        for name, s in scores.items()
    ]
    table(title, ["faces", "number", "accuracy", "UAR", "macro F1"], rows)
    first = next(s for s in scores.values() if s is not None)
    confusion = (
        (name, f"{recall:.1%}", *counts)
        for (name, recall), counts in zip(first.recall.items(), first.confusion, strict=True)
    )
    columns = ["class", "recall", *(name[:9] for name in first.recall)]
    table("Confusion (rows are the majority votes)", columns, confusion)
