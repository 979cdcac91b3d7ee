"""A cross-validated run: folds over held-out speakers, one folder that says everything about it.

    runs/iemocap-semi-avl-paper-1f3a5c7e/
      run.json               config, labels, figures by fold and pooled over all test utterances, what made the features
                             and the SHA-256 of the other files; sealed, as are fold.json and model.json
      history.csv            one line an epoch of every fold
      predictions.parquet    utterance_id, fold, label, predicted, probabilities
      {fold}/                model.safetensors, model.json, and fold.json, from which a run that was stopped goes on
      tensorboard/           the same figures for TensorBoard, if asked for

A run of several seeds has the folds of each seed in `seed-{n}/{fold}/`.

Each store is z-normalised by its own statistics, the labelled one by the training rows of the fold, the unlabelled one
by all its usable rows: two corpora differ by microphones and cameras before they differ by emotion.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mmpipe.core.errors import TrainingError, UsageError
from mmpipe.core.locks import writing_alone
from mmpipe.pipeline.hardware import pick_device
from mmpipe.pipeline.outputs import claim
from mmpipe.pipeline.store.exclusions import read_exclusions
from mmpipe.pipeline.training.config import TrainConfig
from mmpipe.pipeline.training.data.dataset import Dataset, Datasets
from mmpipe.pipeline.training.data.inputs import TrainInput, load_input
from mmpipe.pipeline.training.data.unlabeled import Unlabeled
from mmpipe.pipeline.training.fold import FoldJob, FoldReport
from mmpipe.pipeline.training.metrics import score, summarise
from mmpipe.pipeline.training.records import check_events, write_events, write_history, write_predictions
from mmpipe.pipeline.training.requests import Sources, TrainRequest
from mmpipe.pipeline.training.results import FoldResult, RunResult, UnlabeledRows
from mmpipe.pipeline.training.run_folder import fold_folder, read_run, write_run
from mmpipe.pipeline.training.shift import pool_caution

__all__ = ["TrainRun", "plan_run", "train"]


@dataclass(frozen=True)
class TrainRun:
    """A run whose stores have been read and whose folds are known, but that has not begun.

    Attributes:
        request: what is asked for.
        data: what it trains on.
        device: `cpu` or `cuda`.
    """

    request: TrainRequest
    data: TrainInput
    device: str

    @cached_property
    def jobs(self) -> tuple[FoldJob, ...]:
        """The folds of every seed, in the order in which they are trained."""
        config, request = self.request.config, self.request
        return tuple(
            FoldJob(
                config.model_copy(update={"seed": seed}),
                self.data,
                fold,
                fold_folder(request.out, fold.name, seed, request.seeds),
                self.device,
                request.save_seconds,
            )
            for seed in range(config.seed, config.seed + request.seeds)
            for fold in self.data.folds
        )

    @property
    def unfinished(self) -> tuple[FoldJob, ...]:
        """Folds that no equal run has trained yet."""
        return tuple(job for job in self.jobs if not job.finished)

    @property
    def replaced(self) -> str | None:
        """How the finished run in the folder differs from this one; None if it does not, or there is none."""
        if not (self.request.out / "run.json").is_file():
            return None
        differences = [job.changed for job in self.jobs]
        changed = differences[0] if all(differences) else None  # a single fold that differs is damage
        try:
            held = read_run(self.request.out, check_files=False)
        except UsageError:
            return "its run.json cannot be read"
        return _other_config(self.request, held) or changed

    @property
    def epochs(self) -> int:
        """Epochs of all folds and seeds, if none stops early."""
        return self.request.config.epochs * len(self.jobs)

    def run(
        self,
        report: FoldReport = lambda fold, row: None,
        note: Callable[[str], None] = lambda text: None,
    ) -> RunResult:
        """Train every fold and write the run folder. Finished folds of an equal run are reused.

        Args:
            report: called with the figures of every epoch.
            note: called with a sentence where a fold is reused, or trained again, and why.

        Raises:
            BusyError: another process is writing the run folder.
            TrainingError: see `fit`.
            UsageError: see `plan_run`.
        """
        began = time.perf_counter()
        with writing_alone(self.request.out, "mmpipe train", inside=True):
            self.begin(note)
            done = [job.run(report, note) for job in self.jobs]
            return self.write(done, time.perf_counter() - began)

    def begin(self, note: Callable[[str], None]) -> None:
        """Look at the folder before folds are written into it; what describes a run that is replaced is removed.

        Raises:
            UsageError: see `refuse_other`.
        """
        self.refuse_other()
        if self.replaced is not None:
            for name in ("run.json", "baselines.csv", "baselines.parquet"):
                (self.request.out / name).unlink(missing_ok=True)  # they describe a run whose folds are replaced now
        _note_data(self.data, self.request.config, note)

    def refuse_other(self) -> None:
        """Make sure that the folder holds no finished run that differs and no other files, unless it is overwritten.

        Raises:
            UsageError: it holds some.
        """
        out, overwrite = self.request.out, self.request.overwrite
        if not (out / "run.json").exists():
            claim(out / "history.csv", "history", overwrite=overwrite)
            claim(out / "predictions.parquet", "predictions", overwrite=overwrite)
        if not overwrite and (other := self.replaced) is not None:
            raise UsageError(
                f"{out} holds a finished run, and this one differs ({other}): name another folder with "
                "--out, or replace it with --overwrite"
            )

    def write(self, done: list[FoldResult], seconds: float) -> RunResult:
        """Write the files of the run besides those of its folds.

        Args:
            done: the folds, in the order of `jobs`.
            seconds: what they took.
        """
        out, result = self.request.out, self._result(done, seconds)
        write_history(out / "history.csv", done)
        write_predictions(out / "predictions.parquet", done, self.data.labels)
        if self.request.tensorboard:
            write_events(out / "tensorboard", done)
        write_run(out, result)
        return result

    def _result(self, done: list[FoldResult], seconds: float) -> RunResult:
        data, answers = self.data, [fold.answers for fold in done]
        truth, predicted = ([label for fold in answers for label in getattr(fold, k)] for k in ("truth", "predicted"))
        return RunResult(
            name=self.request.out.name,
            objective=self.request.objective,
            config=self.request.config,
            seeds=self.request.seeds,
            labels=data.labels,
            folds=tuple(fold.scores for fold in done),
            pooled=score(truth, predicted, data.labels),
            summary=summarise(answers, data.labels),
            features=data.labeled.provenance,
            excluded=_excluded(data.labeled),
            cut=data.cut,
            exclusions=data.exclusions,
            unlabeled=None if data.unlabeled is None else _rows_of(data.unlabeled),
            seconds=round(seconds, 1),
        )


def plan_run(request: TrainRequest, datasets: Datasets | None = None) -> TrainRun:
    """Read what a run trains on and check that it can be trained; nothing is trained yet.

    Args:
        request: what is asked for.
        datasets: what other runs have read already.

    Raises:
        StoreError: see `load_input`.
        TrainingError: see `load_input`; or the semi-supervised objective has a single modality.
        UsageError: the device does not exist here, TensorBoard is asked for and not installed, or the folder holds a
            finished run of another config or of other data, or files that are not of a run.
    """
    device, config, sources = pick_device(request.device), request.config, request.sources
    if request.tensorboard:
        check_events()
    if sources.unlabeled is not None and config.objective == "paper" and len(config.modalities) < 2:
        raise TrainingError(
            f"objective paper learns from unlabelled data by matching modalities, which needs two or more; got "
            f"{','.join(config.modalities)}: add a modality, choose another objective, or train supervised"
        )
    if datasets is None:
        datasets = Datasets(None if sources.exclude is None else read_exclusions(sources.exclude))
    run = TrainRun(request, load_input(config, sources.labeled, sources.unlabeled, sources.balanced, datasets), device)
    run.refuse_other()
    return run


def train(
    config: TrainConfig,
    labeled: Path,
    out: Path,
    unlabeled: Path | None = None,
    balanced: Path | None = None,
    report: FoldReport = lambda fold, row: None,
    note: Callable[[str], None] = lambda text: None,
    *,
    seeds: int = 1,
    device: str = "cpu",
    tensorboard: bool = False,
    save_seconds: float = 30.0,
    overwrite: bool = False,
) -> RunResult:
    """Train every fold and write the run folder: `plan_run` and `TrainRun.run` in one call.

    Args:
        config: hyper-parameters.
        labeled: the labelled store.
        out: the run folder.
        unlabeled: the unlabelled store; None trains supervised.
        balanced: a list of `balance-unlabeled`; None draws from all usable rows of `unlabeled`.
        report: called with the figures of every epoch.
        note: called with a sentence where a fold is reused, or trained again, and why.
        seeds: trainings of each fold, with the seeds `config.seed`, `config.seed` + 1 and so on.
        device: `cpu`, `cuda`, or `auto`: the GPU where there is one.
        tensorboard: write event files beside the CSV.
        save_seconds: between two states of an unfinished fold.
        overwrite: replace a finished run of another config or of other data that the folder holds, instead of refusing.

    Raises:
        StoreError: see `load_input`.
        TrainingError: see `load_input` and `fit`; or the semi-supervised objective has a single modality.
        UsageError: see `plan_run`.
    """
    sources = Sources(labeled, unlabeled, balanced)
    request = TrainRequest(config, sources, out, seeds, device, tensorboard, save_seconds, overwrite)
    return plan_run(request).run(report, note)


def _other_config(request: TrainRequest, held: RunResult) -> str | None:
    """How the config of the finished run in the folder differs from what is asked for; None if it does not."""
    before, now = (
        config.model_dump(mode="json") | {"seeds": seeds, "data": objective}
        for config, seeds, objective in (
            (held.config, held.seeds, held.objective),
            (request.config, request.seeds, request.objective),
        )
    )
    return ", ".join(f"{name} {before[name]} -> {now[name]}" for name in now if before[name] != now[name]) or None


def _note_data(data: TrainInput, config: TrainConfig, note: Callable[[str], None]) -> None:
    if data.caution:
        note(data.caution)
    if data.unknown:
        note(data.unknown)
    if data.exclusions is not None and data.exclusions.labels:
        note(f"{len(data.exclusions.labels)} labels are those of {data.exclusions.name}, not those of the corpus")
    if (side := data.unlabeled) is not None:
        for caution in (side.caution, pool_caution(data.labeled, side.dataset, side.norms)):
            if caution is not None:
                note(caution)
    label_of = dict(zip(data.labeled.ids, data.labeled.labels, strict=True))
    for fold in data.folds:
        if absent := sorted(set(data.labels) - {str(label_of[i]) for i in fold.train}):
            note(f"fold {fold.name}: no training utterance is labelled {' or '.join(absent)}, so no answer can be it")
    fewest = min(len(fold.train) for fold in data.folds)
    if fewest < config.batch_size and config.min_steps == 0:
        note(
            f"a training part of {fewest} utterances is smaller than a batch of {config.batch_size}: every epoch is "
            f"one step; lower it with --set batch_size={max(4, fewest // 4)}"
        )


def _excluded(dataset: Dataset) -> dict[str, int]:
    missing = sum(label is None for label in dataset.labels)
    return {**dataset.excluded, **({"no label": missing} if missing else {})}


def _rows_of(side: Unlabeled) -> UnlabeledRows:
    drawn = {row for rows in side.rows.values() for row in rows.tolist()}
    lengths = {name: len(rows) for name, rows in side.rows.items()}
    by_fold = lengths if side.is_by_fold else {}
    return UnlabeledRows(max(lengths.values()), len(drawn), side.dataset.excluded, by_fold, side.seen)
