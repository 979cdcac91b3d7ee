"""What a training gives: a fold, a run. Both are read from and written to JSON by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from mmpipe.core.errors import UsageError
from mmpipe.core.seals import read_sealed_json, sha256_of, write_sealed_json
from mmpipe.core.text import is_safe_name
from mmpipe.pipeline.store.exclusions import Exclusions
from mmpipe.pipeline.training.config import TrainConfig
from mmpipe.pipeline.training.latents import Latents
from mmpipe.pipeline.training.metrics import METRICS, Answers, Scores, Summary

__all__ = [
    "FoldResult",
    "FoldScores",
    "Prediction",
    "RunResult",
    "UnlabeledRows",
    "file_problem",
    "fold_folder",
    "load_run",
    "read_run",
    "write_run",
]


@dataclass(frozen=True)
class Prediction:
    """What a model said of one test utterance.

    Attributes:
        utterance_id: whose.
        label: its label.
        predicted: the most probable label.
        probabilities: of the classes, in the order of the run's labels, to six digits.
    """

    utterance_id: str
    label: str
    predicted: str
    probabilities: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self) | {"probabilities": list(self.probabilities)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Prediction:
        """What `to_json` gave."""
        return cls(value["utterance_id"], value["label"], value["predicted"], tuple(value["probabilities"]))


@dataclass(frozen=True)
class FoldResult:
    """One fold, trained and tested with one seed: what fold.json holds.

    Attributes:
        identity: what it follows from, by part: config, hashes of features and utterances.
        name: of the fold.
        seed: of the training.
        best_epoch: the epoch whose model was kept.
        supervised_because: why the unlabelled rows of a semi-supervised run were not used; None where they were.
        history: the figures of every epoch, the columns of history.csv.
        test: scores of the test utterances.
        predictions: one a test utterance.
        latents: where some of them lay, by epoch; None of a run of an earlier version.
    """

    identity: dict[str, Any]
    name: str
    seed: int
    best_epoch: int
    history: tuple[dict[str, float], ...]
    test: Scores
    predictions: tuple[Prediction, ...]
    supervised_because: str | None = None
    latents: Latents | None = None

    @property
    def answers(self) -> Answers:
        """The answers without the training."""
        columns = ("utterance_id", "label", "predicted")
        ids, truth, predicted = (tuple(getattr(row, name) for row in self.predictions) for name in columns)
        return Answers(self.seed, ids, truth, predicted, self.test)

    @property
    def scores(self) -> FoldScores:
        """What run.json says of it."""
        return FoldScores(self.name, self.seed, self.best_epoch, self.test)

    def to_json(self) -> dict[str, Any]:
        """What fold.json holds; the seed is in the identity's config."""
        return {
            "identity": self.identity,
            "name": self.name,
            "best_epoch": self.best_epoch,
            "supervised_because": self.supervised_because,
            "history": list(self.history),
            "test": self.test.to_json(),
            "predictions": [row.to_json() for row in self.predictions],
            "latents": None if self.latents is None else self.latents.to_json(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> FoldResult:
        """What `to_json` gave."""
        return cls(
            identity=value["identity"],
            name=value["name"],
            seed=value["identity"]["config"]["seed"],
            best_epoch=value["best_epoch"],
            history=tuple(value["history"]),
            test=Scores.from_json(value["test"]),
            predictions=tuple(Prediction.from_json(row) for row in value["predictions"]),
            supervised_because=value.get("supervised_because"),
            latents=Latents.from_json(value["latents"]) if value.get("latents") else None,
        )


@dataclass(frozen=True)
class FoldScores:
    """One fold of one seed in run.json.

    Attributes:
        name: of the fold.
        seed: of the training.
        best_epoch: the epoch whose model was kept.
        test: scores of the test utterances.
    """

    name: str
    seed: int
    best_epoch: int
    test: Scores

    def to_json(self) -> dict[str, Any]:
        """As plain values, the scores beside the rest."""
        return {"name": self.name, "seed": self.seed, "best_epoch": self.best_epoch, **self.test.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> FoldScores:
        """What `to_json` gave."""
        return cls(value["name"], value["seed"], value["best_epoch"], Scores.from_json(value))


@dataclass(frozen=True)
class UnlabeledRows:
    """The unlabelled side of a run.

    Attributes:
        rows: to draw from, repeats counted; the most of a fold, where each has rows of its own.
        utterances: without repeats, of all folds.
        excluded: utterances of the store that lack a modality, by reason.
        by_fold: rows of each fold; empty where all folds draw from the same.
        seen: folds whose test speakers' labels made the pseudo-labels that the list was balanced by;
            None of a run of an earlier version, which did not record it.
    """

    rows: int
    utterances: int
    excluded: dict[str, int]
    by_fold: dict[str, int] = field(default_factory=dict)
    seen: tuple[str, ...] | None = ()

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self) | {"seen": None if self.seen is None else list(self.seen)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> UnlabeledRows:
        """What run.json holds of it."""
        seen = value.get("seen")
        return cls(**{**value, "seen": None if seen is None else tuple(seen)})


@dataclass(frozen=True)
class RunResult:
    """A cross-validated run: what run.json holds.

    Attributes:
        name: of its folder.
        objective: `supervised` or `semi`.
        config: hyper-parameters.
        seeds: trainings of each fold.
        labels: the label set, in the order of the classes.
        folds: by seed and fold.
        pooled: scores of the test utterances of all folds and seeds.
        summary: by metric.
        features: by stage, what made the features.
        excluded: utterances left out, by reason.
        cut: by letter of a sequence, the share of the utterances that have more steps than the model takes.
        unlabeled: the unlabelled side; None of a supervised run.
        exclusions: what a list of marks changed of the stores; None where none was given.
        seconds: that it took, reused folds included.
    """

    name: str
    objective: str
    config: TrainConfig
    seeds: int
    labels: tuple[str, ...]
    folds: tuple[FoldScores, ...]
    pooled: Scores
    summary: dict[str, Summary]
    features: dict[str, Any]
    excluded: dict[str, int]
    cut: dict[str, float] = field(default_factory=dict)
    unlabeled: UnlabeledRows | None = None
    exclusions: Exclusions | None = None
    seconds: float = field(default=0.0, compare=False)

    def to_json(self) -> dict[str, Any]:
        """What run.json holds."""
        return {
            "name": self.name,
            "objective": self.objective,
            "config": self.config.model_dump(mode="json"),
            "seeds": self.seeds,
            "labels": list(self.labels),
            "folds": [fold.to_json() for fold in self.folds],
            "pooled": self.pooled.to_json(),
            "summary": {metric: summary.to_json() for metric, summary in self.summary.items()},
            "features": self.features,
            "excluded": self.excluded,
            "cut": self.cut,
            "unlabeled": None if self.unlabeled is None else self.unlabeled.to_json(),
            **({} if self.exclusions is None else {"exclusions": self.exclusions.to_json()}),
            "seconds": self.seconds,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RunResult:
        """What `to_json` gave."""
        return cls(
            name=value["name"],
            objective=value["objective"],
            config=TrainConfig.model_validate(value["config"]),
            seeds=value["seeds"],
            labels=tuple(value["labels"]),
            folds=tuple(FoldScores.from_json(fold) for fold in value["folds"]),
            pooled=Scores.from_json(value["pooled"]),
            summary={metric: Summary.from_json(value["summary"][metric]) for metric in METRICS},
            features=value["features"],
            excluded=value["excluded"],
            cut=value.get("cut", {}),
            unlabeled=None if value["unlabeled"] is None else UnlabeledRows.from_json(value["unlabeled"]),
            exclusions=Exclusions(**value["exclusions"]) if value.get("exclusions") else None,
            seconds=value["seconds"],
        )


def _check(result: RunResult) -> None:
    """Check what the types of a run.json do not say.

    Raises:
        ValueError: parts of it contradict each other, or a fold's name leads out of the folder.
    """
    labels = set(result.labels)
    if len(labels) < max(1, len(result.labels)) or not 1 <= result.seeds <= 10_000:
        raise ValueError("labels must be different, and seeds from 1 to 10,000")
    if not result.folds:
        raise ValueError("it has no fold")
    if unsafe := [fold.name for fold in result.folds if not is_safe_name(fold.name)]:
        raise ValueError(f"the fold {unsafe[0][:80]!r} has a name that is not one of a folder")
    for scores in (result.pooled, *(fold.test for fold in result.folds)):
        square = [len(row) for row in scores.confusion] == [len(labels)] * len(labels)
        if not square or set(scores.recall) != labels:
            raise ValueError("its confusion and recall are not of its labels")


def fold_folder(run: Path, name: str, seed: int, seeds: int) -> Path:
    """Where a run folder has a fold.

    Raises:
        UsageError: the name of the fold would lead out of the run folder.

    Example:
        >>> fold_folder(Path("runs/x"), "groups-1", seed=4, seeds=2).as_posix()
        'runs/x/seed-4/groups-1'
    """
    if not is_safe_name(name):
        raise UsageError(f"the fold {name[:80]!r} of {run} has a name that is not one of a folder: name it otherwise")
    return (run if seeds == 1 else run / f"seed-{seed}") / name


_TABLES = ("history.csv", "predictions.parquet")
_FOLD_FILES = ("fold.json", "model.json", "model.safetensors")


def write_run(path: Path, result: RunResult) -> None:
    """Write run.json, sealed, with the SHA-256 of every file of the run that is read again.

    Raises:
        StorageError: it cannot be written.
    """
    hashes = {file.relative_to(path).as_posix(): sha256_of(file) for file in _files(path, result)}
    write_sealed_json(path / "run.json", result.to_json() | {"files": hashes})


def _files(path: Path, result: RunResult) -> list[Path]:
    """The files of a run that are read again, besides run.json."""
    folders = [fold_folder(path, fold.name, fold.seed, result.seeds) for fold in result.folds]
    return [*(path / name for name in _TABLES), *(folder / name for folder in folders for name in _FOLD_FILES)]


def read_run(path: Path, *, check_files: bool = True) -> RunResult:
    """The result of a run folder.

    Args:
        path: the folder.
        check_files: also hash the tables and models that run.json names; runs of earlier versions name none.

    Raises:
        UsageError: the folder does not hold a finished run that can be read, or a file of it is missing or altered.
    """
    result, files = load_run(path)
    for file, expected in files.items() if check_files else ():
        if (problem := file_problem(file, expected)) is not None:
            raise UsageError(
                f"{file} {problem}: run the `mmpipe train` of {path} again, which trains what is damaged again"
            )
    return result


def load_run(path: Path) -> tuple[RunResult, dict[Path, str]]:
    """The result of a run folder, and the SHA-256 of its files as run.json names them, which is not checked here.

    Raises:
        UsageError: the folder does not hold a finished run that can be read.
    """
    try:
        value = read_sealed_json(path / "run.json")
        result = TypeAdapter(RunResult).validate_python(asdict(RunResult.from_json(value)))
        _check(result)
        files = {path / name: digest for name, digest in value.get("files", {}).items()}
        if not files.keys() <= set(_files(path, result)):
            raise ValueError("it names files that are not of the run")
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path} does not hold a finished run ({type(error).__name__}: {error}): make it with "
            f"`mmpipe train --out {path}`"
        ) from error
    return result, files


def file_problem(file: Path, expected: str) -> str | None:
    """What is wrong with a file that should have this SHA-256, or None."""
    try:
        return None if sha256_of(file) == expected else "is not what the run wrote"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error})"
