"""The pages of docs/ that show code are run as they are printed."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest

from mmpipe.pipeline.cli.settings import Settings
from mmpipe.pipeline.extraction.stages import resolve_stages

from .conftest import tone, write_video
from .runs import call, run_in_a_row
from .training.conftest import make_store

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str) -> list[tuple[str, str]]:
    """Language and text of every code block of a page, in order."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", (DOCS / page).read_text("utf-8"), re.DOTALL | re.MULTILINE)


def run(command: list[str], folder: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_every_block_of_reading_a_store_runs(sample_store: Path, tmp_path: Path) -> None:
    shutil.copytree(sample_store, tmp_path / "features" / "iemocap")
    script = []
    for language, text in blocks("reading-a-store.md"):
        if language == "console":
            for line in text.splitlines():
                done = call(*shlex.split(line.removeprefix("$ mmpipe ")), cwd=tmp_path)
                assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        else:
            assert language == "python"
            script.append(text)
    assert len(script) >= 8
    printed = run([sys.executable, "-c", "\n".join(script)], tmp_path, HF_HUB_OFFLINE="1")
    assert "(4, 1582)" in printed  # pandas: four good utterances
    assert "no_audio" in printed  # and the one without media
    assert "(64, 64)" in printed  # a crop, by OpenCV and by datasets
    assert "(1582,)" in printed


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's package, installed as it says, but into a folder of its own."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "my-lab").mkdir()
    by_language: dict[str, list[str]] = {}
    for language, text in blocks("new-extractor.md"):
        by_language.setdefault(language, []).append(text)
    (folder / "my-lab" / "my_loudness.py").write_text(by_language["python"][0])
    (folder / "my-lab" / "pyproject.toml").write_text(by_language["toml"][0])
    install, _ = by_language["console"][0].splitlines()
    assert install == "$ pip install my-lab/"
    offline = ["--target", "site", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    run([sys.executable, "-m", "pip", *shlex.split(install)[2:], *offline], folder)
    return folder


def test_the_new_extractor_is_thirty_lines_and_its_page_runs(lab: Path) -> None:
    module = (lab / "my-lab" / "my_loudness.py").read_text()
    code = [line for line in module.splitlines() if line.strip() and not line.startswith(('"""', "import", "from"))]
    assert len(code) <= 30
    extract = shlex.split(next(text for kind, text in blocks("new-extractor.md") if kind == "console"))
    command = [*extract[extract.index("mmpipe") + 1 :], "--workers", "1"]
    made, again = run_in_a_row(command, command, cwd=lab, PYTHONPATH=str(lab / "site"))
    assert made.returncode == again.returncode == 0, made.stderr + again.stderr
    assert "Nothing to do" in again.stdout and "Nothing to do" not in made.stdout
    read = [text for kind, text in blocks("new-extractor.md") if kind == "python"][1]
    assert "[" in run([sys.executable, "-c", read], lab)
    loudness = pd.read_parquet(lab / "features" / "sample" / "loudness")
    assert set(loudness.status) == {"ok"}
    assert loudness.features.map(lambda level: -90 < level[0] < 0 and level[0] < level[2]).all()


def test_the_stages_that_the_new_extractor_page_configures_exist() -> None:
    configured = [text for kind, text in blocks("new-extractor.md") if kind == "toml"][1]
    stages = Settings.model_validate(tomllib.loads(configured)).stages
    for spec in resolve_stages(list(stages), stages):
        assert spec.build().input == "audio"


def test_every_block_of_the_page_of_the_python_interface_runs(corpus_root: Path, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    rows = ["file,label,speaker,session"]
    for number in range(18):
        shutil.copy(corpus_root / f"clip{number:02d}.wav", clips)
        rows.append(f"clip{number:02d}.wav,{('anger', 'joy')[number % 2]},p{number % 6},s{number % 6 // 2}")
    (clips / "clips.csv").write_text("\n".join(rows))
    shutil.copy(corpus_root / "clip03.wav", tmp_path / "voice.wav")
    write_video(tmp_path / "clip.mp4", 20, audio=tone(0.8))
    make_store(tmp_path / "features" / "emodb")
    script = [text for kind, text in blocks("python-api.md") if kind == "python"]
    assert len(script) == 5
    printed = run([sys.executable, "-c", "\n".join(script)], tmp_path)
    assert "'folder/clip', 'audio_status': 'ok', 'faces_status': 'no_face'" in printed
    assert "88 ['no_face', 'no_video']" in printed
    assert "(48, 44)" in printed and "text_mean_23" in printed
    assert "right of 48" in printed
    assert "{'audio': {'ok': 18}}" in printed
    prediction = next(line for line in printed.splitlines() if line.startswith("{'") and "audio" not in line)
    assert set(ast.literal_eval(prediction)) == {"anger", "joy"}


def test_every_block_of_python_of_the_readme_runs(sample_store: Path, tmp_path: Path) -> None:
    shutil.copytree(sample_store, tmp_path / "features" / "iemocap")
    write_video(tmp_path / "clip.mp4", 20, audio=tone(0.8))
    script = [text for kind, text in blocks("../README.md") if kind == "python"]
    assert len(script) == 2
    shown = "print(table.num_rows, d.X.shape, d.left_out, len(audio) == len(manifest) == 5)"
    assert run([sys.executable, "-c", "\n".join([*script, shown])], tmp_path).startswith("1 (4, ")
