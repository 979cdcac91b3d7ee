"""What a run folder of somebody else may ask of this machine: nothing but to run mmpipe's own extractors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_origin

from mmpipe.core.errors import UsageError, WeightsError
from mmpipe.core.text import is_safe_name, printable
from mmpipe.extractors.contract import Extractor
from mmpipe.extractors.registry import EXTRACTORS

__all__ = ["check_provenance", "refuse_foreign"]

_PARTS = {"extractor": str, "config": dict, "weights": dict, "versions": dict}


def check_provenance(provenance: Any, where: Path) -> None:
    """Check the form of what a model says of its features; nothing is imported.

    Raises:
        WeightsError: it has another form.
    """
    if not isinstance(provenance, dict):
        raise WeightsError(f"{where} does not say what made its features: train the model again")
    for stage, made in provenance.items():
        if not is_safe_name(stage) or not isinstance(made, dict):
            raise WeightsError(f"{where} names the stage {stage[:80]!r}, which is not one: train the model again")
        for part, kind in _PARTS.items():
            if part in made and not isinstance(made[part], kind):
                raise WeightsError(f"{where}: {part} of stage {stage!r} is not as mmpipe writes it: train it again")


def refuse_foreign(provenance: Mapping[str, Any], where: Path) -> None:
    """Refuse what would import code or open files that a run folder names.

    Raises:
        UsageError: an extractor is not one that is installed by name, or an option names a file or a folder.
    """
    for stage, made in provenance.items():
        name = str(made.get("extractor"))
        if name not in EXTRACTORS.names():
            raise UsageError(
                f"{where} wants the extractor {printable(name)[:120]!r} for stage {stage!r}, which would import code "
                "that is not installed as an extractor: if you know who made the run, add --trust"
            )
        kind = EXTRACTORS.load(name, named=True)
        for option, value in _texts("", made.get("config", {})):
            if not _is_word(kind, option, value) and _names_file(value):
                raise UsageError(
                    f"{where} wants stage {stage!r} to open {printable(value)[:200]!r} of this machine "
                    f"(option {printable(option)[:80]}): if you know who made the run, add --trust"
                )


def _texts(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(f"{name}.{key}".lstrip("."), inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(name, inner)


def _is_word(kind: type[Extractor], option: str, value: str) -> bool:
    """Whether a value is one of the words of an option, or its default, so that it is not taken for a path."""
    known = kind.Config.model_fields.get(option)
    return known is not None and (value == known.default or get_origin(known.annotation) is Literal)


def _names_file(text: str) -> bool:
    """Whether a text names something on this machine; a hub's model (`google-bert/bert-large-uncased`) does not.

    Example:
        >>> [_names_file(text) for text in ("float32", "google-bert/bert-large-uncased", "/dev/zero", "../x", "~/x")]
        [False, False, True, True, True]
    """
    if text.startswith(("/", "~", ".")) or "\\" in text or ".." in text or ":" in text or "\0" in text:
        return True
    try:
        return Path(text).exists()
    except (OSError, ValueError):
        return True
