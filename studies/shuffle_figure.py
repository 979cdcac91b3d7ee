"""Draws docs/shuffle.png: which matching terms tell paired latents from shuffled ones.

python -m studies.shuffle_figure
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib.figure import Figure
from torch import Tensor

from mmpipe.pipeline.training.config import make_config
from mmpipe.pipeline.training.experiments.figures import png
from mmpipe.pipeline.training.losses import matching, mmd

BATCHES, ROWS, WIDTH = 200, 128, 64


def values(variant: str, p: Tensor, q: Tensor, generator: torch.Generator) -> float:
    """L_pair + L_unpaired of a batch."""
    if variant == "shuffled within the batch":
        order = torch.randperm(ROWS, generator=generator)
        return (mmd(p, q) - mmd(p, q[order])).item()
    pair, unpaired = matching({"a": p, "v": q}, make_config(matching=variant))
    return (pair + unpaired).item()


def main() -> None:
    """Draw the figure and print means and deviations."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    variants = ("shuffled within the batch", "batch", "sample", "hsic")
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in variants}
    for _ in range(BATCHES):
        shared, own = (torch.randn(ROWS, WIDTH, generator=generator) for _ in range(2))
        p, q = shared + 0.7 * own, shared + 0.7 * torch.randn(ROWS, WIDTH, generator=generator)
        shuffled = q[torch.randperm(ROWS, generator=generator)]
        for name, (paired, mixed) in found.items():
            paired.append(values(name, p, q, generator))
            mixed.append(values(name, p, shuffled, generator))
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(10, 2.6), layout="constrained")
        for axis, (name, sides) in zip(figure.subplots(1, len(variants)), found.items(), strict=True):
            spread = max(max(map(abs, side)) for side in sides)
            limits = (-1e-3, 1e-3) if spread < 1e-5 else (min(map(min, sides)), max(map(max, sides)))
            for side, color, label in zip(sides, ("#3b82c4", "#d9772b"), ("paired", "shuffled before"), strict=True):
                axis.hist(side, bins=30, range=limits, color=color, alpha=0.7, label=label)
            axis.set(title=name, xlabel="pair + unpaired", yticks=[])
            axis.tick_params(axis="x", labelrotation=20)
            axis.legend(fontsize=7)
    Path("docs/shuffle.png").write_bytes(png(figure))
    for name, sides in found.items():
        means = [(sum(side) / len(side), float(torch.tensor(side).std())) for side in sides]
        print(
            name, *(f"{label} {m:+.5f} ± {s:.5f}" for label, (m, s) in zip(("paired", "shuffled"), means, strict=True))
        )


if __name__ == "__main__":
    main()
