"""`python -m mmpipe`: the command `mmpipe`."""

from mmpipe.pipeline.cli.app import main

main()
