"""`python -m tests.faults`: try a fault at every file call of the commands and print what survived."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from .harness import KINDS, build_shim, started_with, summary, try_command
from .scenarios import SCENARIOS


def main() -> int:
    """Exit with 1 if something was damaged or left behind."""
    parser = argparse.ArgumentParser(description=__doc__)
    known = [name for name in SCENARIOS if name != "careless"]
    parser.add_argument("--commands", default=",".join(known), help="comma-separated; all by default")
    parser.add_argument("--kinds", default=",".join(KINDS), help="comma-separated; all by default")
    parser.add_argument("--step", type=int, default=1, help="try every n-th call")
    given = parser.parse_args()
    if "shim.so" not in os.environ.get("LD_PRELOAD", ""):
        with tempfile.TemporaryDirectory(prefix="shim-") as folder:
            if (shim := build_shim(Path(folder))) is None:
                print("There is no C compiler: the faults cannot be tried")
                return 2
            command = started_with(shim, sys.argv[1:])
            return os.waitstatus_to_exitcode(os.spawnvp(os.P_WAIT, command[0], command) << 8)
    outcomes = {}
    for name in given.commands.split(","):
        outcomes[name] = try_command(name, given.kinds.split(","), given.step)
        text, _ = summary({name: outcomes[name]})
        print(text, flush=True)
    text, is_sound = summary(outcomes)
    print(text.splitlines()[-1])
    return 0 if is_sound else 1


if __name__ == "__main__":
    sys.exit(main())
