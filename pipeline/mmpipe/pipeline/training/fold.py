"""One fold of a run: trained, tested and written down, or reused from an equal run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmpipe.core.errors import TrainingError
from mmpipe.core.parquet import fingerprint
from mmpipe.core.seals import read_sealed_json, sha256_of, write_sealed_json
from mmpipe.manifests.splits import Fold
from mmpipe.pipeline.training.checkpoint import model_damage, save_model
from mmpipe.pipeline.training.config import TrainConfig
from mmpipe.pipeline.training.data.dataset import Norm, Pool, Rows, fit_norms
from mmpipe.pipeline.training.data.inputs import TrainInput
from mmpipe.pipeline.training.loop import DivergedError, Resume, Trained, fit, predict
from mmpipe.pipeline.training.metrics import score
from mmpipe.pipeline.training.results import FoldResult, Prediction
from mmpipe.pipeline.training.shift import measure_reach
from mmpipe.pipeline.training.watch import Watch

__all__ = ["FoldJob", "FoldReport"]

FoldReport = Callable[[str, dict[str, float]], None]
"""Called with the fold's name and the figures of every epoch; for a fold that is reused, with those of
then."""


@dataclass(frozen=True)
class FoldJob:
    """A fold to train.

    Attributes:
        config: hyper-parameters.
        data: what the run trains on.
        fold: its utterances.
        folder: where it is written.
        device: `cpu` or `cuda`.
        save_seconds: between two states of the unfinished training.
    """

    config: TrainConfig
    data: TrainInput
    fold: Fold
    folder: Path
    device: str = "cpu"
    save_seconds: float = 30.0

    @property
    def identity(self) -> dict[str, Any]:
        """What the result follows from, by part."""
        return {
            "config": self.config.model_dump(mode="json"),
            **self.data.identity_of(self.fold),
        }

    @property
    def result(self) -> FoldResult | None:
        """What an equal run has made of it, if its files are whole, for `run` to take over; else None."""
        saved, damage = self._saved()
        if saved is None or (damage or _changed(saved["identity"], self.identity)) is not None:
            return None
        return FoldResult.from_json(saved)

    @property
    def finished(self) -> bool:
        """Whether there is a `result`."""
        return self.result is not None

    @property
    def changed(self) -> str | None:
        """How the fold in the folder differs from this one; None if it does not, or there is none."""
        saved, _ = self._held()
        return None if saved is None else _changed(saved["identity"], self.identity)

    def run(self, report: FoldReport, note: Callable[[str], None]) -> FoldResult:
        """Train the fold, or take it over from an equal run; fold.json is written.

        Raises:
            TrainingError: see `fit`; where the loss diverged, the best model before that is kept.
        """
        identity, name = self.identity, self.fold.name
        saved, damage = self._saved()
        if damage is not None:
            note(f"fold {name}: trained again, {damage}")
            self._record.unlink()
        elif saved is not None:
            if (changed := _changed(saved["identity"], identity)) is None:
                note(f"fold {name}: reused from an earlier run")
                result = FoldResult.from_json(saved)
                for row in result.history:
                    report(name, row)
                return result
            note(f"fold {name}: trained again, changed: {changed}")
            self._record.unlink()
        result = self._train(identity, report, note)
        write_sealed_json(self._record, result.to_json() | {"model": sha256_of(self.folder / "model.json")})
        return result

    @property
    def _record(self) -> Path:
        return self.folder / "fold.json"

    def _held(self) -> tuple[dict[str, Any] | None, str | None]:
        """What fold.json holds, if it is there and sound; and what is wrong with it."""
        if not self._record.is_file():
            return None, None
        try:
            saved = read_sealed_json(self._record)
            FoldResult.from_json(saved)
            if not isinstance(saved["identity"], dict):
                raise TypeError("its identity is not an object")
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            return None, f"fold.json is damaged: {type(error).__name__}: {error}"
        return saved, None

    def _saved(self) -> tuple[dict[str, Any] | None, str | None]:
        """What `_held` gives; and what is wrong with the model that it is of, whose files are hashed."""
        saved, damage = self._held()
        if saved is None:
            return None, damage
        if (damage := model_damage(self.folder)) is None and saved.get("model") not in (
            None,
            sha256_of(self.folder / "model.json"),
        ):
            damage = "model.json is of another model than fold.json"
        return saved, damage

    def _train(self, identity: dict[str, Any], report: FoldReport, note: Callable[[str], None]) -> FoldResult:
        labeled, labels = self.data.labeled, self.data.labels
        rows = {side: labeled.rows_of(getattr(self.fold, side)) for side in ("train", "valid", "test")}
        norms = fit_norms(labeled, rows["train"])
        pools = {side: Pool(labeled, rows[side], norms) for side in rows}
        trained = self._fit(pools, rows, norms, report)
        if trained.supervised_because is not None:
            note(f"fold {self.fold.name}: trained without unlabelled rows, since {trained.supervised_because}")
        probabilities = predict(trained.model, pools["test"])
        predicted = [labels[k] for k in probabilities.argmax(axis=1)]
        truth = [str(labeled.labels[row]) for row in rows["test"]]
        self._save(trained, rows, norms)
        return FoldResult(
            identity=identity,
            name=self.fold.name,
            seed=self.config.seed,
            best_epoch=trained.best_epoch,
            supervised_because=trained.supervised_because,
            history=tuple(trained.history),
            latents=trained.latents,
            test=score(truth, predicted, labels),
            predictions=tuple(
                Prediction(i, t, p, tuple(round(float(x), 6) for x in values))
                for i, t, p, values in zip(self.fold.test, truth, predicted, probabilities, strict=True)
            ),
        )

    def _save(self, trained: Trained, rows: dict[str, Rows], norms: dict[str, Norm]) -> None:
        labeled, everything = self.data.labeled, np.concatenate(list(rows.values()))
        reach = measure_reach(labeled, everything, norms)
        save_model(self.folder, trained.model, self.config, self.data.labels, norms, labeled, reach)

    def _fit(
        self, pools: dict[str, Pool], rows: dict[str, Rows], norms: dict[str, Norm], report: FoldReport
    ) -> Trained:
        name, data = self.fold.name, self.data
        resume = Resume(self.folder / "state.pt", fingerprint(self.identity), self.save_seconds)
        unlabeled = data.unlabeled_of(self.fold)
        try:
            return fit(
                self.config,
                data.labels,
                pools["train"],
                pools["valid"],
                unlabeled,
                lambda row: report(name, row),
                resume=resume,
                device=self.device,
                watch=Watch(pools["valid"], unlabeled),
            )
        except DivergedError as error:
            kept = f"the model of epoch {error.trained.best_epoch} is kept in {self.folder}"
            if error.trained.best_epoch:
                self._save(error.trained, rows, norms)
            else:
                kept = "there is no model yet, since this was the first epoch"
            raise TrainingError(f"fold {name}: {error}; {kept}") from error
        except TrainingError as error:
            raise TrainingError(f"fold {name}: {error}") from error


def _changed(before: dict[str, Any], now: dict[str, Any]) -> str | None:
    """Which parts of an identity differ, None if none does."""
    before = before | {"config": _current(before.get("config", {}))}
    differ = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    if "config" in differ:
        old, new = before["config"], now["config"]
        differ[differ.index("config")] = ", ".join(
            f"{name} {old.get(name)} -> {new.get(name)}"
            for name in sorted(old.keys() | new.keys())
            if old.get(name) != new.get(name)
        )
    return ", ".join(differ) or None


def _current(config: dict[str, Any]) -> dict[str, Any]:
    """A config with the values that earlier versions, which had fewer fields, trained with."""
    try:
        return TrainConfig.model_validate(config).model_dump(mode="json")
    except ValueError:
        return config
