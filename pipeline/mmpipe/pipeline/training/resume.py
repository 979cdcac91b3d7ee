"""The state of an unfinished training, from which it goes on as if it had never stopped.

Order, draws and dropout follow from the seed and the number of the epoch alone, so a state needs no random generator:
parameters, optimiser, the best epoch so far and the figures of every epoch are all.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mmpipe.core.files import write_bytes
from mmpipe.core.seals import crc32
from mmpipe.pipeline.training.latents import LatentEpoch

__all__ = ["Draws", "Progress", "epoch_order", "load_progress", "save_progress", "seed_torch"]


@dataclass
class Progress:
    """What training has come to after its last whole epoch.

    Attributes:
        model: parameters now.
        optimiser: state of the optimiser.
        best: parameters of the best epoch.
        best_figures: what was compared: the validation metric and minus the validation loss.
        best_epoch: its number, 0 before the first.
        drawn: unlabelled rows drawn so far.
        history: the figures of every epoch.
        latents: where the latents lay, by epoch that is kept.
    """

    model: dict[str, Tensor]
    optimiser: dict[str, Any]
    best: dict[str, Tensor]
    best_figures: list[float]
    best_epoch: int = 0
    drawn: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    latents: dict[int, LatentEpoch] = field(default_factory=dict)


_CHECKSUM_DIGITS = 8


def save_progress(path: Path, progress: Progress, identity: str) -> None:
    """Write a state atomically after its CRC-32; `identity` is a hash of what the training follows from."""
    shallow = {name: getattr(progress, name) for name in Progress.__dataclass_fields__}
    latents = [view.to_json() for view in progress.latents.values()]
    state = io.BytesIO()
    torch.save(shallow | {"latents": latents, "identity": identity}, state)
    data = state.getbuffer()
    write_bytes(path, b"".join([crc32([data]).encode(), data]))


def load_progress(path: Path, identity: str) -> Progress | None:
    """The state of an unfinished training of the same identity; None where there is none that is whole.

    Nothing but tensors and plain values is unpickled (`weights_only`).
    """
    try:
        data = path.read_bytes()
        if data[:_CHECKSUM_DIGITS] != crc32([data[_CHECKSUM_DIGITS:]]).encode():
            return None
        saved = torch.load(io.BytesIO(data[_CHECKSUM_DIGITS:]), map_location="cpu", weights_only=True)
        if saved.pop("identity") != identity:
            return None
        latents = [LatentEpoch.from_json(view) for view in saved.pop("latents", ())]
        return Progress(**saved, latents={view.epoch: view for view in latents})
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, KeyError, TypeError, AttributeError):
        return None


def epoch_order(
    rows: npt.NDArray[np.int64], seed: int, epoch: int, size: int, turn: int = 0
) -> list[npt.NDArray[np.int64]]:
    """The batches of a pass of an epoch: a shuffled one in parts of at most `size`, all of nearly the same size."""
    shuffled = np.random.default_rng([seed, 0, epoch, turn] if turn else [seed, 0, epoch]).permutation(rows)
    return list(np.array_split(shuffled, -(-len(rows) // size)))


def seed_torch(seed: int, epoch: int) -> None:
    """Let the initial weights (epoch 0) or the dropout of an epoch follow from the seed."""
    torch.manual_seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint32)[0]))


class Draws:
    """Rows of a pool that is reshuffled whenever it is empty.

    Example:
        >>> draws = Draws(np.array([3, 5, 8]), seed=0)
        >>> sorted(draws.take(0, 3).tolist()) == sorted(draws.take(3, 3).tolist()) == [3, 5, 8]
        True
    """

    def __init__(self, rows: npt.NDArray[np.int64], seed: int) -> None:
        self._rows, self._seed = rows, seed
        self._pass, self._order = -1, rows

    def take(self, drawn: int, number: int) -> npt.NDArray[np.int64]:
        """The next `number` rows after `drawn` ones."""
        parts = []
        while number > 0:
            turn, start = divmod(drawn, len(self._rows))
            if turn != self._pass:
                self._pass, self._order = turn, np.random.default_rng([self._seed, 1, turn]).permutation(self._rows)
            parts.append(self._order[start : start + number])
            drawn, number = drawn + len(parts[-1]), number - len(parts[-1])
        return np.concatenate(parts) if parts else np.empty(0, np.int64)
