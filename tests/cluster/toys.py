"""Extractors for runs on several nodes. Workers import them as `tests.cluster.toys:Class`."""

from __future__ import annotations

import importlib.metadata
import os
import time
from pathlib import Path
from typing import Any, ClassVar

from mmpipe.core.errors import WeightsError
from mmpipe.extractors.contract import ExtractorConfig, Row
from mmpipe.pipeline.extraction.stages import StageSpec
from tests.pipeline.toys import Counting, Deadly


class HoldingConfig(ExtractorConfig):
    """Config of `Holding`."""

    folder: Path
    """Where the processes that hold a row say who they are."""


class Holding(Deadly):
    """Dies of the word `crash`; the first process that sees `hold NAME` writes its number into that file, and waits."""

    Config: ClassVar[type[ExtractorConfig]] = HoldingConfig
    config: HoldingConfig

    def extract_one(self, item: Any) -> Row:
        """Count, die or wait."""
        if item[0] == "hold":
            mark = self.config.folder / item[1]
            try:
                with mark.open("x") as stream:
                    stream.write(f"{os.getpid()}\n")
            except FileExistsError:
                pass
            else:
                time.sleep(120)
        return super().extract_one(item)


class Versioned(Counting):
    """Its values depend on a package and on a weight file that a variable of the environment names."""

    def versions(self) -> dict[str, str]:
        """The package's."""
        return {"packaging": importlib.metadata.version("packaging")}

    def weights(self) -> dict[str, str]:
        """The variable's."""
        if (value := os.environ.get("TOY_WEIGHTS", "0" * 64)) == "none":
            raise WeightsError("the weights toy.bin are missing: fetch them")
        return {"toy.bin": value}


def holding(folder: Path, name: str = "toy") -> StageSpec:
    """A stage that runs `Holding`."""
    return StageSpec(name, "tests.cluster.toys:Holding", {"folder": str(folder)})


VERSIONED = StageSpec("toy", "tests.cluster.toys:Versioned")
