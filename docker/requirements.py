"""Print what pyproject.toml requires, one requirement a line: `requirements.py pyproject.toml EXTRA,EXTRA`.

The image installs them in a layer of its own, which a change of the source alone does not touch.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

if __name__ == "__main__":
    project = tomllib.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["project"]
    extras = [name for name in sys.argv[2].split(",") if name]
    print(
        "\n".join(
            [*project["dependencies"], *(line for name in extras for line in project["optional-dependencies"][name])]
        )
    )
