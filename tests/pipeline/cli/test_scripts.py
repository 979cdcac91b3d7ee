"""Output for scripts and narrow terminals: --quiet, --json, exit codes, progress, help, completion, 60 columns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner, Result

from mmpipe.manifests.samples import sample_root
from mmpipe.pipeline.cli import progress as progress_module
from mmpipe.pipeline.cli.app import app
from mmpipe.pipeline.cli.console import console
from mmpipe.pipeline.cli.progress import progress
from mmpipe.pipeline.doctor.finding import Finding, State
from mmpipe.pipeline.extraction.engines.serial import SerialEngine
from mmpipe.pipeline.face_training.evaluation import FaceScores

from ..conftest import tone, write_wav
from ..narrow import Shown, check, narrow
from ..training.conftest import make_store

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
TINY = ["--size", "small", "--set", "batch_size=16", "--set", "epochs=1", "--set", "faces=8", "--set", "words=8"]


def run(*words: object, code: int = 0) -> Result:
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == code, (words, done.output, done.exception)
    return done


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with stores `labeled`, `other` and `unlabeled`, a balanced list `list.parquet` and a `run`."""
    folder = tmp_path_factory.mktemp("scripts")
    make_store(folder / "labeled", rows=36, speakers=3)
    make_store(folder / "other", rows=30, speakers=3)
    make_store(folder / "unlabeled", rows=24, labeled=False)
    return folder


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two recordings, extracted in this process."""
    monkeypatch.setattr("mmpipe.pipeline.extraction.corpus._engine", lambda request, specs: nullcontext(SerialEngine()))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()
    for name in "ab":
        write_wav(tmp_path / "clips" / f"{name}.wav", tone(0.5))
    return tmp_path


@pytest.fixture
def shown() -> Iterator[list[Shown]]:
    with narrow() as tables:
        yield tables


EXTRACT = ("extract", "-d", "folder", "--root", "clips", "--out", "store", "--stages", "audio", "--workers", "1")


def test_tables_of_corpora_and_stores_are_complete_at_60_columns(
    corpus: Path, sample_store: Path, shown: list[Shown]
) -> None:
    idle = run(*EXTRACT, "--dry-run", "--device", "cpu", "--precision", "float32").stdout
    assert "--device cpu is not used" in idle and "--precision float32 is not used" in idle
    run(*EXTRACT)
    run("manifest", "meld", "--root", sample_root("meld"), "--out", "m.parquet")
    run("inspect", sample_store)
    titles = [names[0].partition(",")[0].partition(" (")[0] for names, _, _ in shown]
    assert titles == ["Plan", "Estimate", "Plan", "Result", "Counts that differ from the complete release", "Labels",
                      "Stages", "Without features", "Dimensions"]  # fmt: skip
    check(shown)
    rows = pq.read_table("m.parquet", columns=["label", "speaker"])
    output = "".join(run("inspect", "m.parquet").stdout.split())
    assert all(f"{label}{rows['label'].to_pylist().count(label)}" in output for label in set(rows["label"].to_pylist()))


@pytest.mark.slow
def test_tables_of_training_are_complete_at_60_columns(
    stores: Path, monkeypatch: pytest.MonkeyPatch, shown: list[Shown]
) -> None:
    monkeypatch.chdir(stores)
    run("balance-unlabeled", "--labeled", "labeled", "--unlabeled", "unlabeled", "--out", "list.parquet", "--sample")
    run("train", "--labeled", "labeled", "--supervised", "--out", "run", *TINY)
    run("evaluate", "run", "--store", "other")
    run("train", "--baselines", "--labeled", "labeled", *TINY[2:])
    probabilities = {"a label of many words": 0.9, "x" * 70: 0.1}
    monkeypatch.setattr("mmpipe.pipeline.training.predict.predict", lambda *words, **options: probabilities)
    run("predict", "run", "a clip of a long name.mp4")
    run("report", "labeled", "--run", "run", "--out", "page.html")
    titles = [names[0].split(" ")[0] for names, _, _ in shown]
    assert titles == ["Pseudo-labels", "Confidence", "Pooled", "run", "By", "Baselines", "a"]
    check(shown)


BEFORE = ("configuration", "environment")
"""Findings that doctor has before it examines the machine."""


def test_findings_of_doctor_are_complete_as_json_and_at_60_columns(
    shown: list[Shown], monkeypatch: pytest.MonkeyPatch
) -> None:
    findings = [
        Finding("processor", State.OK, "it has avx512 and " + "many words " * 9),
        Finding("text model", State.MISSING, "[bold] is not here", "type `mmpipe extract --set text.model=x`"),
        Finding("disk", State.WARNING, "/a/long/path" * 9, "free some of it"),
    ]
    monkeypatch.setattr("mmpipe.pipeline.doctor.examine.examine", lambda specs, roots, out: findings)
    read = json.loads(run("doctor", "--json", code=1).stdout)
    expected = [(f.name, f.state, f.text, f.remedy) for f in findings]
    assert [tuple(finding.values()) for finding in read if finding["name"] not in BEFORE] == expected
    output = "".join(run("doctor", code=1).stdout.split())
    for text in (text for f in findings for text in (f.name, f.state, f.text, f.remedy) if text):
        assert "".join(text.split()) in output


def test_json_is_all_that_stands_on_standard_output(sample_store: Path) -> None:
    summary = json.loads(run("inspect", sample_store, "--json").stdout)
    assert summary["corpus"] == "iemocap" and summary["manifest"]["rows"] == 5
    assert [stage["name"] for stage in summary["stages"]] == ["audio", "faces", "expression", "text"]
    verified = json.loads(run("inspect", sample_store, "--verify", "--json").stdout)
    assert verified["damaged"] == {} and verified["missing"] == [] and verified["files"] >= 5
    manifest = json.loads(run("inspect", sample_store / "manifest.parquet", "--json").stdout)
    assert manifest["manifest"]["rows"] == 5 and manifest["stages"] == []


def quiet(*words: object) -> str:
    """The one line that a command prints with --quiet."""
    done = run(*words, "--quiet")
    line = done.stdout.removesuffix("\n")
    assert done.stderr == "" and "\n" not in line and not console.quiet, done.output
    return line


@pytest.mark.slow
def test_quiet_prints_the_line_of_the_result_alone(
    corpus: Path, stores: Path, sample_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert quiet(*EXTRACT, "--dry-run").startswith("About ")
    assert quiet(*EXTRACT).startswith("store in ")
    assert quiet(*EXTRACT, "--dry-run") == "Nothing to do: every shard is up to date."
    assert quiet("manifest", "meld", "--sample", "--check") == "14 utterances in meld.parquet"
    assert quiet("report", sample_store) == "Report: report.html"
    assert quiet("export", sample_store).startswith("5 utterances, ")
    labeled = ("--labeled", stores / "labeled")
    balanced = ("--unlabeled", stores / "unlabeled", "--out", "b.parquet", "--sample")
    assert quiet("balance-unlabeled", *labeled, *balanced).endswith("utterances in b.parquet")
    assert quiet("train", "--supervised", *labeled, "--out", "run", *TINY) == "Run: run"
    assert quiet("train", "--baselines", *labeled, *TINY[2:]) == "Written: runs/labeled-baselines.csv"
    scores = FaceScores(8, 0.5, 0.25, 0.25, {"neutral": 0.5}, [[4]])
    monkeypatch.setattr("mmpipe.pipeline.face_training.recipe.train_face", lambda *words, **options: scores)
    assert quiet("train-face", "--data", "d", "--out", "w") == "Weights: w, 50.00% of the valid part"
    assert quiet("run", "clips", "--out", "clips-store", "--stages", "audio") == "Report: clips-store.html"


def test_quiet_still_prints_errors_and_why_a_command_ends_with_3(corpus: Path) -> None:
    (corpus / "clips" / "c.wav").write_bytes(b"RIFF")
    done = run(*EXTRACT, "--strict", "--quiet", code=3)
    assert done.stdout.startswith("store in ") and done.stderr == "1 utterances failed: --strict\n"


def test_strict_and_max_failures_end_with_3_where_something_failed(corpus: Path) -> None:
    check_all = ("manifest", "folder", "--root", "clips", "--out", "m.parquet", "--check")
    run(*EXTRACT, "--strict")
    run(*check_all, code=0)
    assert "stage text" in run(*check_all, "--strict", code=3).stderr  # no transcripts
    (corpus / "clips" / "c.wav").write_bytes(b"RIFF")
    assert "No usable row in faces, expression, text" in run(*EXTRACT[:6], "other", "--strict", code=3).stderr
    assert "1 utterances failed: --strict" in run(*EXTRACT, "--strict", code=3).stderr
    assert "--max-failures allows 0" in run(*EXTRACT, "--max-failures", "0", code=3).stderr
    run(*EXTRACT, "--max-failures", "1")
    assert "1 files or parts cannot be read" in run(*check_all, "--strict", code=3).stderr
    run("manifest", "iemocap", "--sample", "--check", "--strict")


def test_without_a_terminal_progress_is_a_line_a_minute(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter([False, False, True])
    now = [0.0]

    class Clock:
        """An event that a minute passes for at every look, and that is set at the third."""

        def wait(self, seconds: float) -> bool:
            assert seconds == 60
            now[0] += seconds
            bars.advance(bar, 30)
            return next(ticks)

        def set(self) -> None:
            pass

    monkeypatch.setattr(progress_module, "Event", Clock)
    monkeypatch.setattr(console, "_file", None)
    bars: Any = progress("utt")
    bars.get_time = lambda: now[0]
    bar = bars.add_task("audio", total=90)
    with bars:
        while bars._clock.is_alive():
            time.sleep(0.001)
    assert capsys.readouterr().out.splitlines() == [
        "audio: 30/90, 0.5 utt/s, 0:02:00 left",
        "audio: 60/90, 0.5 utt/s, 0:01:00 left",
        "audio: 90/90, 0.5 utt/s, took 0:03:00",
    ]


@pytest.mark.parametrize("words", [[], *([name] for name in sorted(COMMANDS))], ids=" ".join)
def test_a_short_option_shows_the_help(words: list[str]) -> None:
    short, long = run(*words, "-h").stdout, run(*words, "--help").stdout
    assert short == long and "Usage" in short
    for parameter in COMMANDS[words[0]].params if words else ():
        assert parameter.param_type_name == "argument" or parameter.opts[0] in short


def test_the_version_is_that_of_the_package_in_the_source_tree() -> None:
    done = subprocess.run([sys.executable, "-m", "mmpipe", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"mmpipe {version('mmpipe')}\n"


def complete(line: str) -> list[str]:
    """What the shell would offer after a beginning of a line."""
    asked = {"_MMPIPE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    command = [Path(sys.executable).with_name("mmpipe")]
    done = subprocess.run(command, env=os.environ | asked, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_completion_offers_commands_and_options_at_once() -> None:
    script = run("--show-completion", "bash").stdout
    assert "complete -o default -F" in script and "_MMPIPE_COMPLETE=complete_bash" in script
    began = time.process_time(), os.times()
    assert complete("mmpipe ex") == ["extract", "export"]
    used = os.times()
    assert used.children_user + used.children_system - began[1].children_user - began[1].children_system < 1
    assert "--quiet" in complete("mmpipe report --q")
