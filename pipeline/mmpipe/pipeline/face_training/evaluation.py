"""How good a face expression network is on a part of FERPlus, and what it answers there.

Legend: N faces.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from mmpipe.extractors.faces.densenet import FerplusDenseNet
from mmpipe.extractors.faces.ferplus import FERPLUS_CLASSES
from mmpipe.pipeline.face_training.augmentation import normalise, resize
from mmpipe.pipeline.face_training.ferplus import FerplusPart

__all__ = ["FaceScores", "evaluate"]


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


@torch.inference_mode()
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
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

    network = network.to(device).eval()
    predicted = []
    for start in range(0, len(part.faces), batch_size):
        images = resize(normalise(torch.from_numpy(part.faces[start : start + batch_size]).to(device)))
        images = images.to(memory_format=torch.channels_last)
        probabilities = network(images).softmax(dim=1)
        if flip:
            probabilities = probabilities + network(images.flip(3)).softmax(dim=1)
        predicted.append(probabilities.argmax(dim=1).cpu().numpy())
    truth, guess = part.labels, np.concatenate(predicted)
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
