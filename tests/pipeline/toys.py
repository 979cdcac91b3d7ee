"""Extractors that do next to nothing, or misbehave on purpose. Workers import them as `tests.pipeline.toys:Class`."""

from __future__ import annotations

import errno
import importlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pyarrow as pa

from mmpipe.extractors.contract import ExtractorConfig, InputKind, PerItemExtractor, Row
from mmpipe.pipeline.extraction.stages import StageSpec

ROOT = Path(__file__).resolve().parents[2]
"""Must be on the Python path of whoever runs these."""


def toy(kind: type[PerItemExtractor], name: str = "toy", device: str = "cpu", **options: Any) -> StageSpec:
    """A stage that runs a toy."""
    return StageSpec(name, f"tests.pipeline.toys:{kind.__name__}", options, device)


class Counting(PerItemExtractor):
    """The number of words."""

    input: ClassVar[InputKind] = "words"
    Config: ClassVar[type[ExtractorConfig]] = ExtractorConfig

    def columns(self) -> list[pa.Field]:
        """One number."""
        return [pa.field("count", pa.int32())]

    def weights(self) -> dict[str, str]:
        """None."""
        return {}

    def versions(self) -> dict[str, str]:
        """None."""
        return {}

    def extract_one(self, item: Any) -> Row:
        """Count."""
        return {"count": len(item)}


class Threads(Counting):
    """The number of threads that torch computes on."""

    def prepare(self) -> None:
        """Load torch, as a model does."""
        importlib.import_module("torch")

    def extract_one(self, item: Any) -> Row:
        """Ask torch."""
        return {"count": sys.modules["torch"].get_num_threads()}


class Needy(Counting):
    """Needs a library that nothing else imports."""

    libraries: ClassVar[tuple[str, ...]] = ("xml.dom.pulldom",)


class Deadly(Counting):
    """Dies of the word `crash`, as a decoder does."""

    def extract_one(self, item: Any) -> Row:
        """Count or die."""
        if "crash" in item:
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().extract_one(item)


class DeadlyOnceConfig(ExtractorConfig):
    """Config of `DeadlyOnce`."""

    marker: Path
    """Exists once a process has died."""


class DeadlyOnce(Counting):
    """Dies of the first row that it sees, in the first process that runs it."""

    Config: ClassVar[type[ExtractorConfig]] = DeadlyOnceConfig
    config: DeadlyOnceConfig

    def extract_one(self, item: Any) -> Row:
        """Count or die."""
        if not self.config.marker.exists():
            self.config.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().extract_one(item)


class DeadOnArrival(Counting):
    """Dies while it is loaded."""

    def prepare(self) -> None:
        """Die."""
        os.kill(os.getpid(), signal.SIGSEGV)


class SlowConfig(ExtractorConfig):
    """Config of `Slow`."""

    seconds: float = 0.05
    """Time an utterance takes."""


class Slow(Counting):
    """Counts slowly."""

    Config: ClassVar[type[ExtractorConfig]] = SlowConfig
    config: SlowConfig

    def extract_one(self, item: Any) -> Row:
        """Sleep, then count."""
        time.sleep(self.config.seconds)
        return super().extract_one(item)


class Flaky(Counting):
    """Fails while the file of the word behind `unless` does not exist, and keeps a list of what it was asked."""

    def extract_one(self, item: Any) -> Row:
        """Count or fail."""
        if item[0] == "unless":
            with Path(item[1]).with_suffix(".asked").open("a") as stream:
                stream.write("x")
            if not Path(item[1]).exists():
                raise RuntimeError(f"{item[1]} is missing")
        return super().extract_one(item)


class Samples(Counting):
    """The number of samples."""

    input: ClassVar[InputKind] = "audio"

    def extract_one(self, item: Any) -> Row:
        """Count."""
        return {"count": len(item.waveform)}


class Starved(Counting):
    """Raises the error that a text names: `raise MemoryError`, or `raise ENOSPC` for an `OSError`."""

    def extract_one(self, item: Any) -> Row:
        """Count or raise."""
        if item[0] == "raise":
            raise MemoryError if item[1] == "MemoryError" else OSError(getattr(errno, item[1]), "no more")
        return super().extract_one(item)


class Vectors(Counting):
    """A vector of two values and a list of such vectors; of three for the word `wide`."""

    def columns(self) -> list[pa.Field]:
        """A vector, and one vector a word."""
        vector = pa.list_(pa.float32(), 2)
        return [pa.field("features", vector, metadata={"unit": "words"}), pa.field("each", pa.list_(vector))]

    def extract_one(self, item: Any) -> Row:
        """As many values as the words ask for."""
        return {
            "features": [float(len(item))] * (3 if "wide" in item else 2),
            "each": [[1.0] * (4 if "wider" in item else 2) for _ in item],
        }


class LevelConfig(ExtractorConfig):
    """Config of `GrayFaces`."""

    level: int = 100
    """The gray of the crops."""


class GrayFaces(Counting):
    """One gray crop a word: stands for the stage `faces`, without any video."""

    Config: ClassVar[type[ExtractorConfig]] = LevelConfig
    config: LevelConfig

    def columns(self) -> list[pa.Field]:
        """PNG files."""
        return [pa.field("crops", pa.list_(pa.binary()))]

    def extract_one(self, item: Any) -> Row:
        """Draw."""
        png = cv2.imencode(".png", np.full((64, 64), self.config.level, np.uint8))[1].tobytes()
        return {"crops": [png] * len(item)}


class MeanOfCrops(Counting):
    """The mean gray of the crops of the stage `faces`."""

    input: ClassVar[InputKind] = "crops"

    def columns(self) -> list[pa.Field]:
        """One number."""
        return [pa.field("mean", pa.float32())]

    def extract_one(self, item: Any) -> Row:
        """Average."""
        return {"mean": float(np.mean(item))}
