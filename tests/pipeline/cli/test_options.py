"""Options are used, refused or named; output fits scripts and narrow terminals."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from mmpipe.core.errors import UsageError
from mmpipe.extractors.registry import EXTRACTORS
from mmpipe.pipeline.cli.console import console, table
from mmpipe.pipeline.cli.settings import load_settings, merged
from mmpipe.pipeline.extraction.stages import StageSpec

from ..runs import call

EXTRACT = ("extract", "-d", "meld", "--sample", "--out", "out")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "facs.every=5"], "did you mean faces?"),
        (["--set", "faces.evry=5"], "did you mean every?"),
        (["--set", "audio.config_fil=x", "--stages", "audio"], "did you mean config_file?"),
        (["--stages", "audio", "--set", "faces.every=5"], "the stages that run are audio"),
        (["--dry-run", "--strict"], "--strict has no effect with --dry-run"),
        *((["--set", f"faces.every={value}"], "faces.every") for value in ("0", "-1", "abc", "true", "nan", "1.5")),
        (["--set", "faces.detector_options={threshold=nan}", "--set", "faces.detector=yunet"], "threshold"),
        (["--set", "faces.every=5", "--set", "faces.every=6"], "twice"),
        (["--root", "clips\udcff"], "is not valid UTF-8"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_written(words: list[str], message: str, tmp_path: Path) -> None:
    done = call(*EXTRACT, *words, cwd=tmp_path)
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_misspelt_option_of_the_configuration_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mmpipe.toml"
    path.write_text("[datasets.ami]\nnum_crop = 5\n")
    with pytest.raises(UsageError, match=r"num_crop does not exist \(did you mean num_crops\?\)"):
        load_settings(path)


def test_options_of_an_extractor_that_is_replaced_are_left_out() -> None:
    sample = {"text": {"model": "small"}}
    assert merged(sample, {"text": {"extractor": "bert"}}) == {"text": {"model": "small", "extractor": "bert"}}
    assert merged(sample, {"text": {"extractor": "other"}}) == {"text": {"extractor": "other"}}


def test_an_extractor_of_an_unknown_input_is_refused_when_it_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EXTRACTORS.load("is10"), "input", "smells")
    with pytest.raises(UsageError, match=r"'smells', which is not one of the inputs audio, frames, crops, words"):
        EXTRACTORS.load("is10")
    with pytest.raises(UsageError, match="is not an Extractor"):
        StageSpec("text", "pathlib:Path").build()


@pytest.mark.parametrize("width", [20, 60, 160])
def test_a_table_loses_no_text_at_any_width(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(console, "_width", width)
    monkeypatch.setattr(console, "_file", shown)
    rows = [(f"[/x]{n}" * 9, "y" * 70, n, "[bold]") for n in range(3)]
    table("Title " * 12, ["first", "second", "third", "fourth"], rows)
    letters = "".join(shown.getvalue().split())
    for column in ("first", "second", "third", "fourth"):
        assert column in letters
    assert letters.count("y") == 210 and letters.count("[bold]") == 3
    assert max(map(len, shown.getvalue().splitlines())) <= width


def test_python_m_and_short_help_answer() -> None:
    done = subprocess.run([sys.executable, "-m", "mmpipe", "-h"], capture_output=True, text=True, check=True)
    assert "extract" in done.stdout and "--show-completion" in done.stdout
