"""Balancing of unlabelled data (paper section 4.2).

A vanilla classifier (cross-entropy only) labels the unlabelled utterances. Of the usable ones the first 20,000 in
seeded order are taken; classes above their number of draws are sub-sampled, classes below are over-sampled by repeating
their utterances. A class that no utterance was given stays empty: nothing is invented.

Each fold of the labelled store has a classifier and a list of its own, made without the labels of its test part; or
there is one list for all folds, as in the paper. The rows are utterances and draws, never features.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mmpipe.core.errors import TrainingError, UsageError
from mmpipe.core.locks import writing_alone
from mmpipe.core.parquet import fingerprint, write_parquet
from mmpipe.core.seals import sha256_of
from mmpipe.pipeline.balancing.classifiers import Progress, RunModels, mean, train_classifiers
from mmpipe.pipeline.balancing.draw import (
    PAPER_LIMIT,
    DrawOptions,
    choose_candidates,
    draw_in_turn,
    resolve_targets,
    seeded_order,
)
from mmpipe.pipeline.balancing.labelling import Labelled, label_rows, measure_calibration
from mmpipe.pipeline.balancing.results import BalanceResult, FoldBalance, cautions_of
from mmpipe.pipeline.hardware import pick_device
from mmpipe.pipeline.outputs import claim
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.training.config import TrainConfig
from mmpipe.pipeline.training.data.dataset import Datasets, Rows
from mmpipe.pipeline.training.data.inputs import load_input, shared_modalities
from mmpipe.pipeline.training.data.unlabeled import groups_of
from mmpipe.pipeline.training.run_folder import read_run
from mmpipe.pipeline.training.shift import pool_caution

__all__ = ["balance"]

_SCHEMA = pa.schema(
    [
        ("utterance_id", pa.string()),
        ("pseudo_label", pa.string()),
        ("probability", pa.float32()),
        ("probabilities", pa.list_(pa.float32())),
        ("draw", pa.int32()),
    ]
)
"""Of a list for all folds; one by fold has the column `fold`, too."""

_Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Request:
    """What is asked for: the arguments of `balance`."""

    labeled: Path
    unlabeled: Path
    out: Path
    config: TrainConfig
    draws: DrawOptions
    classifier: Path | None
    once: bool


def balance(
    labeled: Path,
    unlabeled: Path,
    out: Path,
    config: TrainConfig,
    draws: DrawOptions | None = None,
    *,
    classifier: Path | None = None,
    once: bool = False,
    progress: Progress = lambda done, total, what: None,
    device: str = "cpu",
    overwrite: bool = False,
) -> BalanceResult:
    """Label the unlabelled store and write a list with equal classes, for each fold of the labelled store.

    A classifier that is trained here has the encoders of the model and looks at those of the config's modalities that
    both stores have. That of a fold trains on its training part, and its validation part chooses the epoch and the
    temperature. With `once` a single one trains on all but the validation part of the first fold, as in the paper.

    Args:
        labeled: the labelled store.
        unlabeled: the unlabelled store.
        out: the list (Parquet).
        config: hyper-parameters of the classifiers, whose reconstruction and matching are left out, and of the folds;
            its seed decides the order of the utterances.
        draws: what is drawn; None is what the paper draws.
        classifier: a run of `mmpipe train` on the labelled store, whose models label: for a fold its own; with `once`
            the mean of all. Then only the seed of `config` counts.
        once: one list for all folds, whose classifiers saw the labels of test parts.
        progress: called with the steps that are done, all steps and what they are of.
        device: where the classifiers run: `cpu`, `cuda`, or `auto`: the GPU where there is one.
        overwrite: replace whatever is at `out`, not only an earlier list.

    Raises:
        StoreError: a store cannot be read.
        TrainingError: the stores, or a store and the run, do not go together, or nothing is left to draw from.
        UsageError: an option is out of range, the device does not exist here, the run is not finished, or `out` is not
            an earlier list.
        WeightsError: a model of the run cannot be read.
        BusyError: another process is writing `out`.
    """
    request = _Request(labeled, unlabeled, out, config, draws or DrawOptions(), classifier, once)
    request.draws.check()
    device = pick_device(device)
    with writing_alone(out, "mmpipe balance-unlabeled"):
        claim(out, "balanced list", overwrite=overwrite)
        return _Balancing(request, device, progress).run()


class _Balancing:
    """A list in the making: what it is made from has been read and goes together."""

    def __init__(self, request: _Request, device: str, progress: Progress) -> None:
        self.request, self.device, self.progress = request, device, progress
        self.models: RunModels | None = None
        stores = (request.labeled, request.unlabeled)
        if request.classifier is not None:
            self.models = RunModels(request.classifier, read_run(request.classifier), device)
            self.config = self.models.config.model_copy(update={"unlabeled_rows": None})
        else:
            shared = shared_modalities(stores, request.config.modalities)
            self.config = request.config.vanilla().model_copy(update={"modalities": shared})
        exclusions = None if self.models is None else self.models.result.exclusions
        self.data = load_input(self.config, *stores, datasets=Datasets(exclusions))
        self.labels = self.data.labels if self.models is None else self.models.result.labels
        assert self.data.unlabeled is not None
        self.target = self.data.unlabeled.dataset
        self.rows = self._take()
        self.targets = resolve_targets(request.draws, self.labels, len(self.rows))
        self.groups = self._groups()

    @property
    def is_held_out(self) -> bool:
        """Whether each fold has a classifier that never saw its test part."""
        return self.models is not None or not self.request.once

    def _take(self) -> Rows:
        """The rows to label, in seeded order."""
        order = seeded_order(self.target.ids, self.request.config.seed)
        return np.array(order[: self.request.draws.pool or PAPER_LIMIT], np.int64)

    def _groups(self) -> dict[str, list[str | None]]:
        """Speaker and session of each row, where they are limited."""
        draws, groups = self.request.draws, {}
        limited = {"speaker": draws.max_per_speaker, "session": draws.max_per_session}
        for name in (name for name, most in limited.items() if most is not None):
            manifest = FeatureStore(self.request.unlabeled).manifest().select(["utterance_id", name]).to_pydict()
            of = dict(zip(manifest["utterance_id"], manifest[name], strict=True))
            groups[name] = [of[self.target.ids[row]] for row in self.rows]
            if missing := sum(not group for group in groups[name]):
                raise UsageError(
                    f"--max-per-{name}: {missing} of the {len(self.rows)} utterances of {self.request.unlabeled} do "
                    f"not have a {name}: leave it out"
                )
        return groups

    def run(self) -> BalanceResult:
        """Label, draw and write."""
        if self.models is None:
            made = train_classifiers(
                self.config, self.data, once=self.request.once, progress=self.progress, device=self.device
            )
        else:
            made = self.models.classifiers(self.data, self.progress)
        labelled = [label_rows(one, self.rows, self.labels, calibrate=self.is_held_out) for one in made]
        calibration = measure_calibration(labelled) if self.is_held_out else None
        if self.request.once:
            drawn = [self._draw(None, mean([part.rows for part in labelled]), labelled)]
        else:
            drawn = [self._draw(part.fold, part.rows, [part]) for part in labelled]
        folds = tuple(fold for fold, _ in drawn)
        result = BalanceResult(
            path=self.request.out,
            labels=self.labels,
            folds=folds,
            targets=dict(zip(self.labels, self.targets, strict=True)),
            modalities=self.config.modalities,
            protocol=self.config.protocol,
            fold_seed=self.config.seed,
            excluded=self.target.excluded,
            beyond=len(self.target.ids) - len(self.rows),
            calibration=calibration,
            cautions=(*cautions_of(folds, calibration), *self._cautions()),
        )
        write_parquet(self.request.out, pa.concat_tables(table for _, table in drawn), self._metadata(result))
        return result

    def _draw(self, fold: str | None, rows_NK: _Probabilities, by: Sequence[Labelled]) -> tuple[FoldBalance, pa.Table]:
        """Draw from the rows, by their probabilities."""
        pseudo, best = rows_NK.argmax(axis=1), rows_NK.max(axis=1)
        candidates, dropped = choose_candidates(pseudo, best.astype(np.float64), self.request.draws, self.groups)
        self._check(fold, pseudo, candidates, dropped)
        drawn = draw_in_turn(pseudo[candidates], self.targets)
        places = candidates[[place for place, _ in drawn]]
        columns: dict[str, Any] = {
            "utterance_id": [self.target.ids[row] for row in self.rows[places]],
            "pseudo_label": [self.labels[k] for k in pseudo[places]],
            "probability": best[places],
            "probabilities": list(rows_NK[places]),
            "draw": [repeat for _, repeat in drawn],
        }
        table = pa.table(columns, schema=_SCHEMA)
        if fold is not None:
            table = table.append_column("fold", pa.array([fold] * len(table), pa.string()))
        counts = {
            name: {label: int((pseudo[part] == k).sum()) for k, label in enumerate(self.labels)}
            for name, part in (("before", np.arange(len(pseudo))), ("after", places), ("distinct", np.unique(places)))
        }
        if spare := len(candidates) - sum(counts["distinct"].values()):
            dropped["their class is full"] = spare
        valid_ua = sum(part.valid_ua for part in by) / len(by)
        epochs = tuple(epoch for part in by for epoch in part.best_epochs)
        return FoldBalance(fold, **counts, dropped=dict(dropped), valid_ua=valid_ua, best_epochs=epochs), table

    def _check(
        self, fold: str | None, pseudo: npt.NDArray[np.int64], candidates: Rows, dropped: Mapping[str, int]
    ) -> None:
        """Refuse a list without a class that is asked for by name, or that the options left nothing of.

        Raises:
            TrainingError: there is one, or nothing is left at all.
        """
        draws, where = self.request.draws, "" if fold is None else f"fold {fold}: "
        why = ", ".join(f"{reason} {number}" for reason, number in dropped.items()) or "none"
        wanted = [k for k, target in enumerate(self.targets) if target]
        left = np.bincount(pseudo[candidates], minlength=len(self.labels))
        if not left[wanted].any():
            raise TrainingError(
                f"{where}nothing is left to draw of {len(pseudo)} utterances that were labelled (left out: {why}): "
                "ask for less, or for other classes"
            )
        labelled = np.bincount(pseudo, minlength=len(self.labels))
        for k in wanted:
            if not left[k] and (labelled[k] or self.labels[k] in draws.of_class):
                raise TrainingError(
                    f"{where}the class {self.labels[k]} has no candidate: {labelled[k]} of {len(pseudo)} utterances "
                    f"were labelled so (left out of all classes: {why}): lower --min-probability, raise the limits, "
                    f"take a larger pool, or give up the class with --per-class {self.labels[k]}=0"
                )

    def _cautions(self) -> Iterator[str]:
        """What the stores and the run give reason to keep in mind."""
        assert self.data.unlabeled is not None
        pool, usable = self.request.draws.pool, len(self.target.ids)
        if pool is not None and pool > usable:
            where = self.request.unlabeled
            yield f"--pool {pool:,} is more than the {usable:,} usable utterances of {where}: all are labelled"
        if (caution := pool_caution(self.data.labeled, self.target, self.data.unlabeled.norms)) is not None:
            yield caution
        side = None if self.models is None else self.models.result.unlabeled
        if side is not None and side.seen != ():
            folds = "folds that are not recorded" if side.seen is None else f"the folds {', '.join(side.seen)}"
            yield (
                f"{self.request.classifier} learnt from pseudo-labels that were made with labels of the test speakers "
                f"of {folds}, so this list is not free of them: train the run with a list for each fold"
            )

    def _metadata(self, result: BalanceResult) -> dict[str, Any]:
        draws, stages = self.request.draws, list(self.config.stages)
        alike = len(set(self.targets)) == 1
        metadata: dict[str, Any] = {
            "labels": list(self.labels),
            "before": result.before,
            "after": result.after,
            "per_class": self.targets[0] if alike else result.targets,
            "limit": draws.pool or PAPER_LIMIT,
            "seed": self.request.config.seed,
            "model": {"config": self.config.model_dump(mode="json"), "valid_ua": round(result.valid_ua, 6)},
            "stores": {
                "labeled": {"stages": stages, "fingerprint": self.data.labeled.fingerprint},
                "unlabeled": {"stages": stages, "fingerprint": self.target.fingerprint},
            },
            "excluded": self.target.excluded,
            "beyond": result.beyond,
            "cautions": list(result.cautions),
            "options": {
                "min_probability": draws.min_probability,
                "choose": draws.choose,
                "max_per_speaker": draws.max_per_speaker,
                "max_per_session": draws.max_per_session,
            },
            "protocol": {"name": self.config.protocol, "seed": self.config.seed},
            "calibration": None if result.calibration is None else result.calibration.to_json(),
        }
        if self.models is not None:
            metadata["classifier"] = {
                "name": self.models.path.name,
                "objective": self.models.result.objective,
                "run": sha256_of(self.models.path / "run.json"),
            }
        if self.request.once:
            return metadata | {"saw": self._saw(), "all_folds": result.folds[0].to_json()}
        parts = self.data.parts
        return metadata | {
            "folds": {str(f.fold): {"utterances": parts[str(f.fold)], **f.to_json()} for f in result.folds}
        }

    def _saw(self) -> dict[str, Any]:
        """Whose labels the classifier of all folds was trained on, and whose chose its epoch."""
        folds, first = self.data.folds, self.data.folds[0]
        trained = {*first.train, *first.test} if self.models is None else {i for fold in folds for i in fold.train}
        chosen = set(first.valid) if self.models is None else {i for fold in folds for i in fold.valid}
        manifest = FeatureStore(self.request.labeled).manifest()
        return {
            "trained": sorted(groups_of(manifest, trained)),
            "chosen": sorted(groups_of(manifest, chosen)),
            "utterances": fingerprint([sorted(trained), sorted(chosen)]),
        }
