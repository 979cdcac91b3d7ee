"""The weights of MTCNN in the `mtcnn` wheel: paths, hashes and arrays."""

from __future__ import annotations

import importlib.metadata
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from mmpipe.core.errors import WeightsError
from mmpipe.extractors.weights.bundled import known_files

__all__ = ["SHA256", "WINDOW", "Arrays", "load_arrays", "weight_paths"]

WINDOW = 12
"""Side of the window of the proposal network in pixels of a pyramid level."""

SHA256 = {
    "pnet.lz4": "ea6b0c3e685ebee3165326ad6484acc95f2ef78f1c94fbf40a55704fa989f7b5",
    "rnet.lz4": "cb00e6460f3c98b0bfafaba3c0a0ded4bdf6e62cee7174d969e8670d7e757fee",
    "onet.lz4": "94f6ea2f4cf985275ee958cdd762d17b6009348a4fb9d8c6be39ba73ffd22ca3",
}
"""Hashes of the weight files of mtcnn 1.0.0. The files are pickles, so only files with these hashes are opened."""

Arrays = list[npt.NDArray[np.float32]]


def weight_paths() -> dict[str, Path]:
    """Paths of the weight files in the installed `mtcnn` package, which is not imported, as it needs TensorFlow.

    Raises:
        WeightsError: the package or a file is missing, or a file is not the one that mmpipe was tested with.
    """
    spec = find_spec("mtcnn")
    if spec is None or spec.origin is None:
        raise WeightsError("the package mtcnn, which carries the MTCNN weights, is missing: `pip install mtcnn`")
    folder = Path(spec.origin).parent / "assets" / "weights"
    return known_files(
        folder,
        SHA256,
        lambda: (
            f"; installed is mtcnn {importlib.metadata.version('mtcnn')}, known is 1.0.0: "
            "`pip install --force-reinstall mtcnn==1.0.0`"
        ),
    )


def load_arrays(name: str) -> Arrays:
    """The arrays of one weight file, whose hash is checked before it is opened."""
    import joblib

    return cast(Arrays, joblib.load(weight_paths()[name]))
