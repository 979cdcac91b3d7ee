"""`mmpipe balance-unlabeled`: pseudo-labels and a balanced list of an unlabelled store."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmpipe.pipeline.cli.config_for import config_for
from mmpipe.pipeline.cli.console import console, next_command, result
from mmpipe.pipeline.cli.modes import ignored_assignments, refuse_ignored, refuse_twice
from mmpipe.pipeline.cli.options import Device, Overwrite, SampleStores, Size, located, names
from mmpipe.pipeline.cli.result_view import show_balance_result

if TYPE_CHECKING:
    from mmpipe.pipeline.balancing.draw import DrawOptions
    from mmpipe.pipeline.balancing.results import BalanceResult
    from mmpipe.pipeline.training.config import TrainConfig

__all__ = ["balance_unlabeled", "show_balancing"]


_CLASSIFIER = {"size": "small", "ensemble": 1}
"""The classifiers that are trained unless options say otherwise; docs/training.md compares them with size `paper`."""


class _Choose(StrEnum):
    """Which utterances of a class are drawn first."""

    RANDOM = "random"
    CONFIDENT = "confident"


def balance_unlabeled(
    labeled: Annotated[
        Path | None, typer.Option(parser=located, metavar="PATH", help="Labelled store. Default: features/iemocap.")
    ] = None,
    unlabeled: Annotated[
        Path | None, typer.Option(parser=located, metavar="PATH", help="Unlabelled store. Default: features/ami.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The balanced list. Default: balanced/STORE.parquet.")] = None,
    classifier: Annotated[
        Path | None, typer.Option(help="A run of mmpipe train whose models label. Default: classifiers are trained.")
    ] = None,
    once: Annotated[
        bool,
        typer.Option(
            "--once/--per-fold", help="One list for all folds, as in the paper: it saw test speakers. Or one for each."
        ),
    ] = False,
    pool: Annotated[
        int | None, typer.Option(min=1, help="Utterances to label, or all of fewer. Default: 20,000.")
    ] = None,
    per_class: Annotated[
        list[str],
        typer.Option(help="Draws of each class: NUMBER or SHARE% of the pool; LABEL=... of one class. Repeatable."),
    ] = [],  # noqa: B006
    min_probability: Annotated[float, typer.Option(help="Leave out less probable pseudo-labels.")] = 0.0,
    choose: Annotated[_Choose, typer.Option(help="What is drawn first: any, or the most probable.")] = _Choose.RANDOM,
    max_per_speaker: Annotated[
        int | None, typer.Option(min=1, help="Utterances of a speaker in a class, at most.")
    ] = None,
    max_per_session: Annotated[
        int | None, typer.Option(min=1, help="Utterances of a session in a class, at most.")
    ] = None,
    sample: SampleStores = False,
    size: Annotated[Size | None, typer.Option(help="Size of the classifiers. Default: small.")] = None,
    set_: Annotated[list[str], typer.Option("--set", help="A hyper-parameter: NAME=VALUE. Repeatable.")] = [],  # noqa: B006
    modalities: Annotated[
        str | None, typer.Option(help="Any of a, v, l, comma-separated. Default: those that both stores have.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Decides every random choice. Default: 0.")] = None,
    overwrite: Overwrite = False,
    device: Annotated[Device, typer.Option(help="Where the classifiers run.")] = Device.AUTO,
) -> None:
    """Label the unlabelled store with classifiers and draw a list with equal classes for each fold."""
    from mmpipe.pipeline.balancing.draw import DrawOptions, parse_targets
    from mmpipe.pipeline.cli.settings import parse_hyper_parameters
    from mmpipe.pipeline.hardware import pick_device
    from mmpipe.pipeline.training.config import make_config
    from mmpipe.pipeline.training.requests import balanced_path, find_store
    from mmpipe.pipeline.training.usage import UNUSED_BY_BALANCING

    if classifier is not None:
        refuse_ignored("with --classifier", {"--set": set_, "--size": size, "--modalities": modalities})
    assigned = parse_hyper_parameters(set_)
    given = {"seed": seed, "size": size and size.value, "modalities": modalities and tuple(names(modalities))}
    refuse_twice(given, assigned)
    refuse_ignored("on the classifiers", ignored_assignments(assigned, UNUSED_BY_BALANCING))
    usual, of_class = parse_targets(per_class)
    draws = DrawOptions(pool, usual, of_class, min_probability, choose.value, max_per_speaker, max_per_session)
    draws.check()
    chosen = pick_device(device.value)
    stores = find_store(labeled, "iemocap", sample=sample), find_store(unlabeled, "ami", sample=sample)
    if classifier is None:
        values = {name: value for name, value in given.items() if value is not None}
        config = config_for(assigned, _CLASSIFIER | values, stores, sample=sample)
    else:
        config = make_config(seed=seed or 0)
    target = out or balanced_path(stores[1])
    done = show_balancing(
        *stores, target, config, draws, classifier=classifier, once=once, device=chosen, overwrite=overwrite
    )
    result(f"{sum(done.after.values())} utterances in {done.path}")
    options: dict[str, Any] = {"--labeled": labeled, "--unlabeled": unlabeled, "--balanced": out and done.path}
    options |= {"--size": size and size.value, "--modalities": modalities}
    options |= {"--set": done.protocol != "auto" and f"protocol={done.protocol}", "--seed": done.fold_seed or None}
    words = [f"{name} {value}" for name, value in options.items() if value]
    next_command(" ".join(["mmpipe train", *words, *["--sample"] * sample]))


def show_balancing(
    labeled: Path,
    unlabeled: Path,
    out: Path,
    config: TrainConfig,
    draws: DrawOptions | None = None,
    *,
    classifier: Path | None = None,
    once: bool = False,
    device: str = "cpu",
    overwrite: bool = False,
) -> BalanceResult:
    """Balance, show progress and the counts before and after. The arguments are those of `balance`."""
    from mmpipe.pipeline.balancing.pseudo_labels import balance
    from mmpipe.pipeline.cli.progress import progress
    from mmpipe.pipeline.hardware import use_threads
    from mmpipe.pipeline.training.run_folder import read_run

    kind = f"trained on {labeled}" if classifier is None else f"of {classifier}"
    single = once and classifier is None
    console.print(
        f"{'A classifier' if single else 'Classifiers'} {kind} {'labels' if single else 'label'} {unlabeled} -> {out}"
    )
    use_threads((config if classifier is None else read_run(classifier, check_files=False).config).threads)
    with progress("step") as bars:
        bar = bars.add_task("classifier", total=None)
        done = balance(
            labeled,
            unlabeled,
            out,
            config,
            draws,
            classifier=classifier,
            once=once,
            progress=lambda step, total, what: bars.update(bar, completed=step, total=total, description=what),
            device=device,
            overwrite=overwrite,
        )
    show_balance_result(done)
    return done
