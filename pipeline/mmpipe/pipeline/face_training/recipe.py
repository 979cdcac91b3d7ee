"""The recipe of the face expression weights: FERPlus in, a safetensors file and a log out.

Soft-label cross-entropy on the annotators' distribution; flips, rotations, scale and shift in one interpolation, random
erasing; smaller images at first; rare classes drawn more often; SGD with Nesterov momentum under a one-cycle schedule;
an exponential moving average of the weights is what ships. Every random number follows from (seed, step), so a run that
was killed ends like one that was not.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save

from mmpipe.core.files import write_bytes
from mmpipe.core.locks import writing_alone
from mmpipe.extractors.faces.ferplus import FERPLUS_CLASSES
from mmpipe.extractors.weights.bundled import sha256
from mmpipe.pipeline.face_training.config import FaceTraining
from mmpipe.pipeline.face_training.evaluation import FaceScores, evaluate
from mmpipe.pipeline.face_training.ferplus import FerplusPart, read_ferplus
from mmpipe.pipeline.face_training.loop import FaceProgress, FaceRun
from mmpipe.pipeline.face_training.strategy import StepStrategy
from mmpipe.pipeline.face_training.twins import NEAR_TWINS, TrainingFaces, read_training_faces

__all__ = ["train_face"]


def train_face(
    data: Path,
    out: Path,
    config: FaceTraining,
    listener: Callable[[FaceProgress], None] = lambda progress: None,
    *,
    device: str = "cpu",
    strategy: StepStrategy | None = None,
    on_faces: Callable[[TrainingFaces], None] = lambda faces: None,
) -> FaceScores:
    """Train the network on FERPlus in `data` and write `out` (safetensors), beside it a JSON card and a CSV log.

    A run in the same place with the same config resumes from its last checkpoint.

    Args:
        data: folder of FERPlus, see `read_ferplus`.
        out: the safetensors file; `out` with the endings `.checkpoint`, `.csv` and `.json` are beside it.
        config: hyper-parameters.
        listener: called every `checkpoint_steps` steps and at the end of an epoch.
        device: `cpu` or `cuda`.
        strategy: how steps are computed; None takes the network's modules in this process.
        on_faces: called with the training faces before the first step.

    Returns:
        The scores on the valid part.

    Raises:
        BusyError: another process is writing `out`.
        CorpusError: FERPlus is not there, or all its training faces have a twin in an evaluation part.
        UsageError: the checkpoint beside `out` belongs to another config or other faces, or a batch is larger than the
            training part.
    """
    with writing_alone(out, "mmpipe train-face"):
        faces = read_training_faces(data, as_published=config.as_published)
        on_faces(faces)
        return _train_face(faces, read_ferplus(data, "valid"), out, config, listener, device, strategy)


def _train_face(
    faces: TrainingFaces,
    valid: FerplusPart,
    out: Path,
    config: FaceTraining,
    listener: Callable[[FaceProgress], None],
    device: str,
    strategy: StepStrategy | None,
) -> FaceScores:
    run = FaceRun(faces.part, config, out.with_suffix(".checkpoint"), strategy or StepStrategy(), device)
    scores: FaceScores | None = None
    while run.step < run.steps or scores is None:
        if run.step < run.steps and not run.epoch_is_due:
            listener(run.advance())
        if run.step % run.steps_an_epoch == 0:
            run.epoch_is_due = False
            if run.step < run.steps and run.step // run.steps_an_epoch % config.evaluate_epochs:
                continue
            scores = evaluate(run.average, valid, device=device)
            _write_log(out.with_suffix(".csv"), run, scores)
            tensors = {name: value.cpu().contiguous() for name, value in run.average.state_dict().items()}
            write_bytes(out, save(tensors))
    _write_card(out.with_suffix(".json"), config, faces, scores)
    return scores


def _write_card(path: Path, config: FaceTraining, faces: TrainingFaces, scores: FaceScores) -> None:
    card: dict[str, Any] = {
        "config": config.model_dump(mode="json"),
        "classes": FERPLUS_CLASSES,
        "training_faces": {
            "faces": len(faces.part.faces),
            "left_out": faces.left_out,
            "compared_with": list(faces.compared_with),
            "near_twins": NEAR_TWINS,
        },
        "valid": asdict(scores),
    }
    for name, weights in (("start", config.start), ("teacher", config.teacher)):
        if weights is not None:
            card[f"{name}_sha256"] = sha256(weights)
    write_bytes(path, (json.dumps(card, indent=2) + "\n").encode())


def _write_log(path: Path, run: FaceRun, scores: FaceScores) -> None:
    """Add the epoch's line; a run that stopped after it writes it again, not twice."""
    epoch = run.step // run.steps_an_epoch
    row = {"epoch": str(epoch), "train_loss": f"{run.loss:.4f}"}
    row |= {name: f"{getattr(scores, name):.4f}" for name in ("accuracy", "uar", "macro_f1")}
    before: list[dict[str, str]] = []
    if path.exists():
        with path.open(encoding="utf-8", newline="") as stream:
            before = [line for line in csv.DictReader(stream) if int(line["epoch"]) < epoch]
    text = io.StringIO()
    writer = csv.DictWriter(text, row, lineterminator="\n")
    writer.writeheader()
    writer.writerows([*before, row])
    write_bytes(path, text.getvalue().encode())
