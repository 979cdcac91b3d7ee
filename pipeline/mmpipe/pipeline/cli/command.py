"""How every command is called: checked words, `--quiet`, errors in one line."""

from __future__ import annotations

import functools
import inspect
import os
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from mmpipe.core.errors import MmpipeError, UsageError
from mmpipe.core.text import printable
from mmpipe.pipeline.cli.console import console
from mmpipe.pipeline.cli.failures import TRACEBACK, in_one_line

__all__ = ["Command", "takes_quiet"]

_MAY_BE_EMPTY = ("--text", "--stages", "--label-map")
"""Options for which an empty text is a value."""


class Command(TyperCommand):
    """A command that refuses words no option can use, and answers an error of the system in one line."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words of the command line.

        Raises:
            UsageError: a word is empty or holds a null character.
        """
        _check_words(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command.

        Raises:
            MmpipeError: whatever the command raises, and what the system says of a file that cannot be used.
        """
        was = console.quiet
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except OSError as error:
            if os.environ.get(TRACEBACK) == "1":
                raise
            raise MmpipeError(in_one_line(error)) from error
        finally:
            console.quiet = was


def _check_words(words: Sequence[str]) -> None:
    for before, word in zip(["", *words], words, strict=False):
        if "\0" in word:
            raise UsageError(f"{printable(word)!r} holds a null character: leave it out")
        option = word[:-1] if re.fullmatch(r"--[\w-]+=", word) else before if not word.strip() else None
        if option is not None and option not in _MAY_BE_EMPTY:
            name = option if option.startswith("-") else "an argument"
            raise UsageError(f"{name} is empty: give it a value or leave it out; is a variable of the shell not set?")


def takes_quiet(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that runs long the option `--quiet`."""
    signature = inspect.signature(command, eval_str=True)
    kind = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors and the last line of the result only.")]
    quiet = inspect.Parameter("quiet", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=False, annotation=kind)
    parameters = [*signature.parameters.values(), quiet]

    @functools.wraps(command)
    def with_quiet(*, quiet: bool, **values: Any) -> None:
        console.quiet = quiet
        command(**values)

    with_quiet.__dict__["__signature__"] = signature.replace(parameters=parameters)
    with_quiet.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_quiet
