"""Faces that FERPlus holds more than once, and the training part without those that its evaluation parts hold too.

Exact twins are equal pixel by pixel. Near twins show the same photograph: resized, recompressed, brighter or darker,
with a watermark, framed a pixel or two apart, or mirrored. Means of 3x3 pixels are compared, which a shift of a pixel
changes little: faces are near twins where these correlate by more than `NEAR_TWINS`, one of them mirrored or not. A
twin of a twin is of the same group.

Legend: N faces.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from mmpipe.core.errors import CorpusError
from mmpipe.pipeline.face_training.ferplus import FerplusPart, has_part, read_ferplus

__all__ = ["NEAR_TWINS", "TrainingFaces", "near_groups", "read_training_faces", "twins_in"]

NEAR_TWINS = 0.95
"""Faces are near twins where the means of their 3x3 pixels correlate by more than this."""

_EVALUATION_PARTS = ("valid", "test")
_MEAN_OF = 3
_BLOCK_FACES = 2048
"""Faces that are compared with as many others at once: a block of correlations has 16 MiB."""


@dataclass(frozen=True)
class TrainingFaces:
    """The faces to train on.

    Attributes:
        part: the training part, without the faces that are left out.
        left_out: number of faces left out, as they or twins of theirs are in an evaluation part.
        compared_with: the evaluation parts that were searched for twins; none for the part as published.
    """

    part: FerplusPart
    left_out: int
    compared_with: tuple[str, ...]


def read_training_faces(folder: Path, *, as_published: bool = False) -> TrainingFaces:
    """Read the training part, without faces whose group of twins has a face in an evaluation part of the folder.

    The evaluation parts stay as they were published, so that figures on them compare with those of others.

    Args:
        folder: folder of FERPlus, see `read_ferplus`.
        as_published: leave no face out.

    Raises:
        CorpusError: FERPlus is not there, or no face is left.
    """
    train = read_ferplus(folder, "train")
    if as_published:
        return TrainingFaces(train, 0, ())
    names = tuple(name for name in _EVALUATION_PARTS if has_part(folder, name))
    others = [read_ferplus(folder, name).faces for name in names]
    split = _shared(near_groups(np.concatenate([train.faces, *others])), len(train.faces))
    if split.all():
        raise CorpusError(
            f"{folder}: all {len(split)} training faces have a twin in the parts {' and '.join(names)}: "
            "give --as-published to train on them all the same"
        )
    kept = FerplusPart(train.faces[~split], train.targets[~split], train.dropped)
    return TrainingFaces(kept, int(split.sum()), names)


def twins_in(
    train: npt.NDArray[np.uint8], faces: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which faces [N] have an exact twin among the training faces, and which a near twin, exact ones included."""
    both = np.concatenate([faces, train])
    return _shared(_exact_groups(both), len(faces)), _shared(near_groups(both), len(faces))


def near_groups(faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """The number of the group of near or exact twins that each face is of [N].

    Args:
        faces: uint8 [N, 48, 48]; one without contrast in its means of 3x3 pixels has exact twins alone.

    Example:
        >>> dark = np.random.default_rng(0).integers(0, 100, (2, 48, 48), dtype=np.uint8)
        >>> near_groups(np.concatenate([dark, dark[:1] + 90, dark[1:, :, ::-1]])).tolist()
        [0, 1, 0, 1]
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    exact = _exact_groups(faces)
    _, first = np.unique(exact, return_index=True)
    pairs = _near_pairs(faces[first])
    graph = coo_array((np.ones(len(pairs), np.int8), pairs.T), shape=(len(first), len(first)))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)[exact]


def _exact_groups(faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """The number of the group of equal faces that each face is of [N], in the order of their first faces."""
    codes, _ = pd.factorize(np.array([face.tobytes() for face in faces], dtype=object))
    return np.asarray(codes, np.int64)


def _shared(groups: npt.NDArray[np.int64], number: int) -> npt.NDArray[np.bool_]:
    """Which of the first `number` faces are of a group that has a face among the others."""
    return np.isin(groups[:number], groups[number:])


def _near_pairs(faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """The pairs of near twins [pairs, 2], the smaller number first."""
    even, odd = _mirror_halves(faces)
    pairs = [np.empty((0, 2), np.int64)]
    for start, other in _blocks(len(faces)):
        rows, columns = slice(start, start + _BLOCK_FACES), slice(other, other + _BLOCK_FACES)
        # The correlation with the face is the sum of the two products, that with its mirror image their difference.
        near = even[rows] @ even[columns].T + (odd[rows] @ odd[columns].T).abs_() > NEAR_TWINS
        found: npt.NDArray[np.int64] = near.nonzero().numpy() + np.array([start, other], np.int64)
        pairs.append(found[found[:, 0] < found[:, 1]])
    return np.concatenate(pairs)


def _blocks(number: int) -> list[tuple[int, int]]:
    starts = range(0, number, _BLOCK_FACES)
    return [(start, other) for start in starts for other in starts if start <= other]


def _mirror_halves(faces: npt.NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
    """Each face's means, normalised to mean 0 and length 1, split into the part that mirroring keeps and the other."""
    number, side = len(faces), faces.shape[1] // _MEAN_OF
    # Sums of bytes are whole numbers, so that a face without contrast has a length of exactly 0.
    sums = faces.reshape(number, side, _MEAN_OF, side, _MEAN_OF).sum((2, 4), dtype=np.float32)
    centred = torch.from_numpy(sums - sums.mean((1, 2), keepdims=True))
    length = centred.flatten(1).norm(dim=1)[:, None, None]
    units = torch.where(length > 0, centred / length, 0.0)
    left, right = units[:, :, : side // 2], units[:, :, side // 2 :].flip(2)
    return ((left + right) / math.sqrt(2)).flatten(1), ((left - right) / math.sqrt(2)).flatten(1)
