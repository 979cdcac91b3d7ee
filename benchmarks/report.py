"""The report of a large store: `python -m benchmarks.report --rows 25000 --out FOLDER`.

Writes a store of made-up features, and a recording of ten minutes that all utterances lie in: a sample clip in a loop.
Prints how long `mmpipe report` takes, how much memory, and how large the page is, without and with the recording.
What is there already is used as it is.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.made_store import LABELS, RECORDING, write_large_store, write_recording


def main() -> None:
    """Write the store and the recording where there are none, and time the report with and without the recording."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=25_000)
    parser.add_argument("--out", type=Path, required=True, help="folder of the store and the page")
    arguments = parser.parse_args()
    store, page = arguments.out / "large", arguments.out / "large.html"
    if not (store / "text").exists():
        write_large_store(store, arguments.rows, lambda row: LABELS[row % 4] if row % 3 else None)
    media = arguments.out / "media"
    if not (media / RECORDING).exists():
        write_recording(media)
    for what, variables in (("without media", {}), ("with media", {"MMPIPE_MADE_ROOT": str(media)})):
        began = time.perf_counter()
        command = [sys.executable, "-m", "mmpipe", "report", str(store), "--out", str(page)]
        subprocess.run(command, check=True, env=os.environ | variables)
        seconds = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
        print(
            f"{arguments.rows:,} utterances {what}: {seconds:.1f} s, {page.stat().st_size / 1e6:.1f} MB, "
            f"at most {peak:.1f} GB of memory so far"
        )


if __name__ == "__main__":
    main()
