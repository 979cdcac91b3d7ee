"""Re-hash a run folder: is every file, to the last byte, what was written?"""

from __future__ import annotations

from pathlib import Path

from mmpipe.core.errors import UsageError
from mmpipe.pipeline.store.verify import Verification
from mmpipe.pipeline.training.run_folder import file_problem, load_run

__all__ = ["verify_run"]


def verify_run(path: Path) -> Verification:
    """Check run.json by its own seal, and the tables and models of the run by the hashes that it names.

    A run of an earlier version names none, so only run.json is counted.

    Raises:
        UsageError: the folder has no run.json.
    """
    record = path / "run.json"
    if not record.is_file():
        raise UsageError(f"{path} has no run.json: name the folder of a finished run of `mmpipe train`")
    found = Verification(1, record.stat().st_size)
    try:
        _, files = load_run(path)
    except UsageError as error:
        found.damaged[record.name] = str(error.__cause__)
        return found
    for file, expected in files.items():
        found.files += 1
        if (problem := file_problem(file, expected)) is None:
            found.bytes += file.stat().st_size
        else:
            found.damaged[file.relative_to(path).as_posix()] = problem
    return found
