"""FERPlus: FER2013 faces with the votes of ten annotators (Barsoum et al. 2016).

Three forms are read:

- the official one: `fer2013new.csv` (votes, from the FERPlus release) beside `fer2013.csv` (pixels, from the FER2013
  release), whose rows correspond line by line;
- image folders, as the FERPlus release's own script makes them: `FER2013Train`, `FER2013Valid` and `FER2013Test`, each
  with its images and a `label.csv` (name, box, one column a vote; no header);
- Parquet: `train.parquet` and `valid.parquet` with a `png` column (48x48 gray) and one column a vote.

Preparation follows the FERPlus release: a single vote counts as none (an outlier), images whose majority is `unknown`
or `NF` (no face) are dropped, the votes for the eight emotions become a distribution.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from mmpipe.core.errors import CorpusError
from mmpipe.extractors.faces.ferplus import FERPLUS_CLASSES

__all__ = ["PARTS", "FerplusPart", "has_part", "read_ferplus"]

PARTS = {"train": "Training", "valid": "PublicTest", "test": "PrivateTest"}
"""Part names and the names that FER2013 gives them in its `Usage` column."""

_FOLDERS = {"train": "FER2013Train", "valid": "FER2013Valid", "test": "FER2013Test"}
"""The image folders of the parts."""

_VOTES = (*FERPLUS_CLASSES, "unknown", "NF")
_FACE_SIZE = 48


@dataclass(frozen=True)
class FerplusPart:
    """One part of FERPlus after its preparation.

    Attributes:
        faces: uint8 [N, 48, 48] gray images.
        targets: float32 [N, 8], each row a distribution over `FERPLUS_CLASSES`.
        dropped: number of images left out (majority unknown, no face, or no emotion with two votes).
    """

    faces: npt.NDArray[np.uint8]
    targets: npt.NDArray[np.float32]
    dropped: int

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """The majority class of each image [N]; the first class wins a tie."""
        return np.asarray(self.targets.argmax(axis=1), np.int64)


def read_ferplus(folder: Path, part: str) -> FerplusPart:
    """Read the part `train`, `valid` or `test` of FERPlus from `folder`.

    Raises:
        CorpusError: the folder holds neither form, or a file is damaged.
    """
    parquet, votes_csv, pixels_csv, labels = _files(folder, part)
    if parquet.is_file():
        faces, votes = _read_parquet(parquet)
    elif _in_csv(votes_csv, pixels_csv, part):
        faces, votes = _read_csv(votes_csv, pixels_csv, PARTS[part])
    elif labels.is_file():
        faces, votes = _read_images(labels)
    else:
        raise CorpusError(
            f"{folder} holds no FERPlus part {part!r}: expected {parquet.name}, or fer2013new.csv with fer2013.csv "
            f"and rows of the usage {PARTS[part]}, or {labels.relative_to(folder)} beside its images; "
            f"found {sorted(p.name for p in folder.glob('*'))[:8] if folder.is_dir() else 'no such folder'}"
        )
    return _prepare(faces, votes)


def has_part(folder: Path, part: str) -> bool:
    """Whether a folder holds the part `train`, `valid` or `test` in one of the forms; its files are not checked."""
    parquet, votes_csv, pixels_csv, labels = _files(folder, part)
    return parquet.is_file() or labels.is_file() or _in_csv(votes_csv, pixels_csv, part)


def _files(folder: Path, part: str) -> tuple[Path, Path, Path, Path]:
    """Where a part may be: Parquet; votes and pixels as CSV; the labels of an image folder."""
    csv = (folder / "fer2013new.csv", folder / "fer2013.csv")
    return folder / f"{part}.parquet", *csv, folder / _FOLDERS[part] / "label.csv"


def _in_csv(votes_csv: Path, pixels_csv: Path, part: str) -> bool:
    """Whether the official pair of files is there and has rows of a part."""
    if not (votes_csv.is_file() and pixels_csv.is_file()):
        return False
    table = pd.read_csv(votes_csv, usecols=lambda name: name == "Usage")
    if "Usage" not in table:
        raise CorpusError(
            f"{votes_csv} lacks the column Usage, which tells the parts: copy it from the FERPlus release"
        )
    return bool((table["Usage"] == PARTS[part]).any())


def _prepare(faces: npt.NDArray[np.uint8], votes: npt.NDArray[np.int64]) -> FerplusPart:
    votes = np.where(votes > 1, votes, 0)
    emotions = votes[:, : len(FERPLUS_CLASSES)].astype(np.float32)
    keep = (votes.argmax(axis=1) < len(FERPLUS_CLASSES)) & (emotions.sum(axis=1) > 0)
    targets = emotions[keep] / emotions[keep].sum(axis=1, keepdims=True)
    return FerplusPart(faces[keep], targets, int((~keep).sum()))


def _read_parquet(path: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    table = pd.read_parquet(path)
    if missing := {"png", *_VOTES} - set(table.columns):
        raise CorpusError(f"{path} lacks the columns {sorted(missing)}; expected png and {', '.join(_VOTES)}")
    images = [cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE) for png in table["png"]]
    return _stack(images, path), table[list(_VOTES)].to_numpy(np.int64)


def _read_images(labels: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    table = pd.read_csv(labels, header=None, names=["name", "box", *_VOTES])
    images = [cv2.imread(str(labels.parent / str(name)), cv2.IMREAD_GRAYSCALE) for name in table["name"]]
    return _stack(images, labels), table[list(_VOTES)].to_numpy(np.int64)


def _stack(images: list[Any], path: Path) -> npt.NDArray[np.uint8]:
    faces = np.empty((len(images), _FACE_SIZE, _FACE_SIZE), np.uint8)
    for row, image in enumerate(images):
        if image is None or image.shape != faces.shape[1:]:
            got = None if image is None else image.shape
            raise CorpusError(f"{path}, row {row}: expected a 48x48 image, got {got}")
        faces[row] = image
    return faces


def _read_csv(votes_csv: Path, pixels_csv: Path, usage: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    votes, pixels = pd.read_csv(votes_csv), pd.read_csv(pixels_csv)
    if len(votes) != len(pixels):
        raise CorpusError(
            f"{votes_csv} has {len(votes)} rows and {pixels_csv} has {len(pixels)}: they must correspond line by line"
        )
    part = (votes["Usage"] == usage).to_numpy()
    faces = [np.array(text.split(), np.uint8).reshape(_FACE_SIZE, _FACE_SIZE) for text in pixels.loc[part, "pixels"]]
    return np.stack(faces), votes.loc[part, list(_VOTES)].to_numpy(np.int64)
