"""Tables as people have them: delimiters, quotes, encodings, column names, missing values and paths."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmpipe.core.errors import CorpusError, UsageError
from mmpipe.core.text import clean
from mmpipe.manifests.contract import Prepared
from mmpipe.manifests.corpora.folder import Folder, FolderOptions
from mmpipe.manifests.corpora.folder_columns import ALIASES
from mmpipe.manifests.formats.tables import read_rows
from mmpipe.manifests.formats.text import decode
from mmpipe.manifests.io import validate
from mmpipe.manifests.schema import to_table

CASES = Path(__file__).parent / "cases"


def prepare(root: Path, **options: object) -> Prepared:
    prepared = Folder(FolderOptions.model_validate(options)).prepare(root)
    validate(to_table(prepared.utterances))
    return prepared


def places(prepared: Prepared) -> list[tuple[str, str]]:
    return [(p.category, p.where) for p in prepared.problems if p.category not in ("no_transcript", "skipped_file")]


def test_a_tsv_is_not_quoted_as_pandas_reads_it_without_quoting() -> None:
    rows = [row for _, row in read_rows(CASES, CASES / "unquoted.tsv", Prepared())]
    expected = pd.read_csv(CASES / "unquoted.tsv", sep="\t", quoting=csv.QUOTE_NONE)
    assert rows == expected.to_dict("records")


def test_objects_and_lists_are_not_texts_and_annotations_stay_json(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(
        (CASES / "nested.jsonl").read_text() + '{"text": "so", "meta": {"a": [1, true, null]}, "n": 7, "x": NaN}\n'
    )
    prepared = prepare(tmp_path, table="t.jsonl")
    assert [row.text for row in prepared.utterances] == ["so"]
    assert prepared.utterances[0].annotations == {"meta": {"a": [1, True, None]}, "n": 7}
    assert places(prepared) == [("malformed_line", "t.jsonl:1"), ("malformed_line", "t.jsonl:2")]
    stored = to_table(prepared.utterances).column("annotations")[0].as_py()
    assert json.loads(stored) == prepared.utterances[0].annotations


def test_paths_of_windows_are_found(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.wav").touch()
    (tmp_path / "t.csv").write_bytes((CASES / "windows.csv").read_bytes())
    prepared = prepare(tmp_path, table="t.csv")
    (row,) = prepared.utterances
    assert row.audio and row.audio.uri == "clips/a.wav" and places(prepared) == []


@pytest.mark.parametrize("missing", ["NaN", "nan", "", "<NA>"])
def test_a_missing_value_is_not_a_word_and_not_a_label(missing: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"text,label,start_seconds,end_seconds\nhello,{missing},{missing},{missing}\n")
    (row,) = prepare(tmp_path, table="t.csv").utterances
    assert (row.text, row.label) == ("hello", None)


def test_semicolons_and_the_line_that_excel_writes_are_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('sep=;\ntext;label\n"so; it, is";joy\n')
    (row,) = prepare(tmp_path, table="t.csv").utterances
    assert (row.text, row.label) == ("so; it, is", "joy")


def test_a_quote_that_is_not_closed_costs_no_row(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('text,label\n"Hello there,joy\ngood bye,sad\n"I am,joy\n"two\nlines",joy\n')
    prepared = prepare(tmp_path, table="t.csv")
    assert [(r.text, r.label) for r in prepared.utterances] == [
        ('"Hello there', "joy"),
        ("good bye", "sad"),
        ('"I am', "joy"),
        ("two lines", "joy"),
    ]
    assert places(prepared) == [("malformed_line", "t.csv:2"), ("malformed_line", "t.csv:4")]


CELLS = st.text(st.characters(categories=["L", "N", "P", "Zs"]) | st.sampled_from('",\n'), max_size=12)


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(st.tuples(CELLS, CELLS).filter(lambda row: any(cell.strip() for cell in row)), max_size=6))
def test_what_pythons_csv_writes_is_read_back(
    rows: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("one", "two"), *rows])
    prepared = Prepared()
    read = [tuple(row.values()) for _, row in read_rows(path.parent, path, prepared)]
    assert [tuple(map(clean, row)) for row in read] == [tuple(map(clean, row)) for row in rows]
    assert prepared.problems == []


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
@pytest.mark.parametrize(
    "text", ["Hello there", "a,b\n1,2\n", "Grüße – “so”\n", "Привет, как дела?\n", "日本語、です\n"]
)
def test_utf_16_and_utf_32_are_recognised_with_and_without_a_mark(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == (text, [])


def test_utf_16_without_a_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    (tmp_path / "a.txt").write_bytes((CASES / "utf16.txt").read_bytes())
    (row,) = prepare(tmp_path).utterances
    assert row.text == "Hello there"


def test_control_characters_that_are_not_text_are_reported(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    (tmp_path / "a.txt").write_bytes(b"first\nsec\x00ond\n")
    assert places(prepare(tmp_path)) == [("wrong_encoding", "a.txt:2")]


@pytest.mark.parametrize(("column", "alias"), [(column, alias) for column in ALIASES for alias in ALIASES[column]])
def test_every_alias_is_read_as_its_column(column: str, alias: str, tmp_path: Path) -> None:
    value = {"file": "a.wav", "start_seconds": "1.5", "end_seconds": "2.5", "duration_seconds": "2"}.get(column, "x")
    (tmp_path / "a.wav").touch()
    name = alias.replace("_", " ").title()
    other = "file" if column != "file" else "text"
    (tmp_path / "t.csv").write_text(f"{name},{other}\n{value},{'a.wav' if other == 'file' else 'hello'}\n")
    (row,) = prepare(tmp_path, table="t.csv").utterances
    span = row.audio
    assert span is not None
    found = {
        "file": span.uri,
        "utterance_id": row.utterance_id.removeprefix("folder/"),
        "start_seconds": span.start_seconds,
        "end_seconds": span.end_seconds,
        "duration_seconds": span.end_seconds,
    }.get(column, getattr(row, column, None))
    assert str(found).removesuffix(".0") == value


def test_a_start_that_is_not_in_seconds_stays_an_annotation_and_is_reported(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('Utterance,StartTime\nhello,"00:20:57,256"\n')
    prepared = prepare(tmp_path, table="t.csv")
    assert prepared.utterances[0].annotations == {"StartTime": "00:20:57,256"}
    assert places(prepared) == [("ambiguous_column", "t.csv")]


def test_two_columns_that_could_be_meant_are_reported_and_can_be_chosen(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text,label,Emotion\nhello,3,joy\n")
    prepared = prepare(tmp_path, table="t.csv")
    assert prepared.utterances[0].label == "3" and places(prepared) == [("ambiguous_column", "t.csv")]
    prepared = prepare(tmp_path, table="t.csv", column=["label=Emotion"])
    assert prepared.utterances[0].label == "joy" and prepared.utterances[0].annotations == {"label": "3"}
    with pytest.raises(CorpusError, match="there is no column 'mood' for label; columns: text, label, Emotion"):
        prepare(tmp_path, table="t.csv", column=["label=mood"])
    with pytest.raises(UsageError, match="expected KNOWN=NAME"):
        prepare(tmp_path, table="t.csv", column=["mood=Emotion"])


def test_labels_are_mapped_and_keep_their_source(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text,label\nhello,angry\nhi,joy\n")
    prepared = prepare(tmp_path, table="t.csv", label_map="angry=anger,sad=sadness")
    assert [(r.label, r.label_source) for r in prepared.utterances] == [("anger", "angry"), ("joy", "joy")]
    assert places(prepared) == [("unknown_label", "label_map sad")]
    with pytest.raises(UsageError, match="expected OWN=LABEL"):
        prepare(tmp_path, table="t.csv", label_map="angry")
