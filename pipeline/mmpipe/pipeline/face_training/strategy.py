"""How a training step is computed; the place where another trainer takes over.

The recipe decides what a step sees and how the weights follow from its gradients. A strategy decides who computes the
logits, and whether several processes share the step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mmpipe.extractors.faces.densenet import FerplusDenseNet

__all__ = ["StepStrategy"]


class StepStrategy:
    """Steps in one process by the network's own modules, under bfloat16 autocast with channels-last maps.

    A subclass may give another `forward`, or share the faces of a step: then each process has its own `rank`, works on
    every `processes`-th face and meets the others in `average`.
    """

    rank: int = 0
    """The number of this process; 0 writes the files."""
    processes: int = 1
    """How many processes share a step."""

    def forward(self, network: FerplusDenseNet) -> Callable[[Tensor], Tensor]:
        """A function of normalised faces float32 [B, 1, H, W] to logits float32 [B, 8], in training mode.

        Gradients of its output with respect to the network's parameters exist, and a call updates the running
        statistics.
        """

        def logits(images_B1HW: Tensor) -> Tensor:
            with torch.autocast(images_B1HW.device.type, torch.bfloat16):
                output: Tensor = network(images_B1HW.to(memory_format=torch.channels_last))
            return output.float()

        return logits

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace float32 tensors by their mean over all processes; nothing to do for one."""
