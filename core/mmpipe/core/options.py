"""Options as checked models: what is unknown, out of range or of the wrong type is refused, with the nearest name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from mmpipe.core.text import nearest, printable

__all__ = ["Options", "explain"]

_LARGEST = 2**32 - 1
"""Of whole numbers: no count or seed is larger, and libraries that take seeds refuse more."""

_SHOWN = 60
"""Characters of a value that a message quotes."""


class Options(BaseModel):
    """Base of every set of options: frozen; unknown fields, NaN, infinity, huge numbers and empty texts are refused.

    Example:
        >>> class Every(Options):
        ...     every: int = 10
        >>> Every(every=5).every
        5
        >>> try:
        ...     Every(every=True)
        ... except ValueError as error:
        ...     print(explain(error, Every.model_fields, "faces."))
        faces.every: expected a number, not true or false (got True)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[str(info.field_name)]
        for part in value if isinstance(value, list | tuple) else (value,):
            if isinstance(part, bool) and not _names(field.annotation, bool) and _names(field.annotation, int, float):
                raise ValueError("expected a number, not true or false")
            if isinstance(part, int) and abs(part) > _LARGEST:
                raise ValueError(f"expected a number up to {_LARGEST}")
            if isinstance(part, str) and "\0" in part:
                raise ValueError("expected a text without a null character")
        if isinstance(value, str) and not value.strip() and field.default != "":
            raise ValueError("expected a value, not an empty text")
        return value


def _names(annotation: Any, *kinds: type) -> bool:
    """Whether a type is one of these, or is made of one."""
    return annotation in kinds or any(_names(part, *kinds) for part in get_args(annotation))


def explain(error: ValueError, names: Iterable[str], prefix: str = "") -> str:
    """What pydantic or a check refused, in one line: each field with its value, and the nearest name of unknown ones.

    Args:
        error: a `ValidationError`, or another `ValueError`, whose text is given.
        names: the valid names.
        prefix: what stands before the name of a field, such as `faces.`.
    """
    if not isinstance(error, ValidationError):
        return printable(error)
    known, problems = list(names), []
    for detail in error.errors(include_url=False):
        where = ".".join(map(str, detail["loc"]))
        if detail["type"] == "extra_forbidden":
            problems.append(f"{prefix}{where} does not exist{nearest(where, known)}")
            continue
        what = str(detail["msg"]).removeprefix("Value error, ")
        text = f"{prefix}{where}: {what}" if where else what
        problems.append(text if not detail["loc"] else f"{text} (got {_quoted(detail['input'])})")
    return "; ".join(problems)


def _quoted(value: Any) -> str:
    """A value as Python writes it, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # more digits than Python prints
        return "a huge number"
    return printable(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
