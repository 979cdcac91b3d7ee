"""A newcomer's first hour with folders of clips: nothing is refused, nothing is lost, every count is right."""

from __future__ import annotations

import csv
import json
import re
import wave
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from mmpipe.pipeline.cli.app import app
from mmpipe.pipeline.extraction.engines.serial import SerialEngine

LABELS = ("anger", "joy", "sadness")


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Extract in the process of the test, which has the libraries loaded."""
    monkeypatch.setattr("mmpipe.pipeline.extraction.corpus._engine", lambda request, specs: nullcontext(SerialEngine()))


def write_clip(path: Path, label: str, take: int) -> None:
    """Half a second of a voice-like tone whose pitch is that of the label."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(8000) / 16000
    noise = np.random.default_rng(take).normal(0, 0.01, len(time))
    pitch = 110 * 1.5 ** LABELS.index(label) * (1 + 0.02 * take)
    sound = 0.4 * np.sign(np.sin(2 * np.pi * pitch * time)) * np.sin(9 * time) + noise
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes((sound * 32767).astype("<i2").tobytes())


def mmpipe(*arguments: str) -> str:
    """What a command prints; it must end well."""
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, f"{arguments}: {done.output} {done.exception!r}"
    return done.output


def rows(store: str) -> dict[str, str]:
    """Label by id, of the rows whose audio is there."""
    manifest = pq.read_table(f"{store}/manifest.parquet").to_pylist()
    ok = dict(pq.read_table(f"{store}/audio").select(["utterance_id", "status"]).to_pandas().itertuples(index=False))
    return {row["utterance_id"]: row["label"] for row in manifest if ok[row["utterance_id"]] == "ok"}


def trained() -> str:
    mmpipe("train", "--supervised", "--labeled", "features/clips", "--size", "small", "--set", "epochs=1",
           "--set", "protocol=clips-3")  # fmt: skip
    return max(Path("runs").glob("clips-supervised-a-small-*"), key=lambda path: path.stat().st_mtime_ns).as_posix()


@pytest.mark.timeout(300)
def test_a_newcomer_is_never_refused_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for label in LABELS:
        for take in range(10):
            write_clip(tmp_path / "clips" / label / f"{take}.wav", label, take)
    shown = mmpipe("run", "clips")
    assert "the 3 folders of the clips are their labels" in shown and "folds are over single clips" in shown
    assert sorted(rows("features/clips").values()) == sorted(10 * LABELS)
    assert Path("clips.html").read_text().startswith("<!doctype html>")
    with Path("runs/clips-baselines.csv").open(newline="") as stream:
        figures = {(row["baseline"], row["metric"]): float(row["mean"]) for row in csv.DictReader(stream)}
    assert figures["logistic", "ua"] > figures["majority", "ua"] == pytest.approx(1 / 3, abs=1e-6)

    first = trained()
    before = Path(first, "run.json").read_bytes()
    write_clip(tmp_path / "clips" / "joy" / "again.wav", "joy", 11)
    (tmp_path / "clips" / "anger" / "3.wav").unlink()
    shown = mmpipe("run", "clips")
    assert "Dropped 1 rows" in shown and "folder/anger/3" in shown
    assert len(rows("features/clips")) == 30 and "folder/joy/again" in rows("features/clips")
    assert "Nothing to do" in mmpipe("extract", "--out", "features/clips")

    second = trained()
    assert second != first and Path(first, "run.json").read_bytes() == before
    assert sum(fold["n"] for fold in json.loads(Path(second, "run.json").read_text())["folds"]) == 30

    for label in LABELS:
        for take in range(4):
            write_clip(tmp_path / "others" / label / f"{take}.wav", label, 20 + take)
    mmpipe("extract", "-d", "folder", "--root", "others", "--label", "folder")
    mmpipe("evaluate", second, "--store", "features/others", "--out", "others.json")
    assert json.loads(Path("others.json").read_text())["n"] == 12


def test_a_row_inserted_into_a_table_is_the_only_one_that_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = ["file,speaker,label"]
    for take in range(6):
        write_clip(tmp_path / "talks" / f"{take}.wav", LABELS[take % 2], take)
        lines.append(f"{take}.wav,s{take % 3},{LABELS[take % 2]}")
    table = tmp_path / "talks" / "list.csv"
    table.write_text("\n".join(lines[:1] + lines[2:]) + "\n")
    shown = mmpipe("run", "talks")
    assert "talks: list.csv lists the clips (--table list.csv)" in shown and len(rows("features/talks")) == 5
    before = {path: path.read_bytes() for path in Path("features/talks/audio").glob("*.parquet")}
    table.write_text("\n".join(lines) + "\n")
    mmpipe("run", "talks")
    assert len(rows("features/talks")) == 6
    assert {path: path.read_bytes() for path in before} == before


def test_the_commands_of_the_readme_run_on_a_folder_of_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    block = re.findall(r"^```console\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)[0]
    commands = [line.partition("  #")[0].split()[2:] for line in block.splitlines() if line.startswith("$ mmpipe")]
    assert [words[0] for words in commands] == ["run", "extract", "train", "demo"]
    monkeypatch.chdir(tmp_path)
    for label in LABELS:
        for take in range(4):
            write_clip(tmp_path / "clips" / label / f"{take}.wav", label, take)
    mmpipe(*commands[0])
    mmpipe(*commands[1])
    mmpipe(*commands[2], "--set", "epochs=1")
    assert (
        len(rows("features/clips")) == 12 and len(list(Path("runs").glob("clips-supervised-a-small-*/run.json"))) == 1
    )
