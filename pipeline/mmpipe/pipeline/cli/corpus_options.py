"""The options of corpora, which several commands take alike."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from mmpipe.core.errors import UsageError
from mmpipe.core.text import nearest
from mmpipe.pipeline.cli.modes import refuse_ignored

__all__ = ["CORPUS_OPTIONS", "refuse_foreign", "refuse_ignored_options", "split_exclude", "takes_corpus_options"]

_WINDOWS, _FOLDER, _IEMOCAP = "Word-centred windows (ami, folder)", "Options of folder", "Options of iemocap"
"""Headings in the help."""


def _one(kind: type, help_: str, panel: str, *names: str) -> Any:
    return Annotated[kind | None, typer.Option(*names, help=help_, rich_help_panel=panel)]


def _many(help_: str, panel: str, *names: str) -> Any:
    return Annotated[list[str], typer.Option(*names, help=f"{help_} Repeatable.", rich_help_panel=panel)]


CORPUS_OPTIONS: dict[str, Any] = {
    "labels": _one(str, "merge, drop-exc or all.", _IEMOCAP),
    "crop_seconds": _one(float, "Seconds of a window: 7.2 or 3.5.", _WINDOWS, "--crop"),
    "num_crops": _one(int, "Windows to draw.", _WINDOWS),
    "seed": _one(int, "Decides which are drawn.", _WINDOWS),
    "max_overlap": _one(float, "Share of a window that another may cover, 0 to 1.", _WINDOWS),
    "spread": _one(str, "proportional to words, or uniform over speakers.", _WINDOWS),
    "annotations": _one(Path, "AMI: the folder of its annotations, if apart.", _WINDOWS),
    "exclude": _many("AMI: a meeting, or how names begin. `extract`: also a .csv list of `browse`.", _WINDOWS),
    "utterances": _one(str, "One utterance a clip, cue or crop (a window).", _FOLDER),
    "table": _one(str, "CSV, TSV or JSONL below the root, one row a clip.", _FOLDER, "--table"),
    "column": _many("A column by another name: label=Emotion.", _FOLDER),
    "label": _one(str, "none, or folder: its name.", _FOLDER),
    "label_map": _one(str, "Labels by your own: angry=anger,06=fear.", _FOLDER),
    "pattern": _one(str, "Names of files: '{speaker}_{sentence}_{label}'.", _FOLDER),
    "speaker": _one(str, "none, or folder: its name.", _FOLDER),
    "tier": _one(str, "TextGrid tier of the cues.", _FOLDER),
}
"""By the name of the field in the options of the corpora."""


def takes_corpus_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of all corpora, in the place of its parameter `corpus`.

    The command gets those that were given as a mapping by the names of the fields.
    """
    signature = inspect.signature(command, eval_str=True)
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        if parameter.name != "corpus":
            parameters.append(parameter)
            continue
        parameters += (
            inspect.Parameter(name, parameter.kind, default=[] if _is_many(kind) else None, annotation=kind)
            for name, kind in CORPUS_OPTIONS.items()
        )

    @functools.wraps(command)
    def with_options(**values: Any) -> None:
        given = {name: values.pop(name) for name in CORPUS_OPTIONS}
        command(**values, corpus={name: _plain(value) for name, value in given.items() if value not in (None, [])})

    with_options.__dict__["__signature__"] = signature.replace(parameters=parameters)
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_options


def _is_many(kind: Any) -> bool:
    return bool(kind.__origin__ == list[str])


def _plain(value: Any) -> Any:
    return str(value.absolute()) if isinstance(value, Path) else value


def split_exclude(corpus: Mapping[str, Any]) -> tuple[dict[str, Any], Path | None]:
    """The options of a corpus, and the list of marks that `--exclude` names among them: a name that ends with .csv.

    Raises:
        UsageError: there are two lists.

    Example:
        >>> split_exclude({"seed": 1, "exclude": ["ES2002", "marks.csv"]})[0]
        {'seed': 1, 'exclude': ['ES2002']}
    """
    given = corpus.get("exclude", [])
    lists = [name for name in given if name.lower().endswith(".csv")]
    if len(lists) > 1:
        raise UsageError(f"--exclude names the lists {' and '.join(lists)}: give one list")
    names = [name for name in given if name not in lists]
    rest = {name: value for name, value in corpus.items() if name != "exclude"}
    return rest | ({"exclude": names} if names else {}), Path(lists[0]) if lists else None


def refuse_foreign(dataset: str, given: Iterable[str]) -> None:
    """Refuse options that a corpus does not have.

    Raises:
        UsageError: at least one is given, or the dataset does not exist.
    """
    from mmpipe.manifests.registry import CORPORA

    known: Mapping[str, Any] = CORPORA.load(dataset).Options.model_fields
    if foreign := sorted(set(given) - known.keys()):
        names, near = ", ".join(known) or "none", nearest(foreign[0], known)
        raise UsageError(f"{dataset} has no option {', '.join(foreign)}{near}; its options: {names}")


def refuse_ignored_options(dataset: str, given: Iterable[str], options: Mapping[str, Any]) -> None:
    """Refuse options of a corpus that have no effect beside the others.

    Args:
        dataset: a name of the registry.
        given: names of the options that were typed.
        options: these and those of the configuration.

    Raises:
        UsageError: at least one is given; or an option is unknown or out of range.
    """
    from mmpipe.manifests.prepare import corpus_reader

    ignored = corpus_reader(dataset, options).options.ignored()
    for name in given:
        if name in ignored:
            refuse_ignored(f"without {_flag(ignored[name])}", {_flag(name): True})


def _flag(name: str) -> str:
    """How an option of a corpus is typed.

    Example:
        >>> _flag("crop_seconds"), _flag("utterances=crop")
        ('--crop', '--utterances crop')
    """
    name, equals, value = name.partition("=")
    own = str(CORPUS_OPTIONS[name].__metadata__[0].default) if name in CORPUS_OPTIONS else ""
    flag = own if own.startswith("--") else f"--{name.replace('_', '-')}"
    return f"{flag} {value}" if equals else flag
