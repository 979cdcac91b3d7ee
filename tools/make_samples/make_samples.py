"""Makes the sample corpora: `python tools/make_samples/make_samples.py [--out FOLDER] [--only iemocap meld ami]`."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import ami
import iemocap
import meld

MAKERS = {"iemocap": iemocap.make, "meld": meld.make, "ami": ami.make}
DEFAULT_OUT = Path(__file__).parent.parent / "manifests" / "mmpipe" / "manifests" / "samples"
LIMIT_BYTES = 15_500_000


def main() -> None:
    """Replace the chosen corpora below the output folder and print their sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder that holds iemocap/, meld/ and ami/")
    parser.add_argument("--only", nargs="+", choices=sorted(MAKERS), default=sorted(MAKERS), help="corpora to make")
    options = parser.parse_args()
    for name in options.only:
        root = options.out / name
        if root.exists():
            shutil.rmtree(root)
        MAKERS[name](root)
        print(f"{name}: {_size(root) / 1e6:.2f} MB")
    total = _size(options.out)
    print(f"all: {total / 1e6:.2f} MB")
    if total > LIMIT_BYTES:
        raise SystemExit(f"{options.out}: expected at most {LIMIT_BYTES} bytes, got {total}; shorten the corpora")


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
