"""`mmpipe manifest`: headers, counts and links are checked; what is odd stands in a table with its place."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from mmpipe.core.errors import ManifestError, UsageError
from mmpipe.core.parquet import read_metadata
from mmpipe.core.statuses import CATEGORIES
from mmpipe.manifests.io import read_manifest, refuse_links, write_manifest
from mmpipe.manifests.registry import CORPORA
from mmpipe.manifests.samples import sample_root
from mmpipe.manifests.schema import MediaSpan, Utterance, to_table
from mmpipe.pipeline.cli.app import app
from mmpipe.pipeline.extraction.corpus import extract_corpus
from mmpipe.pipeline.extraction.request import ExtractRequest
from mmpipe.pipeline.media.header_checks import check_headers, media_uses, read_headers

from .conftest import tone, write_video, write_wav


def found(root: Path, *utterances: Utterance) -> list[tuple[str, str]]:
    """Category and place of what is odd."""
    uses = media_uses(utterances)
    return [(p.category, p.where) for p in check_headers(read_headers(root, list(uses)), uses)]


def heard(name: str, end: float | None = None, **annotations: object) -> Utterance:
    return Utterance(f"x/{name}", "x", audio=MediaSpan(name, 0.0, end), annotations=annotations)


def test_good_media_have_nothing_odd(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", tone(1.0))
    write_video(tmp_path / "a.avi", 25)
    row = Utterance("x/a", "x", audio=MediaSpan("a.wav", 0, 1), video=MediaSpan("a.avi", 0, 1))
    assert found(tmp_path, row) == []
    (header,) = read_headers(tmp_path, ["a.wav"])
    assert (header.audio, header.audio_seconds, header.video) == ((16_000, 1), 1.0, None)
    (header,) = read_headers(tmp_path, ["a.avi"])
    assert header.video == (64, 48, 25.0) and header.audio is None


def test_missing_broken_and_mute_files_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "noise.wav").write_bytes(b"RIFF and no more")
    (tmp_path / "empty.wav").touch()
    write_video(tmp_path / "mute.avi", 10)
    write_wav(tmp_path / "a.wav", tone(0.5))
    seen = Utterance("x/v", "x", video=MediaSpan("a.wav"))
    rows = [heard(name) for name in ("gone.wav", "noise.wav", "empty.wav", "mute.avi")]
    assert found(tmp_path, *rows, seen) == [
        ("media_missing", "gone.wav"),
        ("media_unreadable", "noise.wav"),
        ("media_unreadable", "empty.wav"),
        ("no_audio_stream", "mute.avi"),
        ("no_video_stream", "a.wav"),
    ]


def test_spans_behind_the_end_cut_files_and_wrong_lengths_are_told(tmp_path: Path) -> None:
    for name in ("short", "long", "cut"):
        write_wav(tmp_path / f"{name}.wav", tone(3.0))
    whole = (tmp_path / "cut.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: len(whole) // 2])
    rows = [heard("short.wav", 5.0), heard("long.wav", duration_seconds=1.0), heard("cut.wav")]
    assert found(tmp_path, *rows) == [
        ("span_outside", "short.wav"),
        ("length_differs", "long.wav"),
        ("cut_off", "cut.wav"),
    ]


def test_a_sound_file_is_compared_with_its_turn_in_the_film(tmp_path: Path) -> None:
    write_wav(tmp_path / "turn.wav", tone(1.0))
    write_video(tmp_path / "dialog.avi", 100)
    turn = Utterance("x/1", "x", audio=MediaSpan("turn.wav"), video=MediaSpan("dialog.avi", 0.5, 3.5))
    assert found(tmp_path, turn) == [("length_differs", "turn.wav")]


def test_other_rates_channels_and_frame_rates_than_the_rest_are_odd(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_wav(tmp_path / f"{name}.wav", tone(0.5))
        write_video(tmp_path / f"{name}.avi", 10)
    write_wav(tmp_path / "slow.wav", tone(0.5, 8000), 8000)
    write_wav(tmp_path / "stereo.wav", np.stack([tone(0.5), tone(0.5)], axis=1))
    write_video(tmp_path / "fast.avi", 10, rate=30)
    rows = [heard(f"{name}.wav") for name in ("a", "b", "c", "slow", "stereo")]
    seen = [Utterance(f"x/{n}.v", "x", video=MediaSpan(f"{n}.avi")) for n in ("a", "b", "c", "fast")]
    assert found(tmp_path, *rows, *seen) == [
        ("odd_audio", "slow.wav"),
        ("odd_audio", "stereo.wav"),
        ("odd_video", "fast.avi"),
    ]


def test_a_low_rate_of_all_files_is_odd_too(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", tone(0.5, 8000), 8000)
    assert found(tmp_path, heard("a.wav")) == [("odd_audio", "a.wav")]


def make(dataset: str, root: Path | None, out: Path, *, check: bool = False, **options: Any) -> Path:
    where = ["--sample"] if root is None else ["--root", str(root)]
    settings = [f"--set={name}={json.dumps(value)}" for name, value in options.items()]
    app(["manifest", dataset, *where, "--out", str(out), *["--check"] * check, *settings], standalone_mode=False)
    return out


def test_check_writes_a_table_of_all_that_is_odd(tmp_path: Path) -> None:
    make("meld", None, tmp_path / "m.parquet", check=True)
    with (tmp_path / "m.check.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {(row["category"], row["where"]) for row in rows} == {
        ("media_missing", "dev_splits_complete/dia1_utt0.mp4"),
        ("extra_clip", "dev_splits_complete/dia1_utt1.mp4"),
        ("length_differs", "train_splits/dia1_utt0.mp4"),
        ("speaker_crosses", "split"),
    }
    order: list[str] = list(CATEGORIES)
    assert rows == sorted(rows, key=lambda row: order.index(row["category"]))


def test_counts_other_than_those_of_the_release_are_in_the_table_and_on_the_screen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make("iemocap", sample_root("iemocap"), tmp_path / "m.parquet", check=True)
    screen = capsys.readouterr().out
    assert "Counts that differ from the complete release" in screen
    assert "missing without any problem noted" in screen
    with (tmp_path / "m.check.csv").open(newline="") as stream:
        told = {row["where"]: row["message"] for row in csv.DictReader(stream) if row["category"] == "count_differs"}
    assert told["label anger"] == "20, the complete release has 1103"


def test_options_of_the_corpus_stand_in_the_manifest_and_foreign_ones_are_refused(tmp_path: Path) -> None:
    options: dict[str, Any] = {"crop_seconds": 3.5, "num_crops": 20, "seed": 1, "max_overlap": 0.9, "exclude": ["IS"]}
    path = make("ami", None, tmp_path / "m.parquet", **options)
    assert read_metadata(path) == {"corpus": "ami", "options": options}
    rows = read_manifest(path)
    assert rows.num_rows == 20 and not [i for i in rows.column("dialogue").to_pylist() if i.startswith("IS")]
    with pytest.raises(UsageError, match=r"meld: num_crops does not exist; options: none"):
        make("meld", None, tmp_path / "x.parquet", num_crops=3)


def test_a_file_that_is_not_a_manifest_is_never_replaced(tmp_path: Path) -> None:
    target = tmp_path / "m.parquet"
    target.write_text("mine")
    with pytest.raises(UsageError, match="exists and is not a manifest"):
        make("meld", None, target)
    assert target.read_text() == "mine"
    target.unlink()
    assert make("meld", None, target) == make("meld", None, target)


def test_links_that_leave_the_root_are_refused_by_manifest_and_extract(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "MELD", tmp_path / "elsewhere"
    shutil.copytree(sample_root("meld"), root)
    shutil.move(root / "train_splits", elsewhere)
    (root / "train_splits").symlink_to(elsewhere)
    with pytest.raises(ManifestError, match="leaves the corpus root"):
        make("meld", root, tmp_path / "m.parquet")
    assert not (tmp_path / "m.parquet").exists()
    given = tmp_path / "given.parquet"
    write_manifest(to_table([heard("train_splits/dia0_utt0.mp4")]), given, {"corpus": "meld"})
    with pytest.raises(ManifestError, match="leaves the corpus root"):
        extract_corpus(ExtractRequest("meld", root, tmp_path / "store", manifest=given))
    assert not (tmp_path / "store").exists()


def test_links_that_stay_inside_the_root_and_a_linked_root_are_fine(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    write_wav(real / "a.wav", tone(0.2))
    (real / "b.wav").symlink_to(real / "a.wav")
    (tmp_path / "root").symlink_to(real)
    refuse_links(to_table([heard("b.wav"), heard("gone.wav")]), tmp_path / "root")


def test_the_command_takes_the_options_of_crops(tmp_path: Path) -> None:
    out = tmp_path / "m.parquet"
    root = str(sample_root("ami"))
    options = ["--crop", "3.5", "--num-crops", "15", "--seed", "2", "--max-overlap", "0.9", "--spread", "uniform"]
    run = CliRunner().invoke(app, ["manifest", "ami", "--root", root, "--out", str(out), *options])
    assert run.exit_code == 0, run.output
    assert read_manifest(out).num_rows == 15
    assert read_metadata(out)["options"] == {
        "crop_seconds": 3.5, "num_crops": 15, "seed": 2, "max_overlap": 0.9, "spread": "uniform",
    }  # fmt: skip
    assert "171" in run.output  # meetings of the release


def test_the_page_of_the_corpora_names_options_categories_and_counts_that_exist() -> None:
    page = (Path(__file__).parents[2] / "docs" / "corpora.md").read_text("utf-8")
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    flags, extracts = (
        {flag for parameter in commands[name].params for flag in parameter.opts} for name in ("manifest", "extract")
    )
    assert set(re.findall(r"--[a-z][a-z-]+", page)) <= flags | extracts
    assert {f"--{name}" for name in ("crop", "num-crops", "labels", "table", "tier", "exclude", "check")} <= flags
    told = re.findall(r"`([a-z]+_[a-z_]+)`", page[page.index("| category |") : page.index("Refused outright")])
    assert {"length_differs", "count_differs", "cut_off"} <= set(told) <= CATEGORIES.keys() | {"utterances_lost"}
    for name in ("iemocap", "meld"):
        corpus = CORPORA.load(name)
        for counts in corpus(corpus.Options()).expected().values():
            for value, number in counts.items():
                if not value.startswith(("dialogs", "happiness")):
                    assert f"{number:,}" in page, f"{name} {value}"
