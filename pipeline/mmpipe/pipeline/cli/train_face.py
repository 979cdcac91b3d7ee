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

__all__ = ["Part", "parse_training", "print_scores", "train_face", "training_progress"]

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

    given = {"epochs": epochs, "start": start, "seed": seed}
    if evaluate is not None:
        unused = {"--out": out, "--overwrite": overwrite, **{f"--{name}": value for name, value in given.items()}}
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
        scores = train(data, out, config, listener, device=device)
    print_scores(scores, f"{out} on the valid part")
    result(f"Weights: {out}, {scores.accuracy:.2%} of the valid part")


def _evaluate(data: Path, part: Part, weights: Path | None, *, flip: bool, device: str) -> None:
    from mmpipe.extractors.faces.densenet import load_network
    from mmpipe.extractors.weights.bundled import FERPLUS_DENSENET, bundled, sha256
    from mmpipe.pipeline.face_training.evaluation import evaluate
    from mmpipe.pipeline.face_training.ferplus import read_ferplus

    path = weights or bundled(FERPLUS_DENSENET)
    scores = evaluate(load_network(path), read_ferplus(data, part.value), flip=flip, device=device)
    console.print(f"{path.name}, SHA-256 {sha256(path)}")
    print_scores(scores, f"{part.value} part{', averaged with the mirror image' if flip else ''}")
    result(f"{path.name}: accuracy {scores.accuracy:.2%}, UAR {scores.uar:.2%} of the {part.value} part")


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


def print_scores(scores: FaceScores, title: str) -> None:
    """Print accuracy, UAR, macro F1 and the confusion matrix."""
    figures = (f"{value:.2%}" for value in (scores.accuracy, scores.uar, scores.macro_f1))
    table(title, ["faces", "accuracy", "UAR", "macro F1"], [(scores.faces, *figures)])
    rows = (
        (name, f"{recall:.1%}", *counts)
        for (name, recall), counts in zip(scores.recall.items(), scores.confusion, strict=True)
    )
    columns = ["class", "recall", *(name[:9] for name in scores.recall)]
    table("Confusion (rows are the majority votes)", columns, rows)
