"""Whatever a file holds, a reader ends with utterances and problems, or refuses the corpus by name."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpipe.core.errors import CorpusError, ManifestError
from mmpipe.core.statuses import CATEGORIES
from mmpipe.manifests.contract import Prepared
from mmpipe.manifests.formats.riff import riff_seconds
from mmpipe.manifests.formats.tables import read_rows
from mmpipe.manifests.formats.textgrid import TextGridError, parse_textgrid
from mmpipe.manifests.formats.transcripts import read_transcript
from mmpipe.manifests.io import read_manifest, unsafe_uri, validate
from mmpipe.manifests.registry import CORPORA
from mmpipe.manifests.samples import sample_root
from mmpipe.manifests.schema import MediaSpan, Utterance, to_table

TOKENS = (
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\x92", b"\r", b"\r\n", b"\n\n", b"\t", b'"', b'""', b",", b";", b"-->",
    b"nan", b"NaN", b"inf", b"-1", b"1e999", b"9" * 400, b"0", b"00:00:01,000", b"99:99:99.999", b"[", b"]", b"[ - ]",
    b"<", b">", b"<v ", b"&#0;", b"&amp;", b"&undefined;", b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]>",
    b"</w>", b"<w>", b'punc="true"', b'starttime="nan"', b"WEBVTT", b"NOTE", b"STYLE", b"{}", b"[[[[", b"\xed\xa0\x80",
    b"../../x", b"http://a/b.mp4", b"concat:a|b", b"%", b"C-E2:", b"A-E3:\tval x", "²³".encode(), "\u2028".encode(),
)  # fmt: skip


@st.composite
def spoilt(draw: st.DrawFn, good: bytes) -> bytes:
    """A good file with some bytes taken out and some put in, or bytes of no kind at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=300))
    data = good
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        gone = draw(st.sampled_from([0, 0, 1, 3, 40]))
        data = data[:at] + draw(st.sampled_from(TOKENS) | st.binary(max_size=8)) + data[at + gone :]
    return data


def accepted(prepared: Prepared) -> None:
    """Utterances that obey the schema, problems that name a place and can be printed anywhere."""
    validate(to_table(prepared.utterances))
    for problem in prepared.problems:
        assert problem.category in CATEGORIES and problem.where
        assert (problem.where + problem.message).isprintable()


IEMOCAP = "Session1/{}/Ses01F_impro01"
FILES = (
    ("ami", "words/ES2099a.A.words.xml"),
    ("ami", "corpusResources/meetings.xml"),
    ("meld", "train_sent_emo.csv"),
    ("iemocap", f"{IEMOCAP.format('dialog/EmoEvaluation')}.txt"),
    ("iemocap", f"{IEMOCAP.format('dialog/transcriptions')}.txt"),
    ("iemocap", f"{IEMOCAP.format('sentences/ForcedAlignment')}/Ses01F_impro01_F000.wdseg"),
)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample corpora without their media, and of IEMOCAP one dialog a session."""
    root = tmp_path_factory.mktemp("corpora")
    media = shutil.ignore_patterns("*.avi", "*.mp4", "*.wav", "*impro02*", "Ses*script*")
    for name in ("ami", "meld", "iemocap"):
        shutil.copytree(sample_root(name), root / name, ignore=media)
    return root


@pytest.mark.parametrize(("name", "file"), FILES)
@given(data=st.data())
def test_spoilt_files_of_the_corpora_cost_lines_not_the_run(
    name: str, file: str, corpora: Path, data: st.DataObject
) -> None:
    path = corpora / name / file
    good = path.read_bytes()
    corpus = CORPORA.load(name)
    try:
        path.write_bytes(data.draw(spoilt(good)))
        accepted(corpus(corpus.Options()).prepare(corpora / name))
    except CorpusError as error:
        assert str(path) in str(error) or path.name in str(error)
    finally:
        path.write_bytes(good)


VTT = b"WEBVTT\n\nNOTE x\n\n1\n00:00.000 --> 00:04.000\n<v Ann>one &amp; two\n\n00:04.000 --> 00:08.000\nthree\n"
SRT = b"1\n00:00:01,000 --> 00:00:02,500\nHello there\n\n2\n00:00:09,000 --> 00:00:10,000\nyou\n"
GRID = b"""File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 2
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 2
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 0.5
            text = "good"
    item [2]:
        class = "TextTier"
        name = "points"
        xmin = 0
        xmax = 2
        points: size = 1
        points [1]:
            number = 1
            mark = "x"
