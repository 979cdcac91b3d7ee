"""What a fault is tried on: small commands, each with a folder that it writes to and inputs that stay outside of it."""

from __future__ import annotations

import shutil
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from mmpipe.extractors.contract import ExtractorConfig, InputKind, PerItemExtractor, Row
from mmpipe.pipeline.balancing.pseudo_labels import balance
from mmpipe.pipeline.cli.manifest import manifest
from mmpipe.pipeline.extraction.corpus import extract_corpus
from mmpipe.pipeline.extraction.engines.serial import SerialEngine
from mmpipe.pipeline.extraction.request import ExtractRequest
from mmpipe.pipeline.store.export import export
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.training.config import make_config
from mmpipe.pipeline.training.run import train

from ..pipeline.training.conftest import make_store

__all__ = ["SCENARIOS", "Loudness", "Scenario"]


class Loudness(PerItemExtractor):
    """The mean square of a sound."""

    input: ClassVar[InputKind] = "audio"
    Config: ClassVar[type[ExtractorConfig]] = ExtractorConfig

    def columns(self) -> list[pa.Field]:
        """A vector of one value."""
        return [pa.field("features", pa.list_(pa.float32(), 1))]

    def weights(self) -> dict[str, str]:
        """None."""
        return {}

    def versions(self) -> dict[str, str]:
        """None."""
        return {}

    def extract_one(self, item: Any) -> Row:
        """Square."""
        return {"features": np.array([np.mean(np.square(item.waveform))], np.float32)}


@dataclass(frozen=True)
class Scenario:
    """A command to try.

    Attributes:
        prepare: makes the inputs in one folder, and in another one what the command finds there when it begins.
        run: runs the command; it gets both folders.
    """

    prepare: Callable[[Path, Path], None]
    run: Callable[[Path, Path], object]


_CONFIG = make_config(objective="paper", size="small", modalities=("a", "l"), batch_size=16, epochs=1, words=8)


def _clips(inputs: Path, work: Path) -> None:
    for name in "ab":
        with wave.open(str(inputs / f"{name}.wav"), "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", ""))
            file.writeframes((np.random.default_rng(ord(name)).normal(0, 3000, 16000)).astype("<i2").tobytes())
    rows = [f"{name}.wav,{start / 20},{(start + 1) / 20},word{start}\n" for name in "ab" for start in range(17)]
    (inputs / "t.csv").write_text("file,start_seconds,end_seconds,text\n" + "".join(rows))


def _extract(inputs: Path, work: Path) -> object:
    stages = {
        "audio": {"extractor": f"{__name__}:Loudness"},
        "text": {"extractor": "tests.pipeline.toys:Counting"},
    }
    request = ExtractRequest(
        "folder", inputs, work / "store", corpus_options={"table": "t.csv"}, stages=list(stages), stage_options=stages
    )
    result = extract_corpus(request, SerialEngine())
    assert result.statuses == {name: {"ok": 34} for name in stages}
    return result


def _stores(inputs: Path, work: Path) -> None:
    make_store(work / "labeled", speakers=3)
    make_store(work / "unlabeled", labeled=False)


def _manifest(inputs: Path, work: Path) -> object:
    return manifest(
        dataset="folder", root=inputs, out=work / "m.parquet", check=True, table="t.csv",
        **dict.fromkeys(
            ("labels", "crop_seconds", "num_crops", "seed", "max_overlap", "spread", "annotations", "utterances")
        ),
        **dict.fromkeys(("label", "label_map", "pattern", "speaker", "tier")),
        exclude=[], column=[],
    )  # fmt: skip


def _careless(inputs: Path, work: Path) -> None:
    """What no command does: a file is written in its place, and one that is there is taken as it is."""
    if not (work / "careless.txt").exists():
        (work / "careless.txt").write_text("0123456789")


SCENARIOS: dict[str, Scenario] = {
    "manifest": Scenario(_clips, _manifest),
    "extract": Scenario(_clips, _extract),
    "train": Scenario(_stores, lambda inputs, work: train(_CONFIG, work / "labeled", work / "run")),
    "balance": Scenario(
        _stores,
        lambda inputs, work: balance(work / "labeled", work / "unlabeled", work / "list.parquet", _CONFIG, once=True),
    ),
    "export": Scenario(_stores, lambda inputs, work: export(FeatureStore(work / "labeled"), work / "out")),
    "careless": Scenario(lambda inputs, work: None, _careless),
}
"""By command; `careless` is there to show that the tries find damage."""


def copy_tree(start: Path, work: Path) -> None:
    """Put what a command finds when it begins into an empty folder."""
    shutil.copytree(start, work, dirs_exist_ok=True)
