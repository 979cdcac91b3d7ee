"""Commands on a narrow console, with what they gave to be shown as tables and what came of it."""

from __future__ import annotations

import importlib
import io
import pkgutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from mmpipe.pipeline import cli
from mmpipe.pipeline.cli import console as module_of_console
from mmpipe.pipeline.cli.console import console, table

WIDTH = 60
WHOLE = 12
"""Letters of a word that no table may break; longer ones, such as paths, go on in the next line."""

Shown = tuple[list[str], list[list[str]], str]
"""Title and names of columns, cells, and the text that was printed."""


@contextmanager
def narrow() -> Iterator[list[Shown]]:
    """A console of 60 columns; gives the list of the tables that commands print on it."""
    shown: list[Shown] = []

    def watched(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        cells, text = [[str(cell) for cell in row] for row in rows], io.StringIO()
        with mock.patch.object(console, "_file", text):
            table(title, columns, cells)
        console.file.write(text.getvalue())
        shown.append(([title, *columns], cells, text.getvalue()))

    with ExitStack() as patches:
        patches.enter_context(mock.patch.object(console, "_width", WIDTH))
        for found in pkgutil.iter_modules(cli.__path__, f"{cli.__name__}."):
            module = importlib.import_module(found.name)
            if module is not module_of_console and vars(module).get("table") is table:
                patches.enter_context(mock.patch.object(module, "table", watched))
        yield shown


def check(shown: Iterable[Shown]) -> None:
    """Every table fits, and each character of its title, columns and cells is there."""
    for (title, *columns), cells, text in shown:
        assert max(map(len, text.splitlines())) <= WIDTH, text
        printed, expected = Counter("".join(text.split())), Counter[str]()
        for part in (title, *columns, *(cell for row in cells for cell in row)):
            expected += Counter("".join(part.split()))
            for word in part.split():
                assert len(word) > WHOLE or word in text, (word, text)
        assert expected <= printed, (expected - printed, text)
