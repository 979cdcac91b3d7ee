"""The configuration: mmpipe.toml, environment variables and options, checked and merged.

[datasets.ami]
root = "/data/ami"          # or MMPIPE_AMI_ROOT, or --root
num_crops = 25000           # any option of the corpus

[stages.text]
model = "google-bert/bert-large-uncased"    # any option of the stage, or --set text.model=...
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mmpipe.core.errors import UsageError
from mmpipe.core.files import is_local, location
from mmpipe.core.options import explain
from mmpipe.core.reading import read_limited
from mmpipe.core.text import printable
from mmpipe.manifests.registry import CORPORA
from mmpipe.pipeline.cli.presets import PRESET_STAGES, SAMPLE_CORPUS_OPTIONS, SAMPLE_STAGE_OPTIONS, SAMPLE_TRAINING
from mmpipe.pipeline.doctor.inputs import NamedRoot

if TYPE_CHECKING:
    from mmpipe.pipeline.training.config import TrainConfig

__all__ = [
    "Settings",
    "corpus_options",
    "dataset_root",
    "load_settings",
    "merged",
    "named_roots",
    "parse_assignments",
    "parse_hyper_parameters",
    "stage_options",
    "training_config",
]

_CONFIG_FILE = Path("mmpipe.toml")
"""Read from the working directory unless another file is named."""


class Settings(BaseModel):
    """What mmpipe.toml may hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    datasets: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """A dataset's `root` and the options of its corpus, by dataset."""
    stages: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """The options of a stage, by stage."""


def load_settings(path: Path | None = None, *, check: bool = True) -> Settings:
    """Settings from `path`, or from mmpipe.toml in the working directory if it exists.

    Raises:
        UsageError: the file named does not exist, is not TOML, or holds something unknown; unknown datasets and options
            of datasets only with `check`.
    """
    file = path or _CONFIG_FILE
    if not file.exists():
        if path is not None:
            raise UsageError(f"the configuration file {path} does not exist")
        return Settings()
    try:
        settings = Settings.model_validate(tomllib.loads(read_limited(file).decode("utf-8")))
    except ValidationError as error:
        problems = explain(error, Settings.model_fields)
        raise UsageError(f"{file}: {problems}; tables: [datasets.NAME], [stages.NAME]") from error
    except OSError as error:
        raise UsageError(f"the configuration file {file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file} is not valid TOML: {printable(error)}") from error
    if check:
        _check_datasets(file, settings)
    return settings


def _check_datasets(file: Path, settings: Settings) -> None:
    """Refuse datasets and options of datasets that do not exist, whichever of them a command uses."""
    from mmpipe.manifests.prepare import corpus_reader

    for dataset, options in settings.datasets.items():
        try:
            corpus_reader(dataset, {name: value for name, value in options.items() if name != "root"})
        except UsageError as error:
            raise UsageError(f"{file}: [datasets.{printable(dataset)}]: {error}") from error
        if not isinstance(options.get("root", ""), str):
            raise UsageError(f"{file}: [datasets.{dataset}]: root: expected a path in quotation marks")


def _root_variable(dataset: str) -> str:
    """The environment variable that names a dataset's root.

    Example:
        >>> _root_variable("ami")
        'MMPIPE_AMI_ROOT'
    """
    return f"MMPIPE_{dataset.upper()}_ROOT"


def dataset_root(dataset: str, given: Path | None, settings: Settings, *, sample: bool = False) -> Path:
    """Where the corpus is: the option, else the environment, else mmpipe.toml, else the bundled sample if asked.

    Raises:
        UsageError: none of the ways names it, or two that exclude each other are given.
    """
    if sample:
        from mmpipe.manifests.samples import sample_root

        if given is not None:
            raise UsageError("--sample takes the bundled corpus: leave out --root")
        return sample_root(dataset)
    variable = _root_variable(dataset)
    if named := given or os.environ.get(variable) or settings.datasets.get(dataset, {}).get("root"):
        path = location(named)
        return _expanded(path)
    raise UsageError(
        f"where is the {dataset} corpus? Name its root in one of three ways:\n"
        f"  --root FOLDER\n"
        f"  {variable}=FOLDER in the environment\n"
        f'  root = "FOLDER" under [datasets.{dataset}] in {_CONFIG_FILE}\n'
        f"or type --sample to run on the small corpus that comes with mmpipe"
    )


