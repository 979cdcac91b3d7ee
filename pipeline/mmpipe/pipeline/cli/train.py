"""`mmpipe train`: a cross-validated run, an experiment of the paper, or the baselines."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from mmpipe.pipeline.cli.baselines import show_baselines, show_beside
from mmpipe.pipeline.cli.command import only_checked
from mmpipe.pipeline.cli.config_for import config_for
from mmpipe.pipeline.cli.console import next_command, result
from mmpipe.pipeline.cli.experiment import show_experiment
from mmpipe.pipeline.cli.modes import ignored_assignments, one_mode, refuse_ignored, refuse_twice
from mmpipe.pipeline.cli.options import Device, Objective, Preset, SampleStores, Size, located, names, parse_slice
from mmpipe.pipeline.cli.presets import PRESET_TRAINING
from mmpipe.pipeline.cli.result_view import show_scores
from mmpipe.pipeline.cli.train_slice import show_slice_of_run
from mmpipe.pipeline.cli.train_view import show_training

__all__ = ["train"]


class _Table(StrEnum):
    """Tables of the paper that are grids of runs."""

    T4 = "4"
    T5 = "5"
    T6 = "6"
    T7 = "7"


class _Figure(StrEnum):
    """Figures of the paper that are grids of runs."""

    F6 = "6"
    F7A = "7a"
    F7B = "7b"


def train(
    labeled: Annotated[
        Path | None, typer.Option(parser=located, metavar="PATH", help="Labelled store. Default: features/iemocap.")
    ] = None,
    unlabeled: Annotated[
        Path | None, typer.Option(parser=located, metavar="PATH", help="Unlabelled store. Default: features/ami.")
    ] = None,
    balanced: Annotated[Path | None, typer.Option(help="Balanced list. Default: balanced/STORE.parquet.")] = None,
    supervised: Annotated[bool, typer.Option("--supervised", help="Use the labelled store alone.")] = False,
    table_: Annotated[_Table | None, typer.Option("--table", help="Run the grid of this table of the paper.")] = None,
    figure: Annotated[_Figure | None, typer.Option(help="Run the grid of this figure of the paper.")] = None,
    baselines: Annotated[bool, typer.Option("--baselines", help="Score the baselines on the same folds.")] = False,
    compare: Annotated[
        Path | None, typer.Option(help="With --baselines: a finished run to score them beside, as it was trained.")
    ] = None,
    exclude: Annotated[
        Path | None, typer.Option(help="List of `mmpipe browse`: leave out what is bad, take corrected labels.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder. Default: named by what it holds.")] = None,
    sample: SampleStores = False,
    objective: Annotated[
        Objective | None,
        typer.Option(help="What is learnt from unlabelled data. Default: paper for size paper, else both others."),
    ] = None,
    size: Annotated[
        Size | None, typer.Option(help="paper (table 3, the default) or small, for laptops and small corpora.")
    ] = None,
    preset: Annotated[
        Preset | None, typer.Option(help="paper: the paper's hyper-parameters. Other options and --set come before it.")
    ] = None,
    set_: Annotated[list[str], typer.Option("--set", help="A hyper-parameter: NAME=VALUE. Repeatable.")] = [],  # noqa: B006
    modalities: Annotated[
        str | None, typer.Option(help="Any of a, v, l, comma-separated. Default: those that the stores have.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Decides every random choice. Default: 0.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of every fold: SEED, SEED + 1, ...")] = 1,
    device: Annotated[Device, typer.Option(help="Where the model runs.")] = Device.AUTO,
    slice_: Annotated[
        str | None, typer.Option("--slice", help="I/N: the I-th of N jobs that share the folds of a run or grid.")
    ] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write event files beside the CSV.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a finished run that differs from this one.")
    ] = False,
) -> None:
    """Train the paper's model, cross-validated over held-out speakers, or an experiment of the paper."""
    from mmpipe.pipeline.cli.settings import parse_hyper_parameters
    from mmpipe.pipeline.hardware import pick_device
    from mmpipe.pipeline.training.experiments.paper import EXPERIMENTS
    from mmpipe.pipeline.training.requests import find_store
    from mmpipe.pipeline.training.usage import UNUSED_BY_BASELINES, UNUSED_SUPERVISED, unused_by_grid

    one_mode({"--table": table_, "--figure": figure, "--baselines": baselines})
    assigned = parse_hyper_parameters(set_)
    given = {
        "seed": seed,
        "size": size and size.value,
        "objective": objective and objective.value,
        "modalities": modalities and tuple(names(modalities)),
    }
    refuse_twice(given, assigned)
    chosen = PRESET_TRAINING[preset] if preset else {}
    chosen = chosen | {name: value for name, value in given.items() if value is not None}
    of_unlabeled = {"--unlabeled": unlabeled, "--balanced": balanced}
    of_runs = {"--supervised": supervised, "--tensorboard": tensorboard}
    if not baselines:
        refuse_ignored("without --baselines", {"--compare": compare})
    shared: dict[str, Any] = {"sample": sample, "seeds": seeds, "device": pick_device(device.value)}
    part = None if slice_ is None else parse_slice(slice_)
    if table_ or figure:
        name = f"table-{table_.value}" if table_ else f"figure-{figure.value}" if figure else ""
        experiment = EXPERIMENTS[name]
        refuse_ignored(
            f"with --{name.replace('-', ' ')}",
            of_runs
            | ({} if any(cell.semi for cell in experiment.cells) else of_unlabeled)
            | {
                "--modalities": modalities,
                "--objective": objective,
                **ignored_assignments(assigned, unused_by_grid(experiment)),
            },
        )
        show_experiment(
            name,
            labeled,
            unlabeled,
            balanced,
            out,
            exclude=exclude,
            chosen=chosen,
            assigned=assigned,
            overwrite=overwrite,
            part=part,
            **shared,
        )
    elif baselines:
        refuse_ignored(
            "with --baselines",
            of_runs
            | of_unlabeled
            | {
                "--size": size,
                "--objective": objective,
                "--preset": preset,
                "--slice": slice_,
                **ignored_assignments(assigned, UNUSED_BY_BASELINES),
            },
        )
        if compare is None:
            _baselines(labeled, out, exclude=exclude, chosen=chosen, assigned=assigned, overwrite=overwrite, **shared)
        else:
            fixed = {
                "--exclude": exclude,
                "--out": out,
                "--seeds": seeds if seeds > 1 else None,
                **{f"--{n}": v for n, v in given.items()},
            }
            refuse_ignored("with --compare", fixed | {f"--set {name}": True for name in assigned})
            store = find_store(labeled, "iemocap", sample=sample)
            show_beside(compare, store, device=shared["device"], overwrite=overwrite)
    else:
        if supervised:
            refuse_ignored("with --supervised", of_unlabeled | ignored_assignments(assigned, UNUSED_SUPERVISED))
        _run(
            labeled,
            unlabeled,
            balanced,
            out,
            exclude=exclude,
            supervised=supervised,
            tensorboard=tensorboard,
            overwrite=overwrite,
            chosen=chosen,
            assigned=assigned,
            part=part,
            **shared,
        )


