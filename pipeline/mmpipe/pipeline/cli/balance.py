"""`mmpipe balance-unlabeled`: pseudo-labels and a balanced list of an unlabelled store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmpipe.pipeline.cli.console import console, next_command, result, styled, table
from mmpipe.pipeline.cli.options import Device, Overwrite, SampleStores, Seed, located

if TYPE_CHECKING:
    from mmpipe.pipeline.balancing.pseudo_labels import BalanceResult
    from mmpipe.pipeline.training.config import TrainConfig

__all__ = ["balance_unlabeled", "show_balancing"]


def balance_unlabeled(
    labeled: Annotated[
        Path | None, typer.Option(parser=located, metavar="PATH", help="Labelled store. Default: features/iemocap.")
    ] = None,
    unlabeled: Annotated[
        Path | None, typer.Option(parser=located, metavar="PATH", help="Unlabelled store. Default: features/ami.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The balanced list. Default: balanced/STORE.parquet.")] = None,
    per_class: Annotated[int | None, typer.Option(min=1, help="Samples of each class.")] = None,
    sample: SampleStores = False,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    device: Annotated[Device, typer.Option(help="Where the classifier runs.")] = Device.AUTO,
) -> None:
    """Label the unlabelled store with a vanilla classifier and draw a list with equal classes."""
    from mmpipe.pipeline.cli.settings import training_config
    from mmpipe.pipeline.hardware import pick_device
    from mmpipe.pipeline.training.requests import balanced_path, find_store

    chosen = pick_device(device.value)
    stores = find_store(labeled, "iemocap", sample=sample), find_store(unlabeled, "ami", sample=sample)
    config = training_config({}, sample=sample, seed=seed)
    target = out or balanced_path(stores[1])
    done = show_balancing(*stores, target, config, per_class=per_class, device=chosen, overwrite=overwrite)
    result(f"{sum(done.after.values())} utterances in {done.path}")
    options = {"--labeled": labeled, "--unlabeled": unlabeled, "--balanced": out and done.path}
    next_command(" ".join(["mmpipe train", *(f"{k} {v}" for k, v in options.items() if v), *["--sample"] * sample]))


def show_balancing(
    labeled: Path,
    unlabeled: Path,
    out: Path,
    config: TrainConfig,
    *,
    per_class: int | None = None,
    device: str = "cpu",
    overwrite: bool = False,
) -> BalanceResult:
    """Balance, show progress and the counts before and after. The arguments are those of `balance`."""
    from mmpipe.pipeline.balancing.pseudo_labels import balance
    from mmpipe.pipeline.cli.progress import progress
    from mmpipe.pipeline.hardware import use_threads

    console.print(f"A classifier trained on {labeled} labels {unlabeled} -> {out}")
    use_threads(config.threads)
    with progress("epoch") as bars:
        bar = bars.add_task("classifier", total=config.epochs)
        done = balance(
            labeled,
            unlabeled,
            out,
            config,
            per_class=per_class,
            report=lambda row: bars.advance(bar),
            device=device,
            overwrite=overwrite,
        )
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
        console.print(styled("[yellow]No utterance was labelled {}[/]: the list cannot hold any", ", ".join(absent)))
    return done
