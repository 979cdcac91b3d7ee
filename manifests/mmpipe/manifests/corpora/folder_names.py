"""Labels and speakers in the names of files, such as `1001_IEO_ANG_HI.wav`, read by a pattern."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from mmpipe.core.errors import UsageError

__all__ = ["NamePattern", "parse_label_map"]

_FIELD = re.compile(r"\{([^{}]*)\}")
_FORM = re.compile(r"([A-Za-z_]\w*|)(?::(\d{1,3}|digits|letters))?", re.ASCII)


class NamePattern:
    """A pattern of file names without their endings: `{name}` stands for anything without the marks between fields.

    `{name:2}` stands for two characters, `{name:digits}` and `{name:letters}` for these alone, `{}` for something that
    is not kept, and at the end for the rest of the name. A pattern with a slash also reads the names of folders.

    Raises:
        UsageError: the text is not such a pattern.

    Example:
        >>> dict(NamePattern("{speaker}_{sentence}_{label}_{level}").read("clips/1001_IEO_ANG_HI.wav") or {})
        {'speaker': '1001', 'sentence': 'IEO', 'label': 'ANG', 'level': 'HI'}
        >>> dict(NamePattern("{speaker:2}{text:3}{label:1}{}").read("03a01Fa.wav") or {})
        {'speaker': '03', 'text': 'a01', 'label': 'F'}
    """

    def __init__(self, text: str) -> None:
        self.text = text
        pieces, names = [], []
        pos = 0
        marks = "".join(sorted({c for c in _FIELD.sub("", text) if not c.isalnum()} - {"/"}))
        for field in _FIELD.finditer(text):
            pieces.append(re.escape(text[pos : field.start()]))
            pos = field.end()
            form = _FORM.fullmatch(field[1])
            if form is None or (form[1] and form[1] in names):
                raise self._refusal(f"{field[0]} is not a field" if form is None else f"{field[0]} occurs twice")
            names.append(form[1])
            is_rest = not form[1] and pos == len(text)
            pieces.append(f"({_characters(form[2], '' if is_rest else marks + text[pos : pos + 1])})")
        if not any(names) or "{" in _FIELD.sub("", text) or "}" in _FIELD.sub("", text):
            raise self._refusal("there is no field {name}" if not any(names) else "a brace is not closed")
        self._regex = re.compile("".join([*pieces, re.escape(text[pos:])]))
        self._names = names

    def _refusal(self, why: str) -> UsageError:
        return UsageError(f"pattern {self.text!r}: {why}; expected such as {{speaker}}_{{sentence}}_{{label}}")

    def read(self, uri: str) -> Mapping[str, str] | None:
        """The fields of a file's name; None where it does not have this form."""
        path = PurePosixPath(uri).with_suffix("")
        match = self._regex.fullmatch("/".join(path.parts[-1 - self.text.count("/") :]))
        if match is None:
            return None
        return {name: value for name, value in zip(self._names, match.groups(), strict=True) if name}


def _characters(form: str | None, ends: str) -> str:
    """The expression of a field: of a given length or kind, or without the characters that end a field."""
    if form is None:
        return f"[^/{re.escape(ends.replace('{', ''))}]+"
    return f"[^/]{{{form}}}" if form.isdigit() else {"digits": "[0-9]+", "letters": r"[^\W\d_]+"}[form]


def parse_label_map(text: str) -> dict[str, str]:
    """`angry=anger,06=fear` as label by the corpus's own label.

    Raises:
        UsageError: the text is not of that form.

    Example:
        >>> parse_label_map("angry=anger, 06=fear")
        {'angry': 'anger', '06': 'fear'}
    """
    labels: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        own, equals, label = (part.strip() for part in pair.partition("="))
        if not equals or not own or not label:
            raise UsageError(f"label_map {pair!r}: expected OWN=LABEL, such as angry=anger,hap=happiness")
        if labels.setdefault(own, label) != label:
            raise UsageError(f"label_map: {own!r} has two labels, {labels[own]!r} and {label!r}")
    return labels
