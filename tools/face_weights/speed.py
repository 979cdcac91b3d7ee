"""Training speed of the expression network: python -m tools.face_weights.speed.

Faces a second of one core, forward and backward: torchvision's modules under bfloat16 autocast, which are the passes of
`mmpipe train-face` (with --compile under torch.compile as well, which takes minutes), and those of
`python -m tools.face_weights`, in torch and in C.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from mmpipe.extractors.faces.densenet import FerplusDenseNet
from mmpipe.extractors.faces.ferplus import CROP_SIZE
from mmpipe.pipeline.cli.console import console, table
from mmpipe.pipeline.face_training.strategy import StepStrategy
from tools.face_weights.dense import DensePasses

_BATCH, _REPEATS, _SIDES = 64, 3, (CROP_SIZE, 48)


def _faces_a_second(forward: Callable[[torch.Tensor], torch.Tensor], network: FerplusDenseNet, side: int) -> float:
    """Faces that go through the network and back in a second, after one batch to warm up."""
    images = torch.randn(_BATCH, 1, side, side).to(memory_format=torch.channels_last)
    targets, parameters = torch.rand(_BATCH, 8).softmax(dim=1), list(network.parameters())
    began = 0.0
    for step in range(_REPEATS + 1):
        if step == 1:
            began = time.perf_counter()
        torch.autograd.grad(F.cross_entropy(forward(images).float(), targets), parameters)
    return _BATCH * _REPEATS / (time.perf_counter() - began)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compile", action="store_true", help="torch.compile as well")
    options = parser.parse_args()
    torch.set_num_threads(1)
    network = FerplusDenseNet().to(memory_format=torch.channels_last).train()
    compiled = torch.compile(network)
    ways: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "mmpipe train-face": StepStrategy().forward(network),
        **({"the same, compiled": torch.autocast("cpu", torch.bfloat16)(compiled)} if options.compile else {}),
        "tools.face_weights": DensePasses(network, native=False),
        "tools.face_weights --native": DensePasses(network, native=True),
    }
    rows = [(name, *(f"{_faces_a_second(way, network, side):.0f}" for side in _SIDES)) for name, way in ways.items()]
    console.print(f"torch {torch.__version__}, one thread, batches of {_BATCH}")
    table("Faces trained on in a second", ["", *(f"{side}x{side}" for side in _SIDES)], rows)


if __name__ == "__main__":
    main()
