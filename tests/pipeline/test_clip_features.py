"""Clips become features in three lines: the same as in a store, in the process that asks."""

from __future__ import annotations

import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import mmpipe.pipeline as mp
from mmpipe.core.errors import StoreError, UsageError
from mmpipe.extractors.weights.checkpoints import PACKAGED_MODEL

from ..conftest import Once
from .conftest import tone, write_video, write_wav
from .runs import call

OPTIONS: dict[str, dict[str, Any]] = {
    "faces": {"every": 5, "detector": "full-frame"},
    "text": {"model": PACKAGED_MODEL},
}


@pytest.fixture(scope="session")
def clips(once: Once) -> Path:
    """A folder of clips with transcripts, and the store that the command makes of it, with a worker."""

    def make(folder: Path) -> None:
        root = folder / "clips"
        root.mkdir()
        write_video(root / "a.mp4", 30, audio=tone(1.2))
        (root / "a.vtt").write_text("WEBVTT\n\n00:00.000 --> 00:01.000\nI cannot believe it\n")
        write_wav(root / "b.wav", tone(0.8, seed=3))
        (root / "b.txt").write_text("oh no, not again")
        (root / "c.wav").write_bytes(b"RIFF is all that is left")
        given = ("faces.every=5", "faces.detector=full-frame", f"text.model={PACKAGED_MODEL}")
        options = [part for option in given for part in ("--set", option)]
        where = ("--root", root, "--out", folder / "store", "--workers", 1)
        done = call("extract", "--dataset", "folder", *where, *options)
        assert done.returncode == 0, done.stdout + done.stderr

    return once("clip-features", make)


def test_a_clip_has_the_features_that_the_command_gives_its_folder_bit_for_bit(clips: Path) -> None:
    names = ("b.wav", "c.wav", "a.mp4")
    table = mp.extract([clips / "clips" / name for name in names], options=OPTIONS)
    assert table.column("utterance_id").to_pylist() == ["folder/b", "folder/c", "folder/a"]
    assert table.column("audio_status").to_pylist() == ["ok", "media_error", "ok"]
    assert table.column("expression_status").to_pylist() == ["no_video", "no_video", "ok"]
    assert table.column("text_status").to_pylist() == ["ok", "no_text", "ok"]
    assert "c.wav" in table.column("audio_error")[1].as_py()
    for stage in ("audio", "faces", "expression", "text"):
        stored = pq.read_table(clips / "store" / stage)
        rows = [
            stored.column("utterance_id").to_pylist().index(name) for name in table.column("utterance_id").to_pylist()
        ]
        for name in stored.column_names[1:]:
            assert table.column(f"{stage}_{name}").equals(stored.column(name).take(rows)), (stage, name)


def test_a_stage_that_finds_nothing_to_read_has_its_columns_and_says_why(clips: Path) -> None:
    stages = ("audio", "faces", "expression", "text")
    table = mp.extract(clips / "clips" / "b.wav", stages=stages, options=OPTIONS)
    statuses = {stage: table.column(f"{stage}_status")[0].as_py() for stage in stages}
    assert statuses == {"audio": "ok", "faces": "no_video", "expression": "no_video", "text": "ok"}
    found = mp.extract(clips / "clips" / "b.wav", "", options={}).column_names
    assert {name.partition("_")[0] for name in found} == {"utterance", "audio"}


def test_words_are_those_that_are_given_else_those_of_the_transcript_beside_the_clip(clips: Path) -> None:
    pair = [clips / "clips" / "b.wav", clips / "clips" / "a.mp4"]

    def tokens(text: str | list[str | None] | None, of: Path | list[Path] = pair) -> list[list[str]]:
        found = mp.extract(of, text, stages="text", options={"text": OPTIONS["text"]})
        return list(found.column("text_tokens").to_pylist())

    assert tokens(None) == [["oh", "no", ",", "not", "again"], ["i", "cannot", "believe", "it"]]
    assert tokens(["so be it", None]) == [["so", "be", "it"], ["i", "cannot", "believe", "it"]]
    assert tokens(" so\n\x00be \udcff it", pair[0]) == [["so", "be", "?", "it"]]
    assert tokens("", pair[0]) == [None]  # nothing is said: the transcript is not asked


def test_several_processes_give_the_same_table(clips: Path) -> None:
    pair = [clips / "clips" / "b.wav", clips / "clips" / "a.mp4"]
    assert mp.extract(pair, stages=["audio"], workers=2).equals(mp.extract(pair, stages=["audio"]))


