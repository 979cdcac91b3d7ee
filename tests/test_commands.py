"""Every command, option, make target and module that a page or an example names exists."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from pathlib import Path

import pytest
import typer

from mmpipe.pipeline.cli.app import app

from .test_links import NOTEBOOKS, PAGES, ROOT

SCRIPTS = sorted((ROOT / "examples").glob("*.sh"))
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def code(page: Path) -> list[str]:
    """The pieces of code of a page: lines of its blocks, with continued lines joined, and what is in backticks."""
    text = page.read_text("utf-8").replace("\\\n", " ")
    if page.suffix != ".md":
        return text.splitlines()
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    inline = re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    indented = re.findall(r"^    (.*)$", text, re.MULTILINE)
    return [line for block in (*blocks, *inline, *indented) for line in block.splitlines()]


def unknown(line: str) -> list[str]:
    """What a line of code names that does not exist."""
    line = line.strip().lstrip("#$ ").partition("  #")[0]
    problems = []
    if (match := re.match(r"mmpipe ([a-z][\w-]*)(.*)", line)) is not None:
        if match[1] not in COMMANDS:
            return [f"mmpipe {match[1]}"]
        named = [match[1], *(["extract", "train"] if match[1] == "slurm-script" else [])]  # whose options it passes on
        flags = {flag for name in named for parameter in COMMANDS[name].params for flag in parameter.opts} | {"--help"}
        problems += sorted(set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", match[2])) - flags)
    if (match := re.match(r"python -m ((?:benchmarks|studies|tools)[.\w]*)", line)) is not None:
        problems += [match[1]] if importlib.util.find_spec(match[1]) is None else []
    if (match := re.match(r"make ([a-z-]+)$", line)) is not None:
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        problems += [] if match[1] in targets else [line]
    return problems


@pytest.mark.parametrize("page", [*PAGES, *SCRIPTS], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_of_a_page_exists(page: Path) -> None:
    assert [problem for line in code(page) for problem in unknown(line)] == []


def test_unknown_commands_options_modules_and_targets_are_found() -> None:
    assert unknown("$ mmpipe extract --dataset ami --colour red") == ["--colour"]
    assert unknown("mmpipe slurm-script --slices 2 train --table 4 --moon") == ["--moon"]
    assert unknown("mmpipe fly --away") == ["mmpipe fly"]
    assert unknown("python -m benchmarks.moon") == ["benchmarks.moon"]
    assert unknown("make coffee") == ["make coffee"]
    assert unknown("make check") == unknown("$ mmpipe train --table 7") == unknown("python -m benchmarks.whole") == []


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.name)
def test_a_notebook_is_format_4_without_outputs_and_parses(notebook: Path) -> None:
    content = json.loads(notebook.read_text("utf-8"))
    assert content["nbformat"] == 4
    for cell in content["cells"]:
        assert cell["cell_type"] in ("markdown", "code")
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
            ast.parse("".join(cell["source"]))
