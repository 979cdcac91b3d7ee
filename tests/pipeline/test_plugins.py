"""Packages of others add a corpus, an extractor and a face detector by installing them, without a line in mmpipe."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmpipe.pipeline.store.feature_store import FeatureStore

from .conftest import write_video
from .runs import CODE

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "{name}"
version = "1.0"
[project.entry-points."{group}"]
{entry}
[tool.hatch.build.targets.wheel]
only-include = ["{name}.py"]
"""

PACKAGES = {
    "toycorpus": (
        "mmpipe.corpora",
        'toy = "toycorpus:Toy"',
        """
from mmpipe.manifests.contract import Corpus, CorpusOptions, Prepared
from mmpipe.manifests.schema import MediaSpan, Utterance


class ToyOptions(CorpusOptions):
    limit: int = 2


class Toy(Corpus):
    name = "toy"
    Options = ToyOptions
    stages = ("text", "faces")

    def prepare(self, root):
        prepared = Prepared()
        for path in sorted(root.glob("*.mp4"))[: self.options.limit]:
            span = MediaSpan(path.name)
            prepared.utterances.append(Utterance(f"toy/{path.stem}", "toy", video=span, text="one two three"))
        return prepared
""",
    ),
    "toyextractor": (
        "mmpipe.extractors",
        'word-count = "toyextractor:WordCount"',
        """
import pyarrow as pa
from mmpipe.extractors.contract import ExtractorConfig, PerItemExtractor


class WordCount(PerItemExtractor):
    input = "words"
    Config = ExtractorConfig

    def columns(self):
        return [pa.field("count", pa.int32())]

    def weights(self):
        return {}

    def versions(self):
        return {"toyextractor": "1.0"}

    def extract_one(self, item):
        return {"count": len(item)}
""",
    ),
    "toydetector": (
        "mmpipe.detectors",
        'middle = "toydetector:Middle"',
        """
from mmpipe.extractors.faces.detectors.contract import Detection, Detector, DetectorConfig


class Middle(Detector):
    Config = DetectorConfig
    margin = 0.0

    def weights(self):
        return {}

    def versions(self):
        return {"toydetector": "1.0"}

    def detect(self, images):
        return [[Detection((16.0, 12.0, 32.0, 24.0), 0.5)] for _ in images]
""",
    ),
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which pip has installed the three packages."""
    sources, target = tmp_path_factory.mktemp("packages"), tmp_path_factory.mktemp("site")
    for name, (group, entry, code) in PACKAGES.items():
        (sources / name).mkdir()
        (sources / name / "pyproject.toml").write_text(PYPROJECT.format(name=name, group=group, entry=entry))
        (sources / name / f"{name}.py").write_text(code)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(target), *(str(sources / name) for name in PACKAGES)], check=True)
    return target


def mmpipe(site: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-c", CODE, *map(str, arguments)]
    return subprocess.run(
        command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, timeout=240, check=False
    )


def test_a_corpus_an_extractor_and_a_detector_of_other_packages_make_a_store(installed: Path, tmp_path: Path) -> None:
    root, out = tmp_path / "toy", tmp_path / "store"
    root.mkdir()
    for number in range(3):
        write_video(root / f"clip{number}.mp4", 21)
    settings = ["--set", "text.extractor=word-count", "--set", "faces.detector=middle", "--workers", "1"]
    run = mmpipe(installed, "extract", "--dataset", "toy", "--root", root, "--out", out, *settings)
    assert run.returncode == 0, run.stderr
    store = FeatureStore(out)
    assert store.corpus == "toy"
    assert store.manifest().column("utterance_id").to_pylist() == ["toy/clip0", "toy/clip1"]
    assert store.read("text", ["count"]).column("count").to_pylist() == [3, 3]
    assert store.read("faces", ["box"]).column("box")[0].as_py()[0] == [16.0, 12.0, 32.0, 24.0]
    assert store.described["text"].versions["toyextractor"] == store.described["faces"].versions["toydetector"] == "1.0"


@pytest.mark.parametrize(
    ("arguments", "known"),
    [
        (
            ["extract", "--dataset", "tou", "--root", "x"],
            "dataset 'tou' does not exist (did you mean toy?); valid names: ami, folder, iemocap, meld, toy",
        ),
        (["extract", "-d", "toy", "--root", "x", "--set", "text.extractor=words"], "word-count"),
        (
            ["extract", "-d", "toy", "--root", "x", "--set", "faces.detector=centre"],
            "valid names: full-frame, middle, mtcnn",
        ),
    ],
)
def test_their_names_are_among_the_valid_ones(installed: Path, arguments: list[str], known: str) -> None:
    run = mmpipe(installed, *arguments)
    assert run.returncode == 2
    assert known in run.stderr
