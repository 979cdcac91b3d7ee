"""Anyone's clips: found with their transcripts, or listed in a table."""

from __future__ import annotations

import html
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpipe.core.errors import CorpusError
from mmpipe.manifests.contract import Prepared
from mmpipe.manifests.corpora.folder import Folder, FolderOptions
from mmpipe.manifests.io import refuse_links
from mmpipe.manifests.schema import Utterance, to_table

from .generators.textgrid import grid

VTT = "WEBVTT\n\n00:00.000 --> 00:04.000\n<v Ann>one two three four\n\n00:04.000 --> 00:08.000\n<v Ann>five six seven\n"
SRT = "1\n00:00:01,000 --> 00:00:02,500\nHello there\n\n2\n00:00:09,000 --> 00:00:08,000\nbackwards\n"
TEXTGRID = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 2
tiers? <exists>
size = 1
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 2
        intervals: size = 2
        intervals [1]:
            xmin = 0
            xmax = 0.5
            text = "good"
        intervals [2]:
            xmin = 0.5
            xmax = 1.25
            text = "day"
"""


def prepare(root: Path, **options: object) -> Prepared:
    return Folder(FolderOptions.model_validate(options)).prepare(root)


def only(root: Path, **options: object) -> Utterance:
    (utterance,) = prepare(root, **options).utterances
    return utterance


def categories(prepared: Prepared) -> list[str]:
    return [problem.category for problem in prepared.problems]


def test_a_clip_with_a_text_beside_it_is_one_utterance(tmp_path: Path) -> None:
    (tmp_path / "talk.flv").touch()
    (tmp_path / "talk.txt").write_text(" It is\neleven o'clock \n")
    row = only(tmp_path)
    assert (row.utterance_id, row.text) == ("folder/talk", "It is eleven o'clock")
    assert row.audio is not None and row.audio.uri == "talk.flv"
    assert row.video == row.audio


def test_sound_and_picture_of_one_name_are_one_clip(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.wav"):
        (tmp_path / name).touch()
    row = only(tmp_path)
    assert row.audio and row.video and (row.audio.uri, row.video.uri) == ("a.wav", "a.mp4")


def test_a_clip_without_transcript_stays_and_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    prepared = prepare(tmp_path)
    assert prepared.utterances[0].text is None and categories(prepared) == ["no_transcript"]


def test_cues_become_utterances_with_their_speaker(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "a.vtt").write_text(VTT)
    rows = prepare(tmp_path, utterances="cue").utterances
    assert [(r.utterance_id, r.text, r.speaker) for r in rows] == [
        ("folder/a@0-4", "one two three four", "Ann"),
        ("folder/a@4-8", "five six seven", "Ann"),
    ]
    assert rows[1].audio and (rows[1].audio.start_seconds, rows[1].audio.end_seconds) == (4.0, 8.0)


def test_a_cue_that_runs_backwards_is_left_out_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "a.srt").write_text(SRT)
    prepared = prepare(tmp_path, utterances="cue")
    assert [row.text for row in prepared.utterances] == ["Hello there"]
    assert [(p.category, p.where) for p in prepared.problems] == [("times_backwards", "a.srt:6")]


def test_a_textgrid_gives_words_with_times(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    (tmp_path / "a.TextGrid").write_text(TEXTGRID)
    words = only(tmp_path).words
    assert words and [(w.text, w.start_seconds, w.end_seconds) for w in words] == [
        ("good", 0.0, 0.5),
        ("day", 0.5, 1.25),
    ]


def test_label_and_speaker_come_from_the_folders_name(tmp_path: Path) -> None:
    (tmp_path / "anger").mkdir()
    (tmp_path / "anger" / "a.wav").touch()
    row = only(tmp_path, label="folder", speaker="folder")
    assert (row.label, row.label_source, row.speaker) == ("anger", "anger", "anger")


def test_crops_are_centred_on_words_of_captions(tmp_path: Path) -> None:
    header = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 0, b"WAVE", b"fmt ", 16, 1, 1, 100, 200, 2, 16, b"data", 1600)
    (tmp_path / "a.wav").write_bytes(header + bytes(1600))  # eight seconds of 100 Hz, 16 bit
    (tmp_path / "a.vtt").write_text(VTT)
    prepared = prepare(tmp_path, utterances="crop", crop_seconds=4.0, num_crops=100)
    assert prepared.utterances and "fewer_crops" in categories(prepared)
    for row in prepared.utterances:
        assert row.audio and row.audio.end_seconds is not None and row.words is not None
        assert row.audio.start_seconds >= 0 and row.audio.end_seconds <= 8.0
        assert len(row.words) >= 3
        assert all((w.start_seconds or 0) >= 0 and (w.end_seconds or 0) <= 4.0 for w in row.words)


def test_a_table_lists_spans_labels_and_annotations(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "t.csv").write_text(
        "file,start_seconds,duration_seconds,text,label,speaker,mood\na.mp4,1.5,2,hello,joy,Ann,7\n,,,text alone,,,\n"
    )
    media, text = prepare(tmp_path, table="t.csv").utterances
    assert media.video and (media.video.start_seconds, media.video.end_seconds) == (1.5, 3.5)
    assert (media.label, media.speaker, dict(media.annotations)) == ("joy", "Ann", {"mood": "7"})
    assert (text.text, text.audio, text.video) == ("text alone", None, None)


@pytest.mark.parametrize("uri", ["http://x/a.mp4", "concat:a|b", "../a.mp4", "/etc/passwd", "link.mp4"])
def test_a_path_that_leaves_the_root_is_left_out(uri: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.mp4").touch()
    (root / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    (root / "t.csv").write_text(f"file,text\n{uri},hello\n,fine\n")
    prepared = prepare(root, table="t.csv")
    assert [row.text for row in prepared.utterances] == ["fine"]
    assert categories(prepared) == ["leaves_root"]


@pytest.mark.parametrize("uri", ["x" * 300 + ".wav", "folder/" * 900 + "a.wav", "a.wav/b.wav"])
def test_a_name_that_no_file_can_have_is_a_missing_file(uri: str, tmp_path: Path) -> None:
    """File names end at 255 bytes, paths at 4,096 (Linux, limits.h); a file holds no files."""
    (tmp_path / "a.wav").touch()
    (tmp_path / "t.csv").write_text(f"file\n{uri}\na.wav\n")
    prepared = prepare(tmp_path, table="t.csv")
    assert [row.audio and row.audio.uri for row in prepared.utterances] == [uri, "a.wav"]
    assert [(p.category, p.where) for p in prepared.problems] == [("media_missing", uri)]
    refuse_links(to_table(prepared.utterances), tmp_path)


def test_a_circle_of_links_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.wav").symlink_to("b.wav")
    (tmp_path / "b.wav").symlink_to("a.wav")
    (tmp_path / "c.wav").touch()
    (tmp_path / "t.csv").write_text("file\na.wav\nc.wav\n")
    for prepared in (prepare(tmp_path), prepare(tmp_path, table="t.csv")):
        assert [row.audio and row.audio.uri for row in prepared.utterances] == ["c.wav"]
        assert "leaves_root" in categories(prepared)


def test_rows_that_cannot_be_used_are_told_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(
        '{"text": "a", "utterance_id": "x"}\nno json\n{"text": "b", "start_seconds": "soon"}\n'
        '{"text": "c", "start_seconds": 2, "end_seconds": 1}\n{"text": "d", "utterance_id": "x"}\n'
    )
    prepared = prepare(tmp_path, table="t.jsonl")
    assert [row.text for row in prepared.utterances] == ["a"]
    assert [(p.category, p.where) for p in prepared.problems] == [
        ("malformed_line", "t.jsonl:2"),
        ("malformed_line", "t.jsonl:3"),
        ("times_backwards", "t.jsonl:4"),
        ("repeated_id", "t.jsonl:5"),
    ]


def test_a_table_without_the_needed_columns_or_outside_the_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("number,words\na,b\n")
    with pytest.raises(CorpusError, match="expected a column `file` or `text`; found number, words"):
        prepare(tmp_path, table="t.csv")
    with pytest.raises(CorpusError, match="must lie in"):
        prepare(tmp_path, table="../t.csv")
    with pytest.raises(CorpusError, match="does not exist"):
        prepare(tmp_path, table="gone.csv")


def test_a_table_gives_labels_and_speakers_to_clips_with_transcripts_beside_them(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "a.vtt").write_text(VTT.replace("<v Ann>", ""))
    (tmp_path / "t.csv").write_text("file,label,speaker,mood\na.mp4,joy,Bea,7\n")
    (clip,) = prepare(tmp_path, table="t.csv").utterances
    assert (clip.text, clip.label, clip.speaker) == ("one two three four five six seven", "joy", "Bea")
    cues = prepare(tmp_path, table="t.csv", utterances="cue").utterances
    assert [(c.text, c.label, c.speaker) for c in cues] == [
        ("one two three four", "joy", "Bea"),
        ("five six seven", "joy", "Bea"),
    ]
    crops = prepare(tmp_path, table="t.csv", utterances="crop", crop_seconds=4.0, num_crops=9).utterances
    assert crops and {(c.label, c.speaker, c.annotations["mood"]) for c in crops} == {("joy", "Bea", "7")}


def test_a_part_of_a_file_takes_the_cues_inside_it(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "a.vtt").write_text(VTT)
    (tmp_path / "t.csv").write_text("file,start_seconds,end_seconds\na.mp4,3.5,9\n")
    assert only(tmp_path, table="t.csv").text == "five six seven"
    prepared = Prepared()
    with pytest.raises(CorpusError, match="is not a whole file"):
        prepared = prepare(tmp_path, table="t.csv", utterances="cue")
    assert not prepared.utterances


def test_a_table_of_texts_needs_no_media(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("text\tlabel\nso good\tjoy\noh no\tsadness\n")
    rows = prepare(tmp_path, table="t.tsv").utterances
    assert [(r.text, r.label, r.audio, r.video) for r in rows] == [
        ("so good", "joy", None, None),
        ("oh no", "sadness", None, None),
    ]
    assert len({r.utterance_id for r in rows}) == 2


CUES = st.lists(
    st.tuples(
        st.integers(1, 5000),
        st.integers(1, 5000),
        st.lists(
            st.text(st.characters(categories=["L", "N"]) | st.sampled_from("'\"&<>.,!?é’"), min_size=1, max_size=9),
            min_size=1,
            max_size=6,
        ),
    ),
    min_size=1,
    max_size=8,
)


@given(cues=CUES)
def test_webvtt_subrip_and_textgrid_of_the_same_cues_give_the_same_utterances(
    cues: list[tuple[int, int, list[str]]], tmp_path: Path
) -> None:
    (tmp_path / "a.mp4").touch()
    clock, timed = 0, []
    for gap, length, words in cues:
        text = " ".join(words)
        if text.replace(" ", "").isdigit() or "<" in text or ">" in text:  # a number line, a tag: no text in SubRip
            text = f"said {text.replace('<', '(').replace('>', ')')}"
        if not any(c.isalnum() for c in text):  # in a TextGrid, a pause
            text = f"said {text}"
        timed.append((clock + gap, clock + gap + length, text))
        clock += gap + length
    found = {}
    for name, write in (("a.vtt", as_vtt), ("a.srt", as_srt), ("a.TextGrid", as_textgrid)):
        (tmp_path / name).write_text(write(timed), encoding="utf-8")
        prepared = prepare(tmp_path, utterances="cue")
        assert prepared.problems == []
        found[name] = prepared.utterances
        (tmp_path / name).unlink()
    assert found["a.vtt"] == found["a.srt"] == found["a.TextGrid"]
    spans = [(r.audio.start_seconds, r.audio.end_seconds, r.text) for r in found["a.vtt"] if r.audio]
    assert spans == [(start / 1000, end / 1000, text) for start, end, text in timed]


def clock(millis: int, mark: str) -> str:
    seconds, millis = divmod(millis, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{mark}{millis:03d}"


def as_vtt(cues: list[tuple[int, int, str]]) -> str:
    blocks = [f"{clock(a, '.')} --> {clock(b, '.')}\n{html.escape(text, quote=False)}\n" for a, b, text in cues]
    return "WEBVTT\n\n" + "\n".join(blocks)


def as_srt(cues: list[tuple[int, int, str]]) -> str:
    blocks = [f"{n}\n{clock(a, ',')} --> {clock(b, ',')}\n{text}\n" for n, (a, b, text) in enumerate(cues, 1)]
    return "\n".join(blocks)


def as_textgrid(cues: list[tuple[int, int, str]]) -> str:
    intervals, last = [], 0
    for start, stop, text in cues:
        if start > last:
            intervals.append((last / 1000, start / 1000, ""))
        intervals.append((start / 1000, stop / 1000, text.replace('"', '""')))
        last = stop
    return grid({"speech": intervals})


def test_skipped_files_are_reported_by_their_ending(tmp_path: Path) -> None:
    for name in ("a.wav", "b.mts", "c.WMV", "d.sph", "e.xyz", "f.xyz", "notes.md"):
        (tmp_path / name).touch()
    prepared = prepare(tmp_path)
    assert [u.utterance_id for u in prepared.utterances] == ["folder/a", "folder/b", "folder/c", "folder/d"]
    assert [u.video is not None for u in prepared.utterances] == [False, True, True, False]
    skipped = [problem.message for problem in prepared.problems if problem.category == "skipped_file"]
    assert any("'.xyz'" in message and "2" in message for message in skipped)


def test_in_a_table_the_streams_of_a_file_decide_whether_it_has_video(tmp_path: Path) -> None:
    (tmp_path / "tape.odd").touch()
    (tmp_path / "t.csv").write_text("file,text\ntape.odd,one two\n")
    (row,) = prepare(tmp_path, table="t.csv").utterances
    assert row.audio is not None and row.video is not None and row.video.uri == "tape.odd"
