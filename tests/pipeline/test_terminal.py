"""What data say is printed as text: no markup, no control characters, no lines of its own."""

from __future__ import annotations

import ast
from io import StringIO
from pathlib import Path

import pytest

from mmpipe.pipeline.cli import console as cli
from mmpipe.pipeline.cli.progress import progress

EVIL = "[/sad]\x1b]8;;http://x\x07 \x9b31m \u202e\nDone"
SHOWN = "[/sad]\\x1b]8;;http://x\\x07 \\x9b31m \\u202e\\nDone"
COMMANDS = Path(cli.__file__).parent


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    out = StringIO()
    monkeypatch.setattr(cli.console, "_file", out)
    monkeypatch.setattr(cli.console, "width", 300)
    return out


def test_values_are_printed_as_text_everywhere(screen: StringIO) -> None:
    cli.console.print(f"label: {EVIL}")
    cli.console.print(cli.styled("[yellow]{}[/]: {}", EVIL, EVIL))
    cli.table(EVIL, [EVIL, "n"], [(EVIL, 1)])
    cli.next_command(EVIL)
    with progress() as bars:
        bars.update(bars.add_task(EVIL, total=1), description=f"{EVIL}!", advance=1)
        bars.console.print(EVIL)
    text = screen.getvalue()
    assert text.count(SHOWN) >= 8
    assert all(c.isprintable() or c == "\n" for c in text)


def test_errors_keep_their_lines_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    cli.complain("two\nlines \x1b[2J")
    assert capsys.readouterr().err == "two\nlines \\x1b[2J\n"


def test_no_command_mixes_markup_with_values_or_prints_past_the_console() -> None:
    """Styles come with `styled`, whose first argument is a constant."""
    for path in sorted(COMMANDS.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            if called == "styled" and path.name != "doctor.py":
                assert isinstance(node.args[0], ast.Constant), f"{path.name}:{node.lineno}"
            if called in ("Text.from_markup", "typer.secho", "rich.print"):
                assert path.name == "console.py" or isinstance(node.args[0], ast.Constant), f"{path.name}:{node.lineno}"
            assert not any(k.arg == "markup" and ast.unparse(k.value) == "True" for k in node.keywords), path.name
