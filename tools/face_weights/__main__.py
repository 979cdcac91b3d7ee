"""Train the face expression weights that ship: python -m tools.face_weights.

The options are those of `mmpipe train-face`, with fast passes on the CPU: --native for loops in C (needs `cc`), and the
hyper-parameter processes=N for N processes that share each step. docs/face-weights.md has the commands.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmpipe.core.errors import MmpipeError, UsageError
from mmpipe.pipeline.cli.train_face import parse_training, print_faces, print_scores, training_progress
from mmpipe.pipeline.hardware import available_cores, use_threads
from tools.face_weights.trainer import FastFaceTraining, train_face_fast


def main() -> None:
    """Read the options, train, print the scores on the valid part."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.face_weights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of FERPlus")
    parser.add_argument("--out", type=Path, required=True, help="the weights to write; log and checkpoint lie beside")
    parser.add_argument("--epochs", type=int, help="passes over the training part (default: 8)")
    parser.add_argument("--start", type=Path, help="weights to start from (default: random ones)")
    parser.add_argument("--as-published", action="store_true", help="keep training faces with a twin in other parts")
    parser.add_argument("--native", action="store_true", help="twice as fast; needs a C compiler, one core a process")
    parser.add_argument("--seed", type=int, help="decides every random choice (default: 0)")
    parser.add_argument("--threads", type=int, help="threads of a single process (default: the cores)")
    parser.add_argument("--set", action="append", default=[], help="a hyper-parameter: NAME=VALUE; repeatable")
    options = parser.parse_args()
    given = {
        "epochs": options.epochs,
        "start": options.start,
        "as_published": options.as_published or None,
        "seed": options.seed,
        "native": options.native,
    }
    try:
        config = parse_training(FastFaceTraining, given, options.set)
        use_threads(1 if config.native or config.processes > 1 else options.threads or available_cores())
        with training_progress() as listener:
            scores = train_face_fast(options.data, options.out, config, listener, print_faces)
    except MmpipeError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    print_scores({"all": scores}, f"{options.out} on the valid part")


if __name__ == "__main__":
    main()