def parse_assignments(assignments: Iterable[str]) -> dict[str, dict[str, Any]]:
    """`stage.option=value` texts as nested dicts; a value is read as TOML, else as text.

    Raises:
        UsageError: a text is not of that form.

    Example:
        >>> parse_assignments(["faces.every=5", "text.model=my/model"])
        {'faces': {'every': 5}, 'text': {'model': 'my/model'}}
    """
    options: dict[str, dict[str, Any]] = {}
    for text in assignments:
        target, equals, value = text.partition("=")
        stage, dot, option = target.strip().partition(".")
        if not (equals and dot and stage and option):
            raise UsageError(f"--set {text!r}: expected STAGE.OPTION=VALUE, for example --set faces.every=5")
        if option in options.setdefault(stage, {}):
            raise UsageError(f"--set gives {option} twice: leave one out")
        options[stage][option] = _value(value)
    return options


def _value(text: str) -> Any:
    """A TOML value; any other text as it is."""
    try:
        table = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return table["value"] if len(table) == 1 else text


def corpus_options(dataset: str, settings: Settings, *, sample: bool = False) -> dict[str, Any]:
    """The options of a corpus: those of the bundled sample, then those that mmpipe.toml names."""
    given = {name: value for name, value in settings.datasets.get(dataset, {}).items() if name != "root"}
    return (SAMPLE_CORPUS_OPTIONS.get(dataset, {}) if sample else {}) | given


def stage_options(
    settings: Settings, assigned: dict[str, dict[str, Any]], *, sample: bool = False, preset: str | None = None
) -> dict[str, dict[str, Any]]:
    """Options of the stages: of sample runs, then of mmpipe.toml, then of the preset, then of --set; see `merged`."""
    chosen = PRESET_STAGES[preset] if preset else {}
    return merged(SAMPLE_STAGE_OPTIONS if sample else {}, settings.stages, chosen, assigned)


def merged(*sources: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Options by stage; a later source comes before an earlier one.

    Where a later source names another extractor, the options that earlier sources have for the stage are left out: they
    are those of the extractor that is replaced.

    Example:
        >>> merged({"text": {"model": "my/model"}}, {"text": {"extractor": "word-count"}})
        {'text': {'extractor': 'word-count'}}
        >>> merged({"faces": {"every": 5}}, {"faces": {"every": 3}, "text": {"max_tokens": 64}})
        {'faces': {'every': 3}, 'text': {'max_tokens': 64}}
    """
    from mmpipe.pipeline.extraction.stages import DEFAULT_STAGES

    options: dict[str, dict[str, Any]] = {}
    for source in sources:
        for stage, given in source.items():
            before = options.get(stage, {})
            default = DEFAULT_STAGES.get(stage)
            replaces = given.get("extractor", default) != before.get("extractor", default) and "extractor" in given
            options[stage] = dict(given) if replaces else before | dict(given)
    return options


def parse_hyper_parameters(assignments: Iterable[str]) -> dict[str, Any]:
    """`NAME=VALUE` texts of `mmpipe train --set`; a value is read as TOML, else as text.

    Raises:
        UsageError: a text is not of that form.

    Example:
        >>> parse_hyper_parameters(["epochs=5", "matching=hsic"])
        {'epochs': 5, 'matching': 'hsic'}
    """
    texts = list(assignments)
    for text in texts:
        name, equals, _ = text.partition("=")
        if not (name.strip() and equals):
            raise UsageError(f"--set {text!r}: expected NAME=VALUE, for example --set epochs=20")
    return parse_assignments(f"train.{text}" for text in texts).get("train", {})


def training_config(assigned: Mapping[str, Any], *, sample: bool = False, **values: Any) -> TrainConfig:
    """Hyper-parameters: those of the sample corpora, then `values`, then those of --set.

    Raises:
        UsageError: one is unknown or out of range.
    """
    from mmpipe.pipeline.training.config import make_config

    return make_config(**((SAMPLE_TRAINING if sample else {}) | values | dict(assigned)))


def named_roots(settings: Settings, environment: Mapping[str, str]) -> list[NamedRoot]:
    """The corpus roots that the environment and mmpipe.toml name, by dataset; the environment comes first."""
    roots: dict[str, NamedRoot] = {}
    known = CORPORA.names()
    for dataset, options in settings.datasets.items():
        if "root" in options or dataset not in known:
            root = _expanded(location(str(options.get("root", ""))))
            roots[dataset] = NamedRoot(dataset, root, f"[datasets.{dataset}]", corpus_options(dataset, settings))
    for variable, value in environment.items():
        if variable.startswith("MMPIPE_") and variable.endswith("_ROOT") and value:
            dataset = variable.removeprefix("MMPIPE_").removesuffix("_ROOT").lower()
            options = corpus_options(dataset, settings)
            roots[dataset] = NamedRoot(dataset, _expanded(location(value)), variable, options)
    return list(roots.values())


def _expanded(path: Path) -> Path:
    return path.expanduser() if is_local(path) else path
