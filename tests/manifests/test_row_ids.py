"""Ids of a folder's utterances stay: rows, cues and words that come, go or move do not rename the others."""

from __future__ import annotations

import csv
import io
import json
import random
from pathlib import Path

import pytest

from mmpipe.manifests.contract import Prepared
from mmpipe.manifests.corpora.folder import Folder, FolderOptions
from mmpipe.manifests.io import validate
from mmpipe.manifests.schema import to_table

ROWS = [
    {"file": "a.wav", "start": "0", "end": "1.50", "text": "one", "emotion": "joy"},
    {"file": "a.wav", "start": "0", "end": "2.5", "text": "one two", "emotion": "joy"},
    {"file": "a.wav", "start": "2.5", "end": "4", "text": "three", "emotion": "anger"},
    {"file": "b.wav", "start": "", "end": "", "text": "four", "emotion": "joy"},
    {"file": "é/c.mp4", "start": "7", "end": "", "text": "fünf", "emotion": "fear"},
    {"file": "", "start": "", "end": "", "text": "So good!", "emotion": "joy"},
]
IDS = ["a.wav@0-1.5", "a.wav@0-2.5", "a.wav@2.5-4", "b.wav", "é/c.mp4@7"]
"""By hand, of the rows with a file."""


def table(rows: list[dict[str, str]], delimiter: str = ",") -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def prepare(root: Path, name: str, data: str | bytes, **options: object) -> Prepared:
    root.mkdir(exist_ok=True)
    (root / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    prepared = Folder(FolderOptions.model_validate({"table": name, **options})).prepare(root)
    validate(to_table(prepared.utterances))
    return prepared


def ids(prepared: Prepared) -> list[str]:
    return [row.utterance_id.removeprefix("folder/") for row in prepared.utterances]


def texts(prepared: Prepared) -> dict[str | None, str]:
    return {row.text: row.utterance_id for row in prepared.utterances}


def repeated(prepared: Prepared) -> list[tuple[str, int]]:
    return [(p.where, p.lost) for p in prepared.problems if p.category == "repeated_id"]


def test_rows_are_named_by_file_and_times(tmp_path: Path) -> None:
    found = ids(prepare(tmp_path, "t.csv", table(ROWS)))
    assert found[:5] == IDS
    assert found[5].startswith("text/so-good-")


def test_rows_that_come_go_or_move_rename_no_other(tmp_path: Path) -> None:
    before = texts(prepare(tmp_path, "t.csv", table(ROWS)))
    top = {"file": "a.wav", "start": "0", "end": "9", "text": "new", "emotion": "joy"}
    whole = {"file": "a.wav", "start": "", "end": "", "text": "all", "emotion": "joy"}
    after = texts(prepare(tmp_path, "t.csv", table([top, whole, *ROWS])))
    assert len(after) == 8 and before.items() <= after.items()
    for place in range(len(ROWS)):
        assert texts(prepare(tmp_path, "t.csv", table(ROWS[:place] + ROWS[place + 1 :]))).items() <= before.items()
    mixed = random.Random(1).sample(ROWS, len(ROWS))
    assert mixed != ROWS and texts(prepare(tmp_path, "t.csv", table(mixed))) == before


def test_formats_and_encodings_of_one_table_give_the_same_ids(tmp_path: Path) -> None:
    expected = ids(prepare(tmp_path, "t.csv", table(ROWS)))
    lines = [
        json.dumps({name: float(value) if name in ("start", "end") else value for name, value in row.items() if value})
        for row in ROWS
    ]
    saved = {
        "t.tsv": table(ROWS, "\t").encode(),
        "semicolons.csv": ("\n\n" + table(ROWS, ";")).encode(),
        "windows.csv": table(ROWS).replace("\n", "\r\n").encode("cp1252"),
        "wide.csv": table(ROWS).encode("utf-16"),
        "t.jsonl": "\n".join(lines).encode(),
        "by_duration.csv": table(
            [
                {**row, "end": "", "duration": str(float(row["end"]) - float(row["start"])) if row["end"] else ""}
                for row in ROWS
            ]
        ).encode(),
        "points.csv": table([{**row, "file": row["file"] and f"./{row['file']}"} for row in ROWS]).encode(),
    }
    for name, data in saved.items():
        assert ids(prepare(tmp_path, name, data)) == expected, name


def test_rows_of_one_span_are_told_apart_or_left_out_with_a_reason(tmp_path: Path) -> None:
    rows = "file,start,end,speaker,text\na.wav,1,2,Ann,hi\na.wav,1,2,Bob,hi\nb.wav,1,2,Ann,hi\nb.wav,1,2,Ann,hi\n"
    prepared = prepare(tmp_path, "t.csv", rows)
    assert ids(prepared) == ["a.wav@1-2#Ann", "a.wav@1-2#Bob", "b.wav@1-2"]
    assert repeated(prepared) == [("t.csv:2", 0), ("t.csv:3", 0), ("t.csv:5", 1)]
    one, two = ids(prepare(tmp_path, "u.csv", "file,speaker,text\na.wav,Ann,hi\na.wav,Ann,bye\n"))
    assert one.startswith("a.wav#") and two.startswith("a.wav#") and one != two
    assert ids(prepare(tmp_path, "u.csv", "file,speaker,text\na.wav,Ann,bye\na.wav,Ann,hi\n")) == [two, one]


def test_texts_that_are_said_twice_are_kept_and_numbered_whatever_the_order(tmp_path: Path) -> None:
    rows = ["Okay.,Ann,joy", "Okay.,Ann,fear", "Okay.,Bob,joy"]
    before = prepare(tmp_path, "t.csv", "text,speaker,label\n" + "\n".join(rows))
    after = prepare(tmp_path, "t.csv", "text,speaker,label\n" + "\n".join(rows[::-1]))
    of = [{(row.speaker, row.label): row.utterance_id for row in p.utterances} for p in (before, after)]
    assert of[0] == of[1] and len(set(of[0].values())) == 3
    assert of[0]["Ann", "joy"] == of[0]["Ann", "fear"] + "~2"
    assert repeated(before) == [("t.csv:2", 0)]


@pytest.mark.parametrize("column", ["utterance_id", "ID", "utt_id"])
def test_a_column_of_ids_names_the_rows(column: str, tmp_path: Path) -> None:
    head = f"{column},file,start,end\n"
    assert ids(prepare(tmp_path, "t.csv", head + "x,a.wav,1,2\n,a.wav,2,3\ny,a.wav,1,2\n")) == ["x", "a.wav@2-3", "y"]
    prepared = prepare(tmp_path, "t.csv", head + "x,a.wav,1,2\nx,a.wav,2,3\ny,a.wav,1,2\n")
    assert ids(prepared) == ["x", "y"] and repeated(prepared) == [("t.csv:3", 1)]


def test_numbers_that_begin_again_in_every_dialogue_are_not_ids(tmp_path: Path) -> None:
    """As in the tables of MELD: no row is lost, and `--column` may say otherwise."""
    rows = [f"{n},d{d},text {n} of {d}" for d in range(3) for n in range(3)]
    text = "Utterance_ID,Dialogue_ID,Utterance\n" + "\n".join(rows)
    prepared = prepare(tmp_path, "t.csv", text)
    assert len(set(ids(prepared))) == 9
    assert [p.category for p in prepared.problems] == ["ambiguous_column"]
    assert ids(prepare(tmp_path, "t.csv", text, column="utterance_id=Utterance_ID")) == ["0", "1", "2"]


def test_a_cue_or_word_that_is_added_renames_no_other(tmp_path: Path) -> None:
    cue = "{:02d}:{:02d}.000 --> {:02d}:{:02d}.000\n{}\n"
    cues = [cue.format(0, n, 0, n + 4, f"one two three four {n}") for n in (10, 15, 20)]

    def named(cues: list[str], kind: str) -> set[str]:
        (tmp_path / "a.vtt").write_text("WEBVTT\n\n" + "\n".join(cues))
        options = {"table": None, "utterances": kind, "crop_seconds": 4.0}
        return set(ids(prepare(tmp_path, "a.mp4", b"", **options)))

    more = [cue.format(0, 1, 0, 4, "first of all"), *cues, cue.format(0, 30, 0, 34, "and the last")]
    assert named(cues, "cue") == {"a@10-14", "a@15-19", "a@20-24"}
    assert named(cues, "cue") < named(more, "cue")
    assert named(cues, "crop") < named(more, "crop")


def test_cues_of_one_time_are_told_apart_by_speaker(tmp_path: Path) -> None:
    (tmp_path / "a.vtt").write_text("WEBVTT\n\n00:01.000 --> 00:02.000\n<v Ann>one</v> <v Bob>one</v>\n")
    assert ids(prepare(tmp_path, "a.mp4", b"", table=None, utterances="cue")) == ["a@1-2#Ann", "a@1-2#Bob"]


def test_words_of_a_speaker_are_not_those_of_a_clip_of_that_name(tmp_path: Path) -> None:
    """`talk` with the speaker Ann, and the clip `talk/Ann`."""
    (tmp_path / "talk").mkdir()
    said = "00:00.000 --> 00:06.000\n{}one two three four five six\n"
    (tmp_path / "talk.vtt").write_text("WEBVTT\n\n" + said.format("<v Ann>"))
    (tmp_path / "talk" / "Ann.vtt").write_text("WEBVTT\n\n" + said.format(""))
    (tmp_path / "talk" / "Ann.mp4").touch()
    prepared = prepare(tmp_path, "talk.mp4", b"", table=None, utterances="crop", crop_seconds=4.0)
    uris = {row.audio.uri for row in prepared.utterances if row.audio}
    assert uris == {"talk.mp4", "talk/Ann.mp4"}
