"""A small FERPlus of random faces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmpipe.extractors.faces.ferplus import FERPLUS_CLASSES

VOTES = [*FERPLUS_CLASSES, "unknown", "NF"]


def faces(number: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, (number, 48, 48), dtype=np.uint8)


def votes(number: int) -> Any:
    """Eight votes for one class in turn, a stray vote for the next, one vote of unknown."""
    table = np.zeros((number, len(VOTES)), np.int64)
    for row in range(number):
        table[row, row % 8], table[row, (row + 1) % 8], table[row, 8] = 8, 1, 1
    return table


def write_official(folder: Path) -> Path:
    """Write the official pair of CSV files: nine training rows, the last without a face, and eight public-test rows."""
    counts = np.concatenate([votes(9), votes(8)])
    counts[8] = 0
    counts[8, 9] = 10
    usage = ["Training"] * 9 + ["PublicTest"] * 8
    names = [f"fer{n:07d}.png" for n in range(17)]
    frame = pd.DataFrame(counts, columns=VOTES)
    frame.insert(0, "Image name", names)
    frame.insert(0, "Usage", usage)
    frame.to_csv(folder / "fer2013new.csv", index=False)
    pixels = [" ".join(map(str, face.reshape(-1))) for face in faces(17)]
    pd.DataFrame({"emotion": 0, "pixels": pixels, "Usage": usage}).to_csv(folder / "fer2013.csv", index=False)
    return folder
