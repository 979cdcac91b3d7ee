"""What a training gives: a fold, a run. Both are made from JSON and to JSON by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

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