"""
BESIDE = {"a.vtt": VTT, "a.srt": SRT, "a.TextGrid": GRID, "a.txt": "It\u2019s \u201cso\u201d".encode()}
TABLES = {
    "t.csv": b'file,start_seconds,end_seconds,text,label\na.wav,0.5,1.5,hello,joy\n,,,"text, alone",\n',
    "t.tsv": b"file\tstart_seconds\ttext\na.wav\t0.5\thello\n",
    "t.jsonl": b'{"file": "a.wav", "text": "hello", "start_seconds": 1}\n{"text": "alone", "mood": [1, {"a": null}]}\n',
}


@pytest.mark.parametrize("name", [*BESIDE, *TABLES])
@given(data=st.data(), utterances=st.sampled_from(["clip", "cue", "crop"]))
def test_spoilt_transcripts_and_tables_of_a_folder_cost_lines_not_the_run(
    name: str, utterances: str, tmp_path: Path, data: st.DataObject
) -> None:
    (tmp_path / "a.wav").touch()
    (tmp_path / name).write_bytes(data.draw(spoilt((BESIDE | TABLES)[name])))
    options: dict[str, Any] = {"table": name} if name in TABLES else {"utterances": utterances, "crop_seconds": 1.0}
    corpus = CORPORA.load("folder")
    try:
        accepted(corpus(corpus.Options.model_validate(options)).prepare(tmp_path))
    except CorpusError as error:
        assert str(tmp_path) in str(error) or name in str(error)
    finally:
        (tmp_path / name).unlink()


@given(text=spoilt(GRID))
def test_a_textgrid_parses_or_names_the_line_where_it_breaks(text: bytes) -> None:
    decoded = text.decode("latin-1")
    try:
        parse_textgrid(decoded)
    except TextGridError as error:
        assert 1 <= error.line <= decoded.count("\n") + 1


@given(
    data=spoilt(struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 52, b"WAVE", b"fmt ", 16, 1, 1, 8, 16, 2, 16, b"data", 16))
)
def test_a_media_header_tells_a_length_or_nothing(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(data)
    seconds = riff_seconds(tmp_path / "a.wav")
    assert seconds is None or 0 < seconds < 1e6


@given(data=st.binary(max_size=200), cut=st.integers(0, 3000))
def test_bytes_that_are_no_manifest_are_refused_by_name(data: bytes, cut: int, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    path = tmp_path / "m.parquet"
    pq.write_table(to_table([Utterance("x/1", "x", audio=MediaSpan("a.wav"))]), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:cut] + data + whole[cut + len(data) :])
    try:
        validate(read_manifest(path))
    except ManifestError as error:
        assert str(path) in str(error)


@given(
    uri=st.text(max_size=30)
    | st.lists(st.sampled_from(["..", ".", "a", "/", ":", "http", "\\", "\n", "b.wav"])).map("".join)
)
def test_arrow_and_python_refuse_the_same_uris(uri: str) -> None:
    try:
        validate(to_table([Utterance("x/1", "x", audio=MediaSpan(uri))]))
    except ManifestError:
        assert unsafe_uri(uri)
    except UnicodeEncodeError:
        assert any("\ud800" <= c <= "\udfff" for c in uri)
    else:
        assert unsafe_uri(uri) is None


@pytest.mark.parametrize(
    "uri",
    ["http://x/a.mp4", "file:/etc/passwd", "concat:a|b", "subfile,,start,0,end,9,,:/etc/passwd", "pipe:0", "data:,x",
     "crypto+http://x", "/etc/passwd", "../a", "a/../../b", "..", "a\\..\\..\\b", "C:\\a.wav", "\\\\host\\a.wav",
     "a\x00b", ""],
)  # fmt: skip
def test_protocol_strings_and_ways_out_of_the_root_are_refused(uri: str) -> None:
    with pytest.raises(ManifestError, match="media are paths relative to the corpus root"):
        validate(to_table([Utterance("x/1", "x", video=MediaSpan(uri))]))


@pytest.mark.parametrize("uri", ["a.wav", "a/b..c/..d.wav", "dir/a b-é.mp4", "x@y+z.wav"])
def test_plain_relative_paths_are_taken(uri: str) -> None:
    validate(to_table([Utterance("x/1", "x", audio=MediaSpan(uri))]))


ODD = {
    "a.vtt": (b"WEBVTT\n\n00:02.000 --> 00:01.000\nback\n\nxx --> yy\nbad\n",
              [("times_backwards", "a.vtt:3"), ("malformed_line", "a.vtt:6")]),
    "a.srt": (b"1\n00:00:01,000 --> 00:00:01,000\nnothing\n", [("times_backwards", "a.srt:2")]),
    "a.TextGrid": (GRID.replace(b"xmax = 0.5", b"xmax = NaN"), [("malformed_line", "a.TextGrid:18")]),
    "a.txt": (b"first\nI\x92m\n", [("wrong_encoding", "a.txt:2")]),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_odd_lines_of_transcripts_are_told_with_file_and_line(name: str, tmp_path: Path) -> None:
    data, expected = ODD[name]
    prepared = Prepared()
    (tmp_path / name).write_bytes(data)
    read_transcript(tmp_path, tmp_path / name, prepared)
    assert {(p.category, p.where) for p in prepared.problems} == set(expected)


@pytest.mark.parametrize("name", ["a.vtt", "a.srt", "a.TextGrid", "a.txt", "t.csv"])
def test_an_empty_file_is_told_by_name(name: str, tmp_path: Path) -> None:
    prepared = Prepared()
    (tmp_path / name).touch()
    read: Callable[..., Any] = read_rows if name == "t.csv" else read_transcript
    list(read(tmp_path, tmp_path / name, prepared) if name == "t.csv" else [read(tmp_path, tmp_path / name, prepared)])
    assert [(p.category, p.where) for p in prepared.problems] == [("file_empty", name)]


WORDS = '<?xml version="1.0" encoding="ISO-8859-1"?>\n<r xmlns:nite="http://nite.sourceforge.net/">\n{}\n</r>\n'


@pytest.mark.parametrize(
    ("element", "category"),
    [
        ('<w nite:id="a" starttime="2" endtime="1">back</w>', "times_backwards"),
        ('<w nite:id="a" starttime="1" endtime="1">point</w>', "zero_length_word"),
        ('<w nite:id="a" starttime="nan" endtime="1">nan</w>', "word_without_times"),
        ('<w nite:id="a">none</w>', "word_without_times"),
        ('<w starttime="1" endtime="2">nameless</w>', "malformed_line"),
        ('<w nite:id="a" starttime="1" endtime="2">open', "file_damaged"),
    ],
)
def test_odd_words_of_ami_are_told_with_file_and_line(
    element: str, category: str, corpora: Path, tmp_path: Path
) -> None:
    shutil.copytree(corpora / "ami", tmp_path / "ami")
    file = tmp_path / "ami" / "words" / "ES2099a.A.words.xml"
    file.write_text(WORDS.format(element), encoding="iso-8859-1")
    corpus = CORPORA.load("ami")
    problems = [p for p in corpus(corpus.Options()).prepare(tmp_path / "ami").problems if "ES2099a.A" in p.where]
    places = [(p.category, p.where) for p in problems]
    where = "words/ES2099a.A.words.xml" + ("" if category == "file_damaged" else ":3")
    assert (category, where) in places


@pytest.mark.parametrize(
    "bomb",
    ['<!DOCTYPE r [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]>', '<!DOCTYPE r [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
     '<!DOCTYPE r SYSTEM "http://example.org/x.dtd">', '<!DOCTYPE r [<!ENTITY % a SYSTEM "http://example.org/x">%a;]>'],
)  # fmt: skip
def test_entities_and_document_types_are_refused_in_words_and_meetings(
    bomb: str, corpora: Path, tmp_path: Path
) -> None:
    shutil.copytree(corpora / "ami", tmp_path / "ami")
    corpus = CORPORA.load("ami")
    for file in ("words/ES2099a.A.words.xml", "corpusResources/meetings.xml"):
        path = tmp_path / "ami" / file
        text = path.read_text(encoding="iso-8859-1")
        path.write_text(text.replace("?>", f"?>{bomb}", 1), encoding="iso-8859-1")
    with pytest.raises(CorpusError, match=r"meetings\.xml cannot be read: DTDForbidden"):
        corpus(corpus.Options()).prepare(tmp_path / "ami")
    shutil.copy(corpora / "ami" / "corpusResources/meetings.xml", tmp_path / "ami" / "corpusResources")
    problems = corpus(corpus.Options()).prepare(tmp_path / "ami").problems
    assert [p.where for p in problems if p.category == "file_refused"] == ["words/ES2099a.A.words.xml"]


def test_a_meld_table_without_a_column_is_refused_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "dev_sent_emo.csv").write_text("Utterance,Speaker\nHi,Ross\n")
    corpus = CORPORA.load("meld")
    with pytest.raises(CorpusError, match=r"dev_sent_emo\.csv:2: columns .*Emotion.* are missing"):
        corpus(corpus.Options()).prepare(tmp_path)
