"""Arrays that are made once and kept in a folder, mapped into memory from then on.

A folder appears whole or not at all, its bytes on the disk before its name is. Its file `arrays.json` holds size and
checksum of every array; where anything of them differs, the arrays are made again.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmpipe.core.exclusive import exclusive
from mmpipe.core.files import cache_folder, explained, is_local, sync
from mmpipe.core.scratch import scratch_beside, sweep_parts
from mmpipe.core.seals import crc32_of, file_state, read_sealed_json, write_sealed_json
from mmpipe.manifests.io import lies_inside

__all__ = ["kept_arrays", "kept_folder"]

_Arrays = dict[str, npt.NDArray[Any]]

_MARKER = "arrays.json"


def kept_arrays(store: Path, name: str, make: Callable[[Path], None], fits: Callable[[_Arrays], bool]) -> _Arrays:
    """The arrays of a folder in `kept_folder`, by the names of their files without `.npy`, read-only.

    Args:
        store: the store. Where it cannot be written, or its logs are a link out of it, the arrays are in a temporary
            folder of the process.
        name: of the folder.
        make: writes `.npy` files into the folder that it is given; called where there are none that are sound.
        fits: whether arrays have the names, shapes and types that are expected; others are made again.

    Raises:
        StorageError: the disk is full.
    """
    folder = kept_folder(store) / name
    inside = not is_local(store) or lies_inside(folder, store)
    if inside:
        sweep_parts(folder.parent, deep=False)
    if inside and (held := _sound(folder)) is not None and fits(held):
        return held
    with ExitStack() as stack:
        try:
            if not inside:
                raise OSError(f"{folder} is not in its store")
            part = stack.enter_context(scratch_beside(folder))
            part.mkdir()
        except OSError:
            part = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mmpipe-arrays-")))
            make(part)
            return _mapped(part)  # the mapping lasts after its file has lost its name
        with explained(folder):
            make(part)
            _seal(part)
            arrays = _mapped(part)
            with exclusive(folder.with_name(f".{folder.name}.lock")):  # jobs that start at once make the same arrays
                _put(part, folder, fits)
        return arrays


def kept_folder(store: Path) -> Path:
    """Where a store keeps arrays; those of one on an object store are in mmpipe's cache folder."""
    if is_local(store):
        return store / "logs" / "arrays"
    return cache_folder() / "arrays" / hashlib.sha256(str(store).rstrip("/").encode()).hexdigest()[:16]


def _seal(part: Path) -> None:
    """Write the marker, and all bytes to the disk."""
    files = sorted(part.glob("*.npy"))
    for file in files:
        sync(file)
    held = {file.name: {"bytes": file.stat().st_size, "crc32": crc32_of(file)} for file in files}
    write_sealed_json(part / _MARKER, {"arrays": held})


def _put(part: Path, folder: Path, fits: Callable[[_Arrays], bool]) -> None:
    """Give a folder its name, in the place of a damaged one; one that another process put there is left."""
    if (held := _sound(folder)) is not None and fits(held):
        return
    shutil.rmtree(folder, ignore_errors=True)
    try:
        part.replace(folder)
    except OSError:
        if _sound(folder) is None:
            raise
    sync(folder.parent)


def _mapped(folder: Path) -> _Arrays:
    return {file.stem: np.load(file, mmap_mode="r") for file in folder.glob("*.npy")}


def _sound(folder: Path) -> _Arrays | None:
    """The arrays of a folder, if they are what was written."""
    try:
        held = read_sealed_json(folder / _MARKER)["arrays"]
        if held.keys() != {file.name for file in folder.glob("*.npy")}:
            return None
        for name, said in held.items():
            state = file_state(folder / name)
            if state[0] != said["bytes"] or _checksum(folder / name, state) != said["crc32"]:
                return None
        return _mapped(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


@lru_cache(maxsize=1024)
def _checksum(path: Path, state: tuple[int, ...]) -> str:
    """CRC-32 of a file in a state, once in a process."""
    return crc32_of(path)
