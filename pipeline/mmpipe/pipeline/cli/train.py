"""`mmpipe balance-unlabeled` and `mmpipe train`: runs, experiments of the paper, baselines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmpipe.core.errors import UsageError
from mmpipe.pipeline.balancing.pseudo_labels import Balanced, balance
from mmpipe.pipeline.cli.console import console, progress, table
from mmpipe.pipeline.cli.settings import parse_assignments
from mmpipe.pipeline.hardware import available_cores, pick_device, use_threads
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.training.config import TrainConfig, make_config
from mmpipe.pipeline.training.data.inputs import load_input
from mmpipe.pipeline.training.estimate import estimate_seconds
from mmpipe.pipeline.training.metrics import METRICS
from mmpipe.pipeline.training.run import train

__all__ = ["run_balance", "run_baselines", "run_experiment", "run_train", "show_scores"]


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
    from mmpipe.pipeline.cli.demo import SAMPLE_TRAINING

    given = parse_assignments(f"train.{text}" for text in assignments).get("train", {})
    return make_config(**((SAMPLE_TRAINING if sample else {}) | values | given))


def _use_threads(config: TrainConfig) -> None:
    """All cores; one where the network is too small to share out its matrices."""
    use_threads(1 if config.size == "small" else available_cores())


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


@dataclass(frozen=True)
class Sources:
    """The stores of a run; `unlabeled` and `balanced` are None for a supervised one."""

    labeled: Path
    unlabeled: Path | None
    balanced: Path | None


def find_sources(
    labeled: Path | None, unlabeled: Path | None, balanced: Path | None, *, semi: bool, sample: bool, corpus: str
) -> Sources:
    """The stores that options name, or the default ones.

    Raises:
        UsageError: one does not exist; or a supervised run names unlabelled data.
    """
    labeled = _store(labeled, corpus, sample=sample)
    if not semi:
        if unlabeled or balanced:
            raise UsageError("--supervised uses the labelled store alone: leave out --unlabeled and --balanced")
        return Sources(labeled, None, None)
    unlabeled = _store(unlabeled, "ami", sample=sample)
    balanced = balanced or _balanced_path(unlabeled)
    if not balanced.is_file():
        raise UsageError(
            f"the balanced list {balanced} does not exist: make it with `mmpipe balance-unlabeled`, "
            "or give --supervised"
        )
    return Sources(labeled, unlabeled, balanced)


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
    seeds: int = 1,
    size: str | None = None,
    device: str = "cpu",
    tensorboard: bool = False,
    config: TrainConfig | None = None,
) -> Path:
    """Train, show the figures, return the run folder. The arguments are the options of the command."""
    found = find_sources(labeled, unlabeled, balanced, semi=not supervised, sample=sample, corpus="iemocap")
    sized = {"size": size} if size else {}
    config = config or _config(assignments, sample, modalities=tuple(modalities), seed=seed, **sized)
    target = out or Path("runs") / f"{found.labeled.name}-{'supervised' if supervised else 'semi'}"
    beside = "" if supervised else f" with {found.unlabeled} ({found.balanced})"
    console.print(f"{found.labeled}{beside} -> {target}")
    _use_threads(config)
    data = load_input(config, found.labeled, found.unlabeled, found.balanced)
    _show_estimate(estimate_seconds(config, data, seeds, pick_device(device)))
    with progress("epoch") as bars:
        bar = bars.add_task("training", total=config.epochs * len(data.folds) * seeds)

        def report(fold: str, row: dict[str, float]) -> None:
            bars.update(bar, advance=1, description=f"{fold} {row['train_loss']:.2f}")

        result = train(
            config,
            found.labeled,
            target,
            found.unlabeled,
            found.balanced,
            report,
            bars.console.print,
            seeds=seeds,
            device=pick_device(device),
            tensorboard=tensorboard,
        )
        bars.update(bar, completed=config.epochs * len(data.folds) * seeds)
    show_scores([target])
    for reason, count in result["excluded"].items():
        console.print(f"[yellow]{count} utterances left out[/]: {reason}")
    return target


def _show_estimate(seconds: float) -> None:
    text = f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"
    console.print(f"About {text} of training steps, by three of them; folds that are done already take none")


def run_experiment(
    name: str,
    labeled: Path | None,
    unlabeled: Path | None,
    balanced: Path | None,
    out: Path | None,
    *,
    sample: bool = False,
    assignments: Sequence[str] = (),
    seed: int = 0,
    seeds: int = 1,
    size: str | None = None,
    device: str = "auto",
) -> Path:
    """Run the grid of a table or figure of the paper, show and write it; the path of its Markdown."""
    from mmpipe.pipeline.training.experiments.grid import Grid, find_experiment, run_grid, table_rows

    experiment = find_experiment(name)
    semi = any(cell.semi for cell in experiment.cells)
    corpus = experiment.corpus
    found = find_sources(labeled, unlabeled, balanced, semi=semi, sample=sample, corpus=corpus)
    protocol = {"protocol": "iemocap-5"} if FeatureStore(found.labeled).corpus == "iemocap" else {}
    sized = {"size": size} if size else {}
    base = _config(assignments, sample, **experiment.changes, **protocol, seed=seed, **sized)
    target = out or Path("runs") / f"{found.labeled.name}-experiments"
    grid = Grid(name, base, found.labeled, found.unlabeled, found.balanced, target)
    _use_threads(base)
    chosen, seconds, epochs = pick_device(device), 0.0, 0
    with console.status("estimating"):
        for cell in experiment.cells:
            config, semi = grid.config(cell), cell.semi
            stores = (found.unlabeled, found.balanced) if semi else (None, None)
            data = load_input(config, found.labeled, *stores)
            seconds += estimate_seconds(config, data, seeds, chosen)
            epochs += config.epochs * len(data.folds) * seeds
    console.print(f"{name}: {len(experiment.cells)} runs on {found.labeled} -> {target}")
    _show_estimate(seconds)
    with progress("epoch") as bars:
        bar = bars.add_task(name, total=epochs)

        def report(fold: str, row: dict[str, float]) -> None:
            bars.update(bar, advance=1, description=f"{fold} {row['train_loss']:.2f}")

        results = run_grid(grid, report, bars.console.print, seeds=seeds, device=chosen)
        bars.update(bar, completed=epochs)
    header, rows = table_rows(experiment, results)
    table(f"{experiment.title} (per cent)", header, rows)
    return target / f"{name}.md"


def run_baselines(
    labeled: Path | None,
    out: Path | None,
    *,
    sample: bool = False,
    assignments: Sequence[str] = (),
    modalities: Sequence[str] = ("a", "v", "l"),
    seed: int = 0,
    seeds: int = 1,
) -> Path:
    """Score the baselines on the folds of a run, show and write them; the path of the CSV."""
    from mmpipe.pipeline.training.baselines import BASELINES, score_baselines, write_baselines

    labeled = _store(labeled, "iemocap", sample=sample)
    config = _config(assignments, sample, modalities=tuple(modalities), seed=seed)
    _use_threads(config)
    data = load_input(config, labeled)
    with progress("fit") as bars:
        bar = bars.add_task("baselines", total=len(BASELINES) * len(data.folds) * seeds)
        scores = score_baselines(config, data, seeds, lambda name: bars.update(bar, advance=1, description=name))
    target = (out or Path("runs")) / f"{labeled.name}-baselines.csv"
    write_baselines(target, scores)
    table(
        "Baselines (per cent)",
        ["baseline", *METRICS.values()],
        (
            (name, *(f"{100 * s[m]['mean']:.1f} ± {100 * s[m]['std']:.1f}" for m in METRICS))
            for name, s in scores.items()
        ),
    )
    return target


def show_scores(runs: Sequence[Path]) -> None:
    """A table of runs, pooled over the test utterances of all folds, with 95 % intervals."""
    results = [json.loads((run / "run.json").read_text(encoding="utf-8")) for run in runs]
    table(
        "Pooled over held-out speakers (per cent, [95 % interval])",
        ["run", "utterances", *METRICS.values()],
        ((r["name"], r["pooled"]["n"], *(_interval(r["summary"][name]) for name in METRICS)) for r in results),
    )


def _interval(figures: dict[str, float]) -> str:
    mean, low, high = (100 * figures[name] for name in ("mean", "low", "high"))
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]"