def _run(
    labeled: Path | None,
    unlabeled: Path | None,
    balanced: Path | None,
    out: Path | None,
    *,
    exclude: Path | None,
    supervised: bool,
    tensorboard: bool,
    overwrite: bool,
    chosen: Mapping[str, Any],
    assigned: Mapping[str, Any],
    part: tuple[int, int] | None,
    sample: bool,
    seeds: int,
    device: str,
) -> None:
    """One cross-validated run."""
    from mmpipe.pipeline.cli.settings import training_config
    from mmpipe.pipeline.training.requests import TrainRequest, default_run, find_sources

    if tensorboard:
        from mmpipe.pipeline.training.records import check_events

        check_events()
    simple = {name: value for name, value in assigned.items() if value != "auto"}
    paper = training_config(simple, sample=sample, **chosen).objective == "paper"
    sources = find_sources(
        labeled, unlabeled, balanced, semi=not supervised, sample=sample, list_needed=paper, exclude=exclude
    )
    read = [sources.labeled, *([sources.unlabeled] if sources.unlabeled else [])]
    config = config_for(assigned, chosen, read, sample=sample)
    target = out or default_run(config, sources, seeds)
    request = TrainRequest(config, sources, target, seeds, device, tensorboard, overwrite=overwrite)
    if only_checked(request):
        return
    if part is not None:
        if show_slice_of_run(request, part):
            show_scores([target])
        return
    show_training(request)
    result(f"Run: {target}")
    stores = [sources.labeled, *([unlabeled] if unlabeled else [])]
    next_command(" ".join(["mmpipe report", *map(str, stores), "--run", str(target)]))


def _baselines(
    labeled: Path | None,
    out: Path | None,
    *,
    exclude: Path | None,
    chosen: Mapping[str, Any],
    assigned: Mapping[str, Any],
    overwrite: bool,
    sample: bool,
    seeds: int,
    device: str,
) -> None:
    """The baselines on the folds of a run."""
    from mmpipe.pipeline.training.requests import find_store

    store = find_store(labeled, "iemocap", sample=sample)
    config = config_for(assigned, chosen, [store], sample=sample)
    folder = out or Path("runs")
    show_baselines(config, store, folder, seeds=seeds, device=device, overwrite=overwrite, exclude=exclude)
