"""Manifests keep their rows and bytes, and refuse what would mislead a run."""

from __future__ import annotations

import errno
import math
from pathlib import Path

import pytest

from mmpipe.core.errors import ManifestError, Rejected, StorageError, TrainingError, UsageError
from mmpipe.core.files import write_atomic
from mmpipe.core.parquet import read_metadata
from mmpipe.manifests.io import read_manifest, resolve_media, validate, write_manifest
from mmpipe.manifests.registry import CORPORA
from mmpipe.manifests.samples import sample_root
from mmpipe.manifests.schema import MediaSpan, Region, Utterance, Word, to_table, to_utterances
from mmpipe.manifests.splits import PROTOCOLS, check_leaks, folds

FULL = Utterance(
    "x/1", "x", "train", "s", "d", "p", "F",
    MediaSpan("a.wav", 1.0, 2.0), MediaSpan("a.avi", 1.0, 2.0, Region(0, 0, 0.5, 1)),
    "hi", (Word("hi", 0.0, 0.5), Word("you")), "anger", "ang", {"votes": ["ang", "neu"]},
)  # fmt: skip


def test_a_manifest_comes_back_as_it_was_written_with_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_manifest(to_table([FULL]), tmp_path / name, {"corpus": "x"})
    assert to_utterances(read_manifest(tmp_path / "a")) == [FULL]
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert read_metadata(tmp_path / "a") == {"corpus": "x"}


@pytest.mark.parametrize(
    ("span", "message"),
    [
        (MediaSpan("http://x/a.wav"), "protocol"),
        (MediaSpan("concat:a.wav|b.wav"), "protocol"),
        (MediaSpan("../a.wav"), "leaves"),
        (MediaSpan("/a.wav"), "leaves"),
        (MediaSpan("a.wav", math.nan, 1.0), "starts at nan"),
        (MediaSpan("a.wav", 2.0, 1.0), "from 2.0 to 1.0"),
    ],
)
def test_media_outside_the_root_and_times_that_make_no_sense_are_refused(span: MediaSpan, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        validate(to_table([Utterance("x/1", "x", audio=span)]))


def test_an_id_that_stands_twice_or_a_missing_column_is_refused() -> None:
    with pytest.raises(ManifestError, match="'x/1' stands 2 times"):
        validate(to_table([FULL, FULL]))
    with pytest.raises(ManifestError, match="'label' is missing"):
        validate(to_table([FULL]).drop_columns(["label"]))


def test_a_file_that_is_no_manifest_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "m.parquet").write_text("no parquet")
    with pytest.raises(ManifestError, match=r"m\.parquet cannot be read"):
        read_manifest(tmp_path / "m.parquet")


def test_a_link_out_of_the_root_is_not_opened(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").touch()
    (root / "a.wav").symlink_to(tmp_path / "secret")
    with pytest.raises(Rejected, match="leaves the corpus root"):
        resolve_media(root, "a.wav")


def test_a_file_that_fails_to_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("old")

    def fail(part: Path) -> None:
        part.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StorageError, match=r"No space left on device; .* free space"):
        write_atomic(tmp_path / "f", fail)
    assert [p.name for p in tmp_path.iterdir()] == ["f"] and (tmp_path / "f").read_text() == "old"


def test_iemocap_has_ten_folds_in_which_no_speaker_crosses_sides() -> None:
    corpus = CORPORA.load("iemocap")
    manifest = to_table(corpus(corpus.Options()).prepare(sample_root("iemocap")).utterances)
    made = folds(manifest)
    assert len(made) == 10 and len(folds(manifest, "iemocap-5")) == 5
    tested = [i for fold in made for i in fold.test]
    assert sorted(tested) == sorted(manifest.column("utterance_id").to_pylist())
    speaker = dict(zip(*(manifest.column(c).to_pylist() for c in ("utterance_id", "speaker")), strict=True))
    check_leaks(made, speaker)
    with pytest.raises(TrainingError):
        check_leaks(made, dict.fromkeys(speaker, "one"))
    with pytest.raises(UsageError, match="valid names: auto, iemocap-5"):
        folds(manifest, "iemocap-7")


def test_folds_over_groups_hold_every_row_once_and_no_speaker_twice() -> None:
    rows = [Utterance(f"x/{n}", "x", speaker=f"s{n % 7}", label="joy") for n in range(70)]
    made = folds(to_table(rows), "groups-5", seed=3)
    assert len(made) == 5
    check_leaks(made, {row.utterance_id: str(row.speaker) for row in rows})
    assert sorted(i for fold in made for i in fold.test) == sorted(row.utterance_id for row in rows)
    turned = folds(to_table(rows[::-1]), "groups-5", seed=3)
    assert [set(fold.test) for fold in turned] == [set(fold.test) for fold in made]
    with pytest.raises(TrainingError, match="need three speakers"):
        folds(to_table([Utterance("x/1", "x", speaker="s", label="joy")]), "groups-5")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_that_is_described_splits_a_corpus(protocol: str) -> None:
    splits = ("train", "train", "train", "dev", "test")
    rows = [
        Utterance(
            f"x/{n}",
            "x",
            splits[n % 5],
            f"s{n % 5}",
            None,
            f"p{n % 10}",
            label="joy",
            annotations={"fold": str(n % 5)},
        )
        for n in range(40)
    ]
    made = folds(to_table(rows), protocol.replace("K", "4"))
    assert made and all(fold.train and fold.valid and fold.test for fold in made)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (Utterance("x/1", "x", video=MediaSpan("a.mp4", 0, 1, Region(0.5, 0, 0.6, 1))), "not inside the frame"),
        (Utterance("x/1", "x", video=MediaSpan("a.mp4", 0, 1, Region(0, 0, math.nan, 1))), "not inside the frame"),
        (Utterance("x/1", "x", video=MediaSpan("a.mp4", 0, math.inf)), "runs from 0"),
        (Utterance("x/1", "x", text="a b", words=(Word("a"), Word("b", math.nan, 1.0))), "x/1: a word has the start"),
    ],
)
def test_regions_outside_the_frame_and_times_without_end_are_refused(row: Utterance, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        validate(to_table([Utterance("x/0", "x", words=(Word("fine", 0.0, 1.0),)), row]))
