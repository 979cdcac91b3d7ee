"""A run folder on disk: where its folds are, and reading and writing what describes it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter

from mmpipe.core.errors import UsageError
from mmpipe.core.seals import read_sealed_json, sha256_of, write_sealed_json
from mmpipe.core.text import is_safe_name
from mmpipe.pipeline.training.results import RunResult

__all__ = ["file_problem", "fold_folder", "load_run", "read_run", "write_run"]


def _check(result: RunResult) -> None:
    """Check what the types of a run.json do not say.

    Raises:
        ValueError: parts of it contradict each other, or a fold's name leads out of the folder.
    """
    labels = set(result.labels)
    if len(labels) < max(1, len(result.labels)) or not 1 <= result.seeds <= 10_000:
        raise ValueError("labels must be different, and seeds from 1 to 10,000")
    if not result.folds:
        raise ValueError("it has no fold")
    if unsafe := [fold.name for fold in result.folds if not is_safe_name(fold.name)]:
        raise ValueError(f"the fold {unsafe[0][:80]!r} has a name that is not one of a folder")
    for scores in (result.pooled, *(fold.test for fold in result.folds)):
        square = [len(row) for row in scores.confusion] == [len(labels)] * len(labels)
        if not square or set(scores.recall) != labels:
            raise ValueError("its confusion and recall are not of its labels")


def fold_folder(run: Path, name: str, seed: int, seeds: int) -> Path:
    """Where a run folder has a fold.

    Raises:
        UsageError: the name of the fold would lead out of the run folder.

    Example:
        >>> fold_folder(Path("runs/x"), "groups-1", seed=4, seeds=2).as_posix()
        'runs/x/seed-4/groups-1'
    """
    if not is_safe_name(name):
        raise UsageError(f"the fold {name[:80]!r} of {run} has a name that is not one of a folder: name it otherwise")
    return (run if seeds == 1 else run / f"seed-{seed}") / name


_TABLES = ("history.csv", "predictions.parquet")
_FOLD_FILES = ("fold.json", "model.json", "model.safetensors")


def write_run(path: Path, result: RunResult) -> None:
    """Write run.json, sealed, with the SHA-256 of every file of the run that is read again.

    Raises:
        StorageError: it cannot be written.
    """
    hashes = {file.relative_to(path).as_posix(): sha256_of(file) for file in _files(path, result)}
    write_sealed_json(path / "run.json", result.to_json() | {"files": hashes})


def _files(path: Path, result: RunResult) -> list[Path]:
    """The files of a run that are read again, besides run.json."""
    folders = [fold_folder(path, fold.name, fold.seed, result.seeds) for fold in result.folds]
    return [*(path / name for name in _TABLES), *(folder / name for folder in folders for name in _FOLD_FILES)]


def read_run(path: Path, *, check_files: bool = True) -> RunResult:
    """The result of a run folder.

    Args:
        path: the folder.
        check_files: also hash the tables and models that run.json names; runs of earlier versions name none.

    Raises:
        UsageError: the folder does not hold a finished run that can be read, or a file of it is missing or altered.
    """
    result, files = load_run(path)
    for file, expected in files.items() if check_files else ():
        if (problem := file_problem(file, expected)) is not None:
            raise UsageError(
                f"{file} {problem}: run the `mmpipe train` of {path} again, which trains what is damaged again"
            )
    return result


def load_run(path: Path) -> tuple[RunResult, dict[Path, str]]:
    """The result of a run folder, and the SHA-256 of its files as run.json names them, which is not checked here.

    Raises:
        UsageError: the folder does not hold a finished run that can be read.
    """
    try:
        value = read_sealed_json(path / "run.json")
        result = TypeAdapter(RunResult).validate_python(asdict(RunResult.from_json(value)))
        _check(result)
        files = {path / name: digest for name, digest in value.get("files", {}).items()}
        if not files.keys() <= set(_files(path, result)):
            raise ValueError("it names files that are not of the run")
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path} does not hold a finished run ({type(error).__name__}: {error}): make it with "
            f"`mmpipe train --out {path}`"
        ) from error
    return result, files


def file_problem(file: Path, expected: str) -> str | None:
    """What is wrong with a file that should have this SHA-256, or None."""
    try:
        return None if sha256_of(file) == expected else "is not what the run wrote"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error})"