def test_clips_of_one_name_and_clips_behind_links_are_told_apart(clips: Path, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    (tmp_path / "one" / "talk.wav").symlink_to(clips / "clips" / "b.wav")
    write_wav(tmp_path / "two" / "talk.wav", tone(0.5, seed=9))
    shutil.copy(clips / "clips" / "b.wav", tmp_path / "two" / "talk.flac")  # its content decides, not its ending
    named = [tmp_path / "two" / "talk.wav", tmp_path / "one" / "talk.wav", tmp_path / "two" / "talk.flac"]
    table = mp.extract(named, stages=["audio"])
    assert table.column("utterance_id").to_pylist() == [
        "folder/two/talk.wav",
        "folder/one/talk",
        "folder/two/talk.flac",
    ]
    first, second, third = table.column("audio_features").to_pylist()
    assert second == third != first


def test_what_is_odd_with_a_transcript_becomes_a_warning(clips: Path, tmp_path: Path) -> None:
    clip = Path(shutil.copy(clips / "clips" / "b.wav", tmp_path / "talk.wav"))
    (tmp_path / "talk.vtt").write_text("this is not WebVTT at all")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        table = mp.extract(clip, stages=["text"], options={"text": OPTIONS["text"]})
    (odd,) = (w for w in caught if "do not belong to any times" in str(w.message))
    assert str(odd.message).startswith("talk.vtt:1: ") and odd.filename == __file__
    assert table.num_rows == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mp.extract(clip, "hello", stages=["text"], options={"text": OPTIONS["text"]})


def test_what_cannot_be_used_is_refused_before_anything_is_read(clips: Path, tmp_path: Path) -> None:
    clip = clips / "clips" / "b.wav"
    (tmp_path / "notes.docx").write_text("")
    refused: list[tuple[Any, dict[str, Any], str]] = [
        ([], {}, "no clip is named"),
        (tmp_path / "gone.wav", {}, r"gone\.wav does not exist"),
        (tmp_path / "notes.docx", {}, r"ends in '\.docx': expected \.mp4"),
        ([clip, clip.parent / ".." / "clips" / "b.wav"], {}, "is named twice"),
        ([clip], {"text": ["one", "two"]}, "2 texts for 1 clips"),
        ([clip, clip.with_name("a.mp4")], {"text": "one"}, "1 texts for 2 clips"),
        ([clip], {"text": [float("nan")]}, "the text of a clip is nan"),  # as pandas has it where a cell is empty
        (clip, {"workers": 0}, "workers is 0"),
        (clip, {"stages": ["voice"]}, "stage 'voice' does not exist; stages: audio"),
        (clip, {"stages": ["audio"], "options": {"audio": {"every": 5}}}, "options of audio: config_file"),
    ]
    for given, options, message in refused:
        with pytest.raises(UsageError, match=message):
            mp.extract(given, **options)
    with pytest.raises(StoreError, match="add faces to --stages"):
        mp.extract(clip, stages=["expression"])


def test_audio_alone_starts_no_process_and_imports_no_network(clips: Path) -> None:
    """In a script without a main guard. The module `popen_spawn_posix` is imported by the first process of a pool."""
    code = f"""
import sys
import mmpipe.pipeline as mp
table = mp.extract([{str(clips / "clips" / "b.wav")!r}], stages=["audio"])
print(table.num_rows, table.column("audio_status")[0])
unwanted = {{"torch", "torchvision", "transformers", "cv2", "sklearn", "multiprocessing.popen_spawn_posix"}}
print(sorted(unwanted & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("1 ok\n[]\n", "")


def test_the_table_is_an_arrow_table_with_the_names_of_the_columns_of_audio(clips: Path) -> None:
    table = mp.extract(clips / "clips" / "b.wav", stages=["audio"], options={"audio": {"extractor": "egemaps"}})
    assert isinstance(table, pa.Table)
    field = table.schema.field("audio_features")
    assert b"F0semitoneFrom27.5Hz_sma3nz_amean" in field.metadata[b"feature_names"]
    assert len(table.column("audio_features")[0]) == 88


def test_a_model_computes_on_one_thread_and_the_callers_number_of_threads_is_as_before(
    clips: Path,
) -> None:
    torch.set_num_threads(2)
    options = {"toy": {"extractor": "tests.pipeline.toys:Threads"}}
    table = mp.extract(clips / "clips" / "b.wav", "one two three", stages=["toy"], options=options)
    assert table.column("toy_count").to_pylist() == [1]
    assert torch.get_num_threads() == 2
