"""The answers of a trained network as targets for another one (Hinton et al. 2015)."""

from __future__ import annotations

import torch
from torch import Tensor

from mmpipe.extractors.faces.densenet import FerplusDenseNet
from mmpipe.extractors.faces.ferplus import FERPLUS_CLASSES
from mmpipe.pipeline.face_training.augmentation import normalise, resize
from mmpipe.pipeline.face_training.ferplus import FerplusPart
from mmpipe.pipeline.face_training.strategy import StepStrategy

__all__ = ["taught_by"]


@torch.inference_mode()
def taught_by(
    teacher: FerplusDenseNet, part: FerplusPart, strategy: StepStrategy, *, batch_size: int = 32, device: str = "cpu"
) -> Tensor:
    """Class probabilities float32 [N, 8] of the N faces of a part, averaged over face and mirror image.

    Args:
        teacher: the network, in evaluation mode; it answers in bfloat16.
        part: the faces.
        strategy: the processes that share the work.
        batch_size: faces a call.
        device: `cpu` or `cuda`; the answers lie on the CPU.
    """
    teacher = teacher.to(device)
    answers = torch.zeros(len(part.faces), len(FERPLUS_CLASSES))
    for start in range(strategy.rank * batch_size, len(part.faces), strategy.processes * batch_size):
        images = resize(normalise(torch.from_numpy(part.faces[start : start + batch_size]).to(device)))
        for side in (images, images.flip(3)):
            with torch.autocast(device, torch.bfloat16):
                logits = teacher(side.to(memory_format=torch.channels_last))
            answers[start : start + batch_size] += logits.float().softmax(dim=1).cpu() / 2
    strategy.average([answers])
    return answers * strategy.processes
