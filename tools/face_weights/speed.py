"""Training speed of the expression network: python -m tools.face_weights.speed.

Faces a second of one core, forward and backward: torchvision's modules under bfloat16 autocast (with --compile under
torch.compile as well, which takes minutes), and the passes of `mmpipe train-face`, in torch and in C.
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
from tools.face_weights.dense import DensePasses

BATCH, REPEATS, SIDES = 64, 3, (CROP_SIZE, 48)


def faces_a_second(forward: Callable[[torch.Tensor], torch.Tensor], network: FerplusDenseNet, side: int) -> float:
    """Faces that go through the network and back in a second, after one batch to warm up."""
    images = torch.randn(BATCH, 1, side, side).to(memory_format=torch.channels_last)
    targets, parameters = torch.rand(BATCH, 8).softmax(dim=1), list(network.parameters())
    began = 0.0
    for step in range(REPEATS + 1):
        if step == 1:
            began = time.perf_counter()
        torch.autograd.grad(F.cross_entropy(forward(images).float(), targets), parameters)
    return BATCH * REPEATS / (time.perf_counter() - began)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compile", action="store_true", help="torch.compile as well")
    options = parser.parse_args()
    torch.set_num_threads(1)
    network = FerplusDenseNet().to(memory_format=torch.channels_last).train()
    compiled = torch.compile(network)
    autocast = torch.autocast("cpu", torch.bfloat16)
    ways: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "torchvision's modules": autocast(network),
        **({"the same, compiled": autocast(compiled)} if options.compile else {}),
        "mmpipe train-face": DensePasses(network, native=False),
        "mmpipe train-face --native": DensePasses(network, native=True),
    }
    rows = [(name, *(f"{faces_a_second(way, network, side):.0f}" for side in SIDES)) for name, way in ways.items()]
    console.print(f"torch {torch.__version__}, one thread, batches of {BATCH}")
    table("Faces trained on in a second", ["", *(f"{side}x{side}" for side in SIDES)], rows)


if __name__ == "__main__":
    main()
