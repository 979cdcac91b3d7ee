"""`mmpipe manifest --check` finds media that are in two splits or folds, and reads no more files than it must."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from mmpipe.manifests.contract import Prepared, Problem
from mmpipe.manifests.samples import sample_root
from mmpipe.manifests.schema import MediaSpan, Region, Utterance, to_table
from mmpipe.pipeline.cli.app import app
from mmpipe.pipeline.media import content_hash
from mmpipe.pipeline.media.corpus_check import check_media

from .conftest import tone, write_video, write_wav


def crossings(root: Path, rows: Iterable[Utterance]) -> list[Problem]:
    utterances = list(rows)
    found = check_media(Prepared(utterances), root, to_table(utterances))
    return [problem for problem in found if problem.category == "duplicate_crosses"]


def spoken(
    name: str, split: str | None, start: float = 0.0, end: float | None = None, **annotations: object
) -> Utterance:
    return Utterance(
        f"x/{split}/{name}/{start:g}", "x", split, audio=MediaSpan(name, start, end), annotations=annotations
    )


def listed(report: Path) -> list[dict[str, str]]:
    with report.open(newline="") as stream:
        return [row for row in csv.DictReader(stream) if row["category"] == "duplicate_crosses"]


def test_a_clip_of_meld_that_is_in_two_splits_is_found(tmp_path: Path) -> None:
    root = tmp_path / "MELD"
    shutil.copytree(sample_root("meld"), root)
    train, test = sorted((root / "train_splits").glob("*.mp4")), root / "output_repeated_splits_test"
    target = sorted(test.glob("*.mp4"))[0]
    shutil.copy(train[0], target)
    app(
        ["manifest", "meld", "--root", str(root), "--out", str(tmp_path / "m.parquet"), "--check"],
        standalone_mode=False,
    )
    (row,) = listed(tmp_path / "m.check.csv")
    both = {f"train_splits/{train[0].name}", f"{test.name}/{target.name}"}
    assert row["where"] in both and (both - {row["where"]}).pop() in row["message"]
    assert f"meld/train/{train[0].stem}" in row["message"] and f"meld/test/{target.stem}" in row["message"]
    assert row["utterances_lost"] == "0"


def test_a_folder_with_a_table_of_splits_or_folds_is_searched_and_copies_within_one_are_none(tmp_path: Path) -> None:
    for seed, name in enumerate(("a", "b", "c")):
        write_wav(tmp_path / f"{name}.wav", tone(0.3, seed=seed))
    shutil.copy(tmp_path / "a.wav", tmp_path / "copy.wav")
    table = tmp_path / "rows.csv"
    options = ["--table", "rows.csv", "--check", "--overwrite"]
    for column, values, expected in (
        ("split", ("train", "dev", "test", "train"), 0),
        ("split", ("train", "dev", "test", "test"), 1),
        ("fold", ("1", "2", "3", "3"), 1),
        ("fold", ("1", "2", "3", "1"), 0),
        ("comment", ("1", "2", "3", "4"), 0),
    ):
        names = ("a.wav", "b.wav", "c.wav", "copy.wav")
        table.write_text(f"file,{column}\n" + "".join(f"{n},{v}\n" for n, v in zip(names, values, strict=True)))
        out = tmp_path / "m.parquet"
        app(["manifest", "folder", "--root", str(tmp_path), "--out", str(out), *options], standalone_mode=False)
        rows = listed(tmp_path / "m.check.csv")
        assert len(rows) == expected, (column, values)
        for row in rows:
            assert row["where"] == "a.wav" and "copy.wav" in row["message"] and f"in the {column}s " in row["message"]


def test_times_and_parts_of_the_frame_tell_utterances_of_one_file_apart(tmp_path: Path) -> None:
    write_wav(tmp_path / "talk.wav", tone(2.0))
    apart = [spoken("talk.wav", "train", 0, 1), spoken("talk.wav", "test", 1, 2), spoken("talk.wav", None, 0, 1)]
    assert crossings(tmp_path, apart) == []
    (problem,) = crossings(tmp_path, [*apart, spoken("talk.wav", "test", 0, 1)])
    assert problem.where == "talk.wav" and "the same span of it, in the splits train, test" in problem.message
    assert len(crossings(tmp_path, [spoken("talk.wav", "train"), spoken("talk.wav", "test", 0, 2)])) == 1  # its whole
    write_video(tmp_path / "two.avi", 10)
    left, right = Region(0, 0, 0.5, 1), Region(0.5, 0, 0.5, 1)
    seen = [
        Utterance(f"x/{number}", "x", split, video=MediaSpan("two.avi", 0, 0.2, region))
        for number, (split, region) in enumerate([("train", left), ("test", right)])
    ]
    assert crossings(tmp_path, seen) == []
    assert (
        len(crossings(tmp_path, [*seen, Utterance("x/2", "x", "dev", video=MediaSpan("two.avi", 0, 0.2, left))])) == 1
    )


def test_all_copies_of_one_content_are_one_problem_with_its_utterances(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", tone(1.0))
    for name in ("b.wav", "c.wav"):
        shutil.copy(tmp_path / "a.wav", tmp_path / name)
    rows = [
        spoken(name, split, start, start + 0.4)
        for name, split in (("a.wav", "train"), ("b.wav", "dev"), ("c.wav", "dev"))
        for start in (0.0, 0.5)
    ]
    (problem,) = crossings(tmp_path, rows)
    assert problem.where == "a.wav" and "the same content as b.wav, c.wav, in the splits train, dev" in problem.message
    assert "6 utterances" in problem.message


def test_links_are_known_without_reading_and_only_files_of_one_size_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    digest = content_hash._digest

    def watched(path: Path, *rest: object) -> str:
        read.append(path.name)
        return digest(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(content_hash, "_digest", watched)
    write_wav(tmp_path / "a.wav", tone(0.3))
    os.link(tmp_path / "a.wav", tmp_path / "hard.wav")
    (tmp_path / "soft.wav").symlink_to("a.wav")
    write_wav(tmp_path / "longer.wav", tone(0.4))
    for name in ("hard.wav", "soft.wav"):
        assert (
            len(crossings(tmp_path, [spoken("a.wav", "train"), spoken(name, "test"), spoken("longer.wav", "dev")])) == 1
        )
    write_wav(tmp_path / "same-split.wav", tone(0.4, seed=2))
    assert (
        crossings(tmp_path, [spoken("longer.wav", "dev"), spoken("same-split.wav", "dev"), spoken("a.wav", "test")])
        == []
    )
    assert read == []
    write_wav(tmp_path / "other.wav", tone(0.3, seed=1))
    rows = [
        spoken(n, s)
        for n, s in (("a.wav", "train"), ("hard.wav", "dev"), ("other.wav", "test"), ("longer.wav", "test"))
    ]
    (problem,) = crossings(tmp_path, rows)
    assert "other.wav" not in problem.message
    assert len(read) == 2 and "other.wav" in read  # the linked file once


def test_missing_empty_and_odd_files_are_no_duplicates(tmp_path: Path) -> None:
    for name in ("e1.wav", "e2.wav"):
        (tmp_path / name).touch()
    (tmp_path / "folder.wav").mkdir()
    names = (
        ("e1.wav", "train"),
        ("e2.wav", "test"),
        ("gone.wav", "train"),
        ("gone2.wav", "test"),
        ("folder.wav", "dev"),
    )
    assert crossings(tmp_path, [spoken(name, split) for name, split in names]) == []
