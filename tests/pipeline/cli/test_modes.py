"""An option that the mode of a command ignores is refused in one line, before anything is read or written."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from mmpipe.core.errors import MmpipeError, UsageError
from mmpipe.manifests.io import FOLLOW_LINKS
from mmpipe.pipeline.cli.app import app

from ..training.conftest import make_store

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]

WINDOWS = ["--crop 3.5", "--num-crops 5", "--seed 1", "--max-overlap 0.5", "--spread uniform"]

IGNORED: list[tuple[str, str, list[str]]] = [
    ("demo", "", []),
    ("run clips", "", ["--set faces.every=5 --stages audio"]),
    (
        "run clips",
        "without --utterances crop",
        WINDOWS,
    ),
    ("run clips", "without --table", ["--column label=Emotion"]),
    ("manifest meld --sample", "without --check", ["--strict"]),
    (
        "manifest folder --root clips",
        "without --utterances crop",
        [*WINDOWS, "--set num_crops=5"],
    ),
    ("manifest folder --root clips --utterances cue", "without --utterances crop", ["--num-crops 5"]),
    ("manifest folder --root clips", "without --table", ["--column label=Emotion"]),
    ("extract -d meld --sample --dry-run", "with --dry-run", ["--max-failures 3", "--strict", "--engine ray"]),
    ("extract -d meld --sample", "with --engine local", ["--address 127.0.0.1:6379", "--gpu-share 0.5"]),
    (
        "extract -d meld --sample --plan-only",
        "with --plan-only",
        [
            "--workers 2",
            "--retry-failed",
            "--accept-missing",
            "--max-failures 3",
            "--strict",
            "--slice 1/2",
            "--engine ray",
        ],
    ),
    ("extract -d folder --root clips", "without --utterances crop", WINDOWS),
    ("extract -d folder --root clips", "without --table", ["--column label=Emotion"]),
    ("extract -d meld --sample --stages audio", "", ["--set faces.every=5"]),
    ("extract -d meld --sample", "with a corpus on a disk of this machine", ["--media-cache 1GB"]),
    ("extract -d meld --root s3://b/meld", "without --media-cache", ["--media-cache-folder c"]),
    ("inspect store --utterance x", "with --utterance or --faces", ["--json"]),
    ("inspect store --faces a.png", "with --utterance or --faces", ["--json"]),
    ("inspect store", "without --missing", ["--slices 4", "--csv"]),
    ("inspect store --verify", "without --missing", ["--slices 4", "--csv"]),
    ("inspect store", "without --utterance", ["--strip a.png", "--clip a.mp4"]),
    ("inspect store --verify", "without --utterance", ["--strip a.png", "--clip a.mp4"]),
    ("inspect store --faces a.png", "without --utterance", ["--strip b.png", "--clip b.mp4"]),
    ("inspect store", "without --faces, --strip or --clip", ["--overwrite"]),
    ("inspect store --verify", "without --faces, --strip or --clip", ["--overwrite"]),
    ("inspect store --utterance x", "without --faces, --strip or --clip", ["--overwrite"]),
    *(
        (f"inspect store{mode}", "without --clip or --faces", ["--root r", "--sample", "--config c.toml"])
        for mode in ("", " --verify", " --json", " --utterance x", " --utterance x --strip a.png")
    ),
    ("export store", "", []),
    (
        "balance-unlabeled",
        "on the classifiers",
        [f"--set {x}" for x in ("alpha=1", "beta=1", "omega=1", "matching='hsic'", "kernels=[1]", "unlabeled_rows=8")],
    ),
    (
        "balance-unlabeled --classifier run",
        "with --classifier",
        ["--set epochs=3", "--size small", "--modalities a"],
    ),
    (
        "balance-unlabeled --labeled STORE --unlabeled STORE --modalities a",
        "with modalities a",
        ["--set faces=8", "--set dropout=0"],
    ),
    ("train --supervised", "with --supervised", ["--unlabeled x", "--balanced x"]),
    ("train --supervised", "with --supervised", ["--set omega=1", "--set unlabeled_rows=8"]),
    *(
        (
            f"train --{grid}",
            f"with --{grid}",
            ["--supervised", "--modalities a", "--tensorboard", "--set modalities=['a']"],
        )
        for grid in ("table 4", "table 5", "table 6", "table 7", "figure 6", "figure 7a", "figure 7b")
    ),
    (
        "train --table 4",
        "with --table 4",
        ["--unlabeled x", "--balanced x", "--set omega=1", "--set unlabeled_rows=8"],
    ),
    ("train --table 6", "with --table 6", ["--set faces=9"]),  # MELD: no cell looks at faces
    (
        "train --baselines",
        "with --baselines",
        [
            "--supervised",
            "--unlabeled x",
            "--balanced x",
            "--tensorboard",
            "--size small",
            "--preset paper",
            "--slice 1/2",
        ],
    ),
    (
        "train --baselines",
        "with --baselines",
        [f"--set {x}" for x in ("size='small'", "alpha=1", "beta=1", "omega=1", "unlabeled_rows=8", "matching='hsic'")],
    ),
    (
        "train --baselines",
        "with --baselines",
        ["--set bandwidth=1", "--set kernels=[1]", "--set dropout=0.2"],
    ),
    (
        "train --baselines --compare run",
        "with --compare",
        ["--out x", "--seed 1", "--seeds 2", "--modalities a", "--set epochs=1", "--exclude x"],
    ),
    *((f"train{mode}", "without --baselines", ["--compare run"]) for mode in ("", " --supervised", " --table 4")),
    ("train --table 4", "with --table 4", ["--objective paper", "--set objective=paper"]),
    ("train --baselines", "with --baselines", ["--objective paper", "--set objective=paper"]),
    ("train --supervised", "with --supervised", ["--set threshold=0.5", "--set teacher_share=1"]),
    (
        "train --supervised --labeled STORE --modalities a,l --size small",
        "with objective self-train+consistency",
        ["--set matching=hsic"],
    ),
    ("train --supervised --labeled STORE --modalities a", "with modalities a", ["--set faces=8", "--set words=auto"]),
    ("train --supervised --labeled STORE --modalities a", "with modalities a", ["--set dropout=0", "--set beta=1"]),
    ("train --supervised --labeled STORE --modalities v", "with modalities v", ["--set words=8", "--set kernels=[1]"]),
    ("train --supervised --labeled STORE --modalities a,l", "with modalities a,l", ["--set faces=8"]),
    ("train --baselines --labeled STORE --modalities a,v", "with modalities a,v", ["--set words=8"]),
    ("evaluate run --store store", "without --out", ["--overwrite"]),
    ("predict run clip.wav", "", []),
    ("report m.parquet", "without a feature store", ["--sample", "--config c.toml"]),
    (
        "train-face --data d --evaluate test",
        "with --evaluate",
        ["--out w", "--epochs 3", "--start w", "--as-published", "--seed 0", "--overwrite", "--set peak_rate=1"],
    ),
    ("train-face --data d --out w", "without --evaluate", ["--weights v", "--flip"]),
]
"""A command in a mode, the mode in the words of the message, and what it ignores; a message of its own has no words."""

EXCLUSIVE = [
    ("extract -d meld --sample", "--dry-run --plan-only"),
    ("extract -d meld --sample", "--max-failures 3 --strict"),
    *(("inspect store", f"{a} {b}") for a, b in (("--utterance x", "--faces a.png"), ("--faces a.png", "--verify"))),
    *(("inspect store", f"{a} --missing") for a in ("--utterance x", "--faces a.png", "--verify")),
    ("inspect store --missing", "--json --csv"),
    ("inspect store", "--utterance x --verify"),
    ("inspect store --faces a.png", "--root r --sample"),
    ("inspect store --utterance x --clip a.mp4", "--root r --config c.toml"),
    ("inspect store --utterance x --clip a.mp4", "--sample --config c.toml"),
    *(("train", f"{a} {b}") for a, b in (("--table 4", "--figure 6"), ("--table 4", "--baselines"))),
    ("train", "--figure 6 --baselines"),
    ("predict run clip.wav", "--text x --vtt x.vtt"),
    ("report store", "--sample --config c.toml"),
    ("browse store", "--root r --sample"),
    ("browse store", "--root r --config c.toml"),
    ("browse store", "--sample --config c.toml"),
]
"""Options of which the second would be ignored."""

TWICE = [
    *(("train", f"--{name} {value}", name, value) for name, value in (("size", "small"), ("modalities", "a"))),
    ("train", "--objective paper", "objective", "consistency"),
    *(("train", f"--seed {value}", "seed", "2") for value in (0, 1)),
    *(("train --baselines", f"--seed {value}", "seed", "2") for value in (0, 1)),
    ("train --table 7", "--seed 1", "seed", "2"),
    ("balance-unlabeled", "--seed 0", "seed", "2"),
    ("balance-unlabeled", "--size small", "size", "paper"),
    ("balance-unlabeled", "--modalities a", "modalities", "v"),
    ("train-face --data d --out w", "--seed 0", "seed", "2"),
    ("train-face --data d --out w", "--epochs 3", "epochs", "3"),
    ("train-face --data d --out w", "--start a", "start", "b"),
    ("train-face --data d --out w", "--as-published", "as_published", "true"),
]

USED = {
    "demo": "out smoke workers",
    "run": "out workers label label_map pattern speaker tier utterances table labels annotations exclude follow_links "
    "overwrite config",
    "manifest": "root out check label label_map pattern speaker tier utterances table labels annotations exclude "
    "follow_links overwrite sample config",
    "extract": "dataset root out sample manifest stages preset device precision transcode_fallback label label_map "
    "pattern speaker tier utterances table labels annotations exclude follow_links drop_missing dry_run plan_only "
    "config",
    "slurm-script": "slices script time cpus mem partition gres setup logs",
    "inspect": "utterance faces verify missing",
    "repair": "",
    "export": "out format_ stages dtype no_text no_faces overwrite",
    "balance-unlabeled": "labeled unlabeled out classifier once pool per_class min_probability choose max_per_speaker "
    "max_per_session sample seed overwrite device",
    "train": "labeled table_ figure baselines sample device overwrite",
    "evaluate": "store split skip_unknown normalise out device",
    "predict": "text vtt like trust json_ device",
    "report": "run balanced out format_ overwrite",
    "browse": "balanced out root sample config follow_links host port",
    "train-face": "data device threads evaluate",
    "doctor": "set_ out json_ config",
}
"""By command the options that every mode uses, refuses as the corpus's or the file's own, or that choose the mode."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("modes") / "made", rows=24)


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a clip and an empty store."""
    monkeypatch.setenv(FOLLOW_LINKS, "0")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.wav").touch()
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "store.json").touch()


def answer(words: str, store: Path) -> str:
    """The message with which a command refuses its words; nothing may be written."""
    before = sorted(Path.cwd().rglob("*"))
    done = CliRunner().invoke(app, [str(store) if word == "STORE" else word for word in shlex.split(words)])
    assert isinstance(done.exception, UsageError), (words, done.output, done.exception)
    assert sorted(Path.cwd().rglob("*")) == before
    return str(done.exception)


def options_of(words: str) -> list[str]:
    """The options of some words; --set with its name."""
    texts = shlex.split(words)
    return [
        f"--set {texts[n + 1].partition('=')[0]}" if t == "--set" else t for n, t in enumerate(texts) if t[0] == "-"
    ]


@pytest.mark.parametrize(
    ("command", "mode", "option"), [(command, mode, option) for command, mode, some in IGNORED for option in some]
)
def test_an_option_that_a_mode_ignores_is_refused(command: str, mode: str, option: str, store: Path) -> None:
    message = answer(f"{command} {option}", store)
    name = options_of(option)[0].replace("--set num_crops", "--num-crops")
    if command.startswith("balance-unlabeled --classifier"):
        name = name.partition(" ")[0]
    if command.startswith("train-face"):
        name = name.replace("--set peak_rate", "--set")
    if mode:
        assert message == f"{name} has no effect {mode}: leave it out"
    else:
        assert name.replace(".every", "") in message and "leave" in message and "\n" not in message


def test_all_ignored_options_are_named_at_once(store: Path) -> None:
    assert answer("train --baselines --supervised --tensorboard --set omega=1", store) == (
        "--supervised, --tensorboard, --set omega have no effect with --baselines: leave them out"
    )
    assert answer("train-face --data d --evaluate test --epochs 3 --out w", store) == (
        "--out, --epochs have no effect with --evaluate: leave them out"
    )


@pytest.mark.parametrize(("command", "options"), EXCLUSIVE)
def test_options_that_exclude_each_other_are_refused(command: str, options: str, store: Path) -> None:
    first, second = options_of(options)
    assert answer(f"{command} {options}", store) == f"{first} and {second} exclude each other: give one of them"


@pytest.mark.parametrize(("command", "option", "name", "value"), TWICE)
def test_a_hyper_parameter_that_is_given_twice_is_refused(
    command: str, option: str, name: str, value: str, store: Path
) -> None:
    assert answer(f"{command} {option} --set {name}={value}", store) == (
        f"--{name.replace('_', '-')} and --set {name}=... say the same: give one of them"
    )
    assert "twice" in answer(f"{command} --set {name}={value} --set {name}={value}", store)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_is_in_a_table_or_used_by_every_mode(name: str) -> None:
    flags = {flag: p.name for p in COMMANDS[name].params for flag in p.opts}
    tabled = {
        flags[option.partition(" ")[0]]
        for command, _, some in IGNORED
        if command.split()[0] == name
        for words in some
        for option in options_of(words)
    }
    used = set(USED[name].split())
    assert used.isdisjoint(tabled)
    assert {p.name for p in COMMANDS[name].params if p.param_type_name == "option"} - {"quiet"} == used | tabled


def test_hyper_parameters_that_are_used_are_taken(store: Path) -> None:
    """A mode's own refusals do not go too far: these reach the store, which does not exist."""
    for words in (
        "train --table 7 --set alpha=1 --set beta=1 --set omega=1 --set faces=9 --set words=9 --size small --seed 3",
        "train --table 6 --set words=9 --set omega=1",
        "train --figure 7a --set unlabeled_rows=8 --unlabeled x --balanced x",
        "train --baselines --set select=wap --set normalise=speaker --set classifier_dropout=0 --seed 3",
        "train --supervised --set alpha=1 --set beta=1 --set matching=hsic --tensorboard",
    ):
        done = CliRunner().invoke(app, shlex.split(f"{words} --labeled nowhere"))
        assert isinstance(done.exception, MmpipeError) and "nowhere does not exist" in str(done.exception), words
