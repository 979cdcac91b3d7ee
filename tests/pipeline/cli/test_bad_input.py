"""No value of any option of any command gives a traceback, or writes outside the folder of the call."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from mmpipe.core.errors import MmpipeError
from mmpipe.pipeline.cli.app import app
from mmpipe.pipeline.training.config import make_config
from mmpipe.pipeline.training.run import train

from ..training.conftest import make_store

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
CODES = {0, 1, 2, 3}
"""The documented exit codes."""

SHORT = ["--set", "epochs=1", "--set", "faces=8", "--set", "words=8"]

BASES: dict[str, list[list[str]]] = {
    "extract": [["-d", "folder", "--root", "folder", "--out", "out", "--workers", "1", "--dry-run"]],
    "manifest": [["folder", "--root", "folder", "--out", "m.parquet"], ["meld", "--sample", "--out", "m.parquet"]],
    "inspect": [
        ["m.parquet"],
        ["store"],
        ["real"],
        ["real", "--utterance", "made/001"],
        ["real/manifest.parquet"],
        ["run"],
        ["trained"],
        ["trained", "--verify"],
        ["garbage.parquet"],
    ],
    "slurm-script": [
        ["--slices", "2", "-d", "folder", "--root", "folder", "--out", "out"],
        ["--slices", "3", "train", "--labeled", "real", "--supervised", "--out", "run"],
    ],
    "repair": [["store"], ["real"], ["folder"]],
    "export": [["store", "--out", "exported"], ["real", "--out", "exported", "--overwrite"]],
    "balance-unlabeled": [
        ["--labeled", "store", "--unlabeled", "store", "--out", "b.parquet"],
        ["--labeled", "real", "--unlabeled", "other", "--out", "b.parquet", "--classifier", "trained"],
        ["--labeled", "real", "--unlabeled", "other", "--out", "b.parquet", "--modalities", "a", *SHORT[:2]],
    ],
    "train": [
        ["--labeled", "store", "--supervised", "--out", "run"],
        ["--baselines", "--labeled", "store"],
        ["--baselines", "--labeled", "real", *SHORT],
        ["--baselines", "--labeled", "real", "--modalities", "a", *SHORT[:2]],
        ["--baselines", "--labeled", "store", "--compare", "trained"],
    ],
    "evaluate": [["run", "--store", "store"], ["trained", "--store", "other"], ["trained", "--store", "real"]],
    "predict": [["run", "clip.wav"], ["trained", "clip.wav"], ["trained", "clip.wav", "--like", "other"]],
    "report": [["m.parquet"], ["store"], ["real"], ["real", "--run", "trained"]],
    "browse": [["store"], ["garbage.bin"], ["store", "folder", "--port", "0"]],
    "train-face": [["--data", "faces", "--out", "w.safetensors"], ["--data", "faces", "--evaluate", "test"]],
    "doctor": [["--set", "nothing.x=1"]],
    "demo": [["--workers", "0"]],
    "run": [["folder", "--out", "out", "--set", "faces.every=0"]],
}
"""Words with which a command reads its input; `browse`, `doctor`, `demo` and `run` would run long: a word is wrong."""

ODD = [
    "",
    " ",
    "-1",
    "0",
    "nan",
    "inf",
    "-inf",
    "1e999",
    "9" * 5000,
    str(2**63),
    "true",
    "none",
    "ünï",
    "\x1b[31mred",
    "[/x]",
    "[bold]",
    "a\nb",
    "\0",
    "../..",
    "/nonexistent/x",
    "folder",
    "garbage.bin",
    "empty",
    "loop",
    "x" * 300,
    "x=",
    "=",
    "a.b=c",
    "faces.every=0",
    "faces.every=abc",
    "faces.every=true",
    "text.max_tokens=nan",
    "[[" * 3000,
    "epochs=nan",
    "seed=" + "9" * 400,
    "a=[[" + "[" * 3000,
    "label",
    "{a}_{a}",
    "{",
    "1/0",
    "2/1",
    "ami",
    "folder/x",
    "audio",
    "text,text",
    "s3:",
    "memory://x",
    "file://",
    "://",
    "\udcff",
    "garbage.parquet",
    "garbage.json",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds things of the wrong kinds."""
    place = tmp_path_factory.mktemp("place")
    (place / "folder").mkdir()
    (place / "faces").mkdir()
    (place / "faces" / "fer2013new.csv").write_text("[/x],1\n")
    for name in ("store", "run"):  # what names a kind of folder and holds garbage
        (place / name).mkdir()
        for file in ("store.json", "run.json", "manifest.parquet", "model.safetensors", "config.json"):
            (place / name / file).write_text('{"format": "mmpipe-store/2"}')
    (place / "clip.wav").write_bytes(b"RIFF")
    for name in ("garbage.bin", "garbage.parquet", "garbage.json", "garbage.toml"):
        (place / name).write_bytes(b"\x00\xff[/x] PAR1 \x1b{")
    make_store(place / "real", rows=24, speakers=4, split=True)
    make_store(place / "other", rows=12, speakers=4, split=True)
    config = make_config(objective="paper", size="small", modalities=("a",), epochs=1, batch_size=16)
    train(config, place / "real", place / "trained")
    (place / "empty").touch()
    (place / "loop").symlink_to("loop")
    return place


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    def late(*_: object) -> None:
        raise AssertionError(f"no answer in {seconds} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def check(words: list[str], place: Path) -> None:
    """Call `mmpipe WORDS` in the place and look at what it does."""
    above = set(place.parent.iterdir())
    with chdir(place), limited(10):
        done = CliRunner().invoke(app, words)
    error = done.exception
    assert error is None or isinstance(error, MmpipeError | SystemExit), (words, repr(error))
    assert isinstance(error, MmpipeError) or done.exit_code in CODES, words
    assert "Traceback" not in done.output, words
    assert set(place.parent.iterdir()) == above, words


def options(name: str) -> list[Any]:
    return [p for p in COMMANDS[name].params if p.name not in ("help", "quiet")]


@pytest.mark.parametrize("name", sorted(COMMANDS))
@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_odd_values_are_answered_in_a_line(name: str, data: st.DataObject, place: Path) -> None:
    value = st.sampled_from(ODD) | st.text(max_size=8)
    base = data.draw(st.sampled_from(BASES[name]))
    words = [name, *(data.draw(value) if data.draw(st.integers(0, 9)) == 0 else word for word in base)]
    flags = [p for p in options(name) if p.param_type_name == "option"]
    for flag in data.draw(st.lists(st.sampled_from(flags), max_size=2, unique=True)) if flags else ():
        fitting = [text for text in ODD if "=" in text] if flag.name == "set_" else ODD
        words += [flag.opts[0]] if flag.is_flag else [flag.opts[0], data.draw(st.sampled_from(fitting) | value)]
    check(words, place)
