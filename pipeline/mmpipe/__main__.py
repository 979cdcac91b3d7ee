"""`python -m mmpipe`: the command `mmpipe`."""

from mmpipe.pipeline.cli.app import main

__all__ = []

if __name__ == "__main__":
    main()
