"""The recipe of `mmpipe train-face` with fast passes, shared by several processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import Field
from torch import Tensor

from mmpipe.extractors.faces.densenet import FerplusDenseNet
from mmpipe.pipeline.face_training.config import FaceTraining
from mmpipe.pipeline.face_training.evaluation import FaceScores
from mmpipe.pipeline.face_training.loop import FaceProgress, FaceRun
from mmpipe.pipeline.face_training.recipe import train_face
from mmpipe.pipeline.face_training.strategy import StepStrategy
from mmpipe.pipeline.face_training.twins import TrainingFaces, read_training_faces
from tools.face_weights.dense import DensePasses
from tools.face_weights.processes import average_over_processes, joined, processes, rank

__all__ = ["FastFaceTraining", "train_face_fast"]


class FastFaceTraining(FaceTraining):
    """Hyper-parameters of the recipe, and how its steps are computed."""

    processes: int = Field(default=1, ge=1)
    """Processes that share a step's faces: one a core. Each normalises by the statistics of its own part."""
    native: bool = False
    """Element-wise passes in C, about twice as fast."""


class _FastSteps(StepStrategy):
    """Steps by `DensePasses`, shared by the processes that are joined when it is made."""

    def __init__(self, *, native: bool) -> None:
        self.rank, self.processes, self._native = rank(), processes(), native

    def forward(self, network: FerplusDenseNet) -> Callable[[Tensor], Tensor]:
        return DensePasses(network, native=self._native)

    def average(self, tensors: Sequence[Tensor]) -> None:
        average_over_processes(tensors)


def train_face_fast(
    data: Path,
    out: Path,
    config: FastFaceTraining,
    listener: Callable[[FaceProgress], None] = lambda progress: None,
    on_faces: Callable[[TrainingFaces], None] = lambda faces: None,
) -> FaceScores:
    """Do what `train_face` does, on the CPU, with fast passes in `config.processes` processes.

    Args:
        data: folder of FERPlus.
        out: the safetensors file.
        config: hyper-parameters.
        listener: called every `checkpoint_steps` steps and at the end of an epoch.
        on_faces: called with the training faces before the first step.

    Raises:
        CorpusError: as `train_face` does.
        UsageError: as `train_face` does, or `native` finds no C compiler.
    """
    with joined(config.processes, _follow, data, out, config):
        return train_face(data, out, config, listener, strategy=_FastSteps(native=config.native), on_faces=on_faces)


def _follow(data: Path, out: Path, config: FastFaceTraining) -> None:
    """Another process's part in a training."""
    strategy = _FastSteps(native=config.native)
    faces = read_training_faces(data, as_published=config.as_published)
    run = FaceRun(faces.part, config, out.with_suffix(".checkpoint"), strategy)
    while run.step < run.steps:
        run.advance()
