"""Balancing of the paper's number of utterances: `python -m benchmarks.balancing --out FOLDER`.

Writes a labelled and an unlabelled store of made-up features, about 5,500 and 20,000 usable utterances (1.7 GB), and
trains a run of size small for one epoch. Prints how long `mmpipe balance-unlabeled` takes, and how much memory, with
the five models of that run, then with classifiers that it trains itself. The first includes the decoding of the
unlabelled features into arrays, which are kept in the store. What is there already is used as it is.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.made_store import LABELS, write_large_store

_LABELLED, _UNLABELLED = 5_640, 20_480
_FOLDS = ["--set", "protocol=groups-5"]


def measure(what: str, *options: str) -> None:
    """Run `mmpipe balance-unlabeled`, and print its time and its memory."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "mmpipe", "balance-unlabeled", *options])
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    if status:
        raise SystemExit(os.waitstatus_to_exitcode(status))
    print(
        f"{what}: {seconds:.0f} s, {usage.ru_utime + usage.ru_stime:.0f} processor seconds, at most "
        f"{usage.ru_maxrss / 1e6:.1f} GB of memory"
    )


def main() -> None:
    """Write the stores where there are none, train the run, and time both ways."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the stores, the run and the lists")
    folder = parser.parse_args().out
    labelled, pool, run = folder / "labelled", folder / "pool", folder / "run"
    if not (labelled / "text").exists():
        write_large_store(labelled, _LABELLED, lambda row: LABELS[row % 4])
    if not (pool / "text").exists():
        write_large_store(pool, _UNLABELLED, lambda row: None)
    shutil.rmtree(pool / "logs" / "arrays", ignore_errors=True)
    train = ["train", "--supervised", "--labeled", str(labelled), "--size", "small", *_FOLDS, "--set", "epochs=1"]
    subprocess.run([sys.executable, "-m", "mmpipe", *train, "--out", str(run)], check=True)
    stores = ["--labeled", str(labelled), "--unlabeled", str(pool)]
    measure("with the models of a run", *stores, "--classifier", str(run), "--out", str(folder / "run.parquet"))
    measure("with training", *stores, *_FOLDS, "--out", str(folder / "trained.parquet"))


if __name__ == "__main__":
    main()
