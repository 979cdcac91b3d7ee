"""How every command is called: checked words, `--quiet`, errors in one line."""

from __future__ import annotations

import functools
import inspect
import os
import re
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from pathlib import Path, PurePath
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

from mmpipe.core.errors import MmpipeError, UsageError
from mmpipe.core.text import printable
from mmpipe.pipeline.cli.console import complain, console
from mmpipe.pipeline.cli.failures import TRACEBACK, in_one_line

__all__ = ["Command", "check", "end_incomplete", "only_checked", "takes_quiet"]

_INCOMPLETE = 3
"""Exit code: done, but more is missing than the options allow."""

_checked: ContextVar[list[Any] | None] = ContextVar("checked", default=None)
"""What a command that `check` calls is asked for; None of a command that runs."""

_MAY_BE_EMPTY = ("--text", "--stages", "--label-map")
"""Options for which an empty text is a value."""


_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""How a path begins that was made of a URL."""


class Command(TyperCommand):
    """A command that refuses words no option can use, and answers an error of the system in one line."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words of the command line.

        Raises:
            UsageError: a word is empty, holds a null character or is not UTF-8; or it is a URL, where a path is wanted.
        """
        _check_words(args)
        rest = super().parse_args(ctx, args)
        for parameter in self.params:
            given = ctx.params.get(parameter.name)
            for value in given if isinstance(given, list | tuple) else [given]:
                if isinstance(value, PurePath) and _URL.match(str(value)) and not Path(value).exists():
                    raise UsageError(
                        f"{parameter.opts[0]} is a URL, and has to be a path on a disk of this machine: docs/scale.md "
                        "says what may be on an object store"
                    )
        return rest

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
        if any("\ud800" <= letter <= "\udfff" for letter in word):
            raise UsageError(f"{printable(word)} is not valid UTF-8: rename the file or folder")
        option = word[:-1] if re.fullmatch(r"--[\w-]+=", word) else before if not word.strip() else None
        if option is not None and option not in _MAY_BE_EMPTY:
            name = option if option.startswith("-") else "an argument"
            raise UsageError(f"{name} is empty: give it a value or leave it out; is a variable of the shell not set?")


def check(command: Any, name: str, words: Sequence[str]) -> tuple[Any, Any]:
    """Let a command read and check its words, up to where its work would begin; nothing is printed or written.

    The words may be for another machine, so its device is not looked for here.

    Args:
        command: of the program.
        name: how it is called.
        words: its options.

    Returns:
        The context of the command, which holds its values, and the request that it would work on.

    Raises:
        UsageError: the words are wrong; click's own errors as well.
    """
    from mmpipe.pipeline.cli.options import Device

    held: list[Any] = []
    token = _checked.set(held)
    try:
        with command.make_context(name, list(words)) as context:
            asked = dict(context.params)
            context.params |= {"device": Device.CPU, "quiet": True}
            command.invoke(context)
            context.params |= asked
        return context, held[0]
    finally:
        _checked.reset(token)


def only_checked(request: Any) -> bool:
    """Whether the command that is asked for this is only checked, by `check`: then it ends here."""
    if (held := _checked.get()) is None:
        return False
    held.append(request)
    return True


def end_incomplete(reason: str) -> NoReturn:
    """End a command whose output is there, but lacks more than --strict or --max-failures allow: exit code 3.

    Raises:
        typer.Exit: always.
    """
    complain(reason, red=False)
    raise typer.Exit(_INCOMPLETE)


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
