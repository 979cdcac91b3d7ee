"""`mmpipe balance-unlabeled` and `mmpipe train`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmpipe.manifests.errors import UsageError
from mmpipe.manifests.splits import folds
from mmpipe.pipeline.balance import Balanced, balance
from mmpipe.pipeline.config import parse_assignments
from mmpipe.pipeline.console import console, progress, table
from mmpipe.pipeline.store import FeatureStore
from mmpipe.pipeline.train.config import TrainConfig, make_config
from mmpipe.pipeline.train.run import train

__all__ = ["run_balance", "run_train", "show_scores"]


def _store(given: Path | None, name: str, *, sample: bool) -> Path:
    path = given or Path("features") / (f"{name}-sample" if sample else name)
    if not path.is_dir():
        flag = " --sample" if sample else ""
        raise UsageError(
            f"the feature store {path} does not exist: make it with `mmpipe extract --dataset {name}{flag}`"
        )
    return path


def _balanced_path(unlabeled: Path) -> Path:
    return Path("balanced") / f"{unlabeled.name}.parquet"


def _config(assignments: Sequence[str], sample: bool, **values: Any) -> TrainConfig:
    from mmpipe.pipeline.demo import SAMPLE_TRAINING

    given = parse_assignments(f"train.{text}" for text in assignments).get("train", {})
    return make_config(**((SAMPLE_TRAINING if sample else {}) | values | given))


def _use_threads(config: TrainConfig) -> None:
    """All cores; one where the network is too small to share out its matrices."""
    import torch

    from mmpipe.pipeline.engines.local import available_cores

    torch.set_num_threads(1 if config.size == "small" else available_cores())


def run_balance(
    labeled: Path | None,
    unlabeled: Path | None,
    out: Path | None,
    *,
    per_class: int | None = None,
    sample: bool = False,
    seed: int = 0,
    config: TrainConfig | None = None,
) -> Balanced:
    """Balance and show the counts before and after. The arguments are the options of the command."""
    labeled, unlabeled = _store(labeled, "iemocap", sample=sample), _store(unlabeled, "ami", sample=sample)
    config = config or _config([], sample, seed=seed)
    target = out or _balanced_path(unlabeled)
    console.print(f"A classifier trained on {labeled} labels {unlabeled} -> {target}")
    _use_threads(config)
    with progress("epoch") as bars:
        bar = bars.add_task("classifier", total=config.epochs)
        done = balance(labeled, unlabeled, target, config, per_class=per_class, report=lambda row: bars.advance(bar))
    table(
        "Pseudo-labels",
        ["label", "before", "after"],
        ((name, done.before[name], done.after[name]) for name in done.labels),
    )
    console.print(
        f"The classifier ({','.join(done.modalities)}) reaches {100 * done.valid_ua:.1f} % UA on the speaker who chose "
        f"its epoch; {sum(done.excluded.values())} utterances lack a modality and are left out"
    )
    if absent := [name for name, count in done.after.items() if count == 0]:
        console.print(f"[yellow]No utterance was labelled {', '.join(absent)}[/]: the list cannot hold any")
    return done


def run_train(
    labeled: Path | None,
    unlabeled: Path | None,
    balanced: Path | None,
    out: Path | None,
    *,
    supervised: bool = False,
    sample: bool = False,
    assignments: Sequence[str] = (),
    modalities: Sequence[str] = ("a", "v", "l"),
    seed: int = 0,
    config: TrainConfig | None = None,
) -> Path:
    """Train, show the figures, return the run folder. The arguments are the options of the command."""
    labeled = _store(labeled, "iemocap", sample=sample)
    if supervised and (unlabeled or balanced):
        raise UsageError("--supervised uses the labelled store alone: leave out --unlabeled and --balanced")
    if not supervised:
        unlabeled = _store(unlabeled, "ami", sample=sample)
        balanced = balanced or _balanced_path(unlabeled)
        if not balanced.is_file():
            raise UsageError(
                f"the balanced list {balanced} does not exist: make it with `mmpipe balance-unlabeled`, "
                "or give --supervised"
            )
    config = config or _config(assignments, sample, modalities=tuple(modalities), seed=seed)
    target = out or Path("runs") / f"{labeled.name}-{'supervised' if supervised else 'semi'}"
    console.print(f"{labeled}{'' if supervised else f' with {unlabeled} ({balanced})'} -> {target}")
    _use_threads(config)
    with progress("epoch") as bars:
        bar = bars.add_task(
            "training", total=config.epochs * len(folds(FeatureStore(labeled).manifest(), config.protocol))
        )

        def report(fold: str, row: dict[str, float]) -> None:
            bars.update(bar, advance=1, description=f"{fold} {row['train_loss']:.2f}")

        result = train(config, labeled, target, unlabeled, balanced, report, bars.console.print)
    show_scores([target])
    for reason, count in result["excluded"].items():
        console.print(f"[yellow]{count} utterances left out[/]: {reason}")
    return target


def show_scores(runs: Sequence[Path]) -> None:
    """A table of runs, pooled over the test utterances of all folds."""
    results = [json.loads((run / "run.json").read_text(encoding="utf-8")) for run in runs]
    metrics = {"wap": "WAP", "ua": "UA", "weighted_f1": "weighted F1", "macro_f1": "macro F1"}
    table(
        "Pooled over held-out speakers (per cent)",
        ["run", "utterances", *metrics.values()],
        ((r["name"], r["pooled"]["n"], *(f"{100 * r['pooled'][name]:.1f}" for name in metrics)) for r in results),
    )
