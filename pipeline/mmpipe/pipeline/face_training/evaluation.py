"""How good a face expression network is on a part of FERPlus, and what it answers there.

Legend: N faces.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from mmpipe.extractors.faces.densenet import FerplusDenseNet
from mmpipe.extractors.faces.ferplus import FERPLUS_CLASSES
from mmpipe.pipeline.face_training.augmentation import normalise, resize
from mmpipe.pipeline.face_training.ferplus import FerplusPart
from mmpipe.pipeline.face_training.twins import twins_in

__all__ = ["FaceScores", "TwinScores", "evaluate", "evaluate_twins"]


@dataclass(frozen=True)
class FaceScores:
    """Scores of a network against the majority class of each face.

    Attributes:
        faces: number of faces.
        accuracy: share of faces whose class is found, in [0, 1].
        uar: unweighted average recall, in [0, 1].
        macro_f1: mean of the classes' F1, in [0, 1].
        recall: recall by class, in the order of `FERPLUS_CLASSES`.
        confusion: counts [8, 8]; rows are the truth.
    """

    faces: int
    accuracy: float
    uar: float
    macro_f1: float
    recall: dict[str, float]
    confusion: list[list[int]]


@dataclass(frozen=True)
class TwinScores:
    """Scores on a part of FERPlus, with and without the faces that the training part holds too.

    Attributes:
        published: on all faces of the part.
        without_exact: without faces that have an exact twin in the training part; None where no face is left.
        without_near: without those that have an exact or near twin in it; None where no face is left.
    """

    published: FaceScores
    without_exact: FaceScores | None
    without_near: FaceScores | None


def evaluate(
    network: FerplusDenseNet, part: FerplusPart, *, flip: bool = False, batch_size: int = 32, device: str = "cpu"
) -> FaceScores:
    """Score a network on a part of FERPlus, in float32.

    Args:
        network: the network, in any mode; it is evaluated in evaluation mode, on the device.
        part: the faces.
        flip: average the probabilities of each face and its mirror image.
        batch_size: faces a call.
        device: `cpu` or `cuda`.
    """
    return _score(part.labels, _answers(network, part, flip, batch_size, device))


def evaluate_twins(
    network: FerplusDenseNet, part: FerplusPart, train: FerplusPart, *, flip: bool = False, device: str = "cpu"
) -> TwinScores:
    """Score a network on all faces of a part, and on those without a twin in the training part.

    Args:
        network: see `evaluate`.
        part: the faces.
        train: the training part as published.
        flip: see `evaluate`.
        device: `cpu` or `cuda`.
    """
    exact, near = twins_in(train.faces, part.faces)
    truth, guess = part.labels, _answers(network, part, flip, 32, device)
    without = (_score(truth[~twins], guess[~twins]) if not twins.all() else None for twins in (exact, near))
    return TwinScores(_score(truth, guess), *without)


@torch.inference_mode()
def _answers(
    network: FerplusDenseNet, part: FerplusPart, flip: bool, batch_size: int, device: str
) -> npt.NDArray[np.int64]:
    """The class that the network gives to each face [N]."""
    network = network.to(device).eval()
    predicted = []
    for start in range(0, len(part.faces), batch_size):
        images = resize(normalise(torch.from_numpy(part.faces[start : start + batch_size]).to(device)))
        images = images.to(memory_format=torch.channels_last)
        probabilities = network(images).softmax(dim=1)
        if flip:
            probabilities = probabilities + network(images.flip(3)).softmax(dim=1)
        predicted.append(probabilities.argmax(dim=1).cpu().numpy())
    return np.concatenate(predicted)


def _score(truth: npt.NDArray[np.int64], guess: npt.NDArray[np.int64]) -> FaceScores:
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

    classes = range(len(FERPLUS_CLASSES))
    recall = recall_score(truth, guess, labels=classes, average=None, zero_division=0)
    return FaceScores(
        faces=len(truth),
        accuracy=float(accuracy_score(truth, guess)),
        uar=float(np.mean(recall)),
        macro_f1=float(f1_score(truth, guess, labels=classes, average="macro", zero_division=0)),
        recall=dict(zip(FERPLUS_CLASSES, map(float, recall), strict=True)),
        confusion=confusion_matrix(truth, guess, labels=classes).tolist(),
    )
