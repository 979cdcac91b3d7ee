"""Captions as people have them: every line of times is a cue or a reported problem, and no text is invented."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmpipe.manifests.contract import Prepared
from mmpipe.manifests.formats.captions import subrip_blocks
from mmpipe.manifests.formats.spoken import Transcript
from mmpipe.manifests.formats.transcripts import read_transcript

CASES = Path(__file__).parent / "cases"


def read(name: str, tmp_path: Path | None = None, text: str | None = None) -> tuple[Transcript, Prepared]:
    prepared = Prepared()
    if text is not None:
        assert tmp_path is not None
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    root = CASES if text is None or tmp_path is None else tmp_path
    return read_transcript(root, root / name, prepared), prepared


def cues(
    name: str, tmp_path: Path | None = None, text: str | None = None
) -> list[tuple[float, float, str | None, str]]:
    found, _ = read(name, tmp_path, text)
    return [(cue.start_seconds, cue.end_seconds, cue.speaker, cue.text) for cue in found.cues]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("unnumbered.srt", [(1, 2, None, "one"), (3, 4, None, "two"), (5, 6, None, "three")]),
        ("invisible.srt", [(1, 2, None, "hello"), (3, 4, None, "there")]),
        ("ass.srt", [(1, 2.5, None, "Hello there"), (3, 4, None, "and you")]),
        ("whole_seconds.srt", [(20, 24, None, "I like it."), (24, 27, None, "So do I.")]),
        ("minus_one.srt", [(0, 0.5, None, "made by somebody"), (1, 2.5, None, "Hello there")]),
        ("number_twice.srt", [(70.04, 73.36, None, "A-B..."), (76.84, 79.08, None, "... C-D.")]),
        (
            "odd_numbers.srt",
            [(0.5, 2, None, "a b"), (3.5, 4.25, None, "first half second half"), (7, 8, None, "1984")],
        ),
        ("blocks.vtt", [(11, 13, "Ann", "We are in town & well"), (3723.004, 3724, None, "later")]),
        (
            "voices.vtt",
            [
                (0, 4, "Ann", "Do you have it?"),
                (0, 4, "Bob", "Yes I have."),
                (5, 6, "Tom & Jerry", "both"),
                (7, 8, "Bob", "mine"),
            ],
        ),
    ],
)
def test_captions_of_the_field_have_their_cues(name: str, expected: list[tuple[float, float, str | None, str]]) -> None:
    assert cues(name) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1\r\r\n00:00:01,000 --> 00:00:02,000\r\r\nhi\r\r\n\r\r\n2\r\r\n00:00:03,000 --> 00:00:04,000\r\r\nyou",
         ["hi", "you"]),
        ("1\n00:00:01,000 -> 00:00:02,000\nhi\n\n2\n00:00:03,000 –> 00:00:04,000\nyou", ["hi", "you"]),
        ("1\n00:00:01,000 --> 00:00:02,000\nhi\n2\n00:00:03,000 --> 00:00:04,000\nyou", ["hi", "you"]),
        ("00:00:01,000 --> 00:00:02,000\n1984\n\n00:00:03,000 --> 00:00:04,000\nyou", ["1984", "you"]),
        ("00:01,000 --> 00:02,000 X1:10 X2:20\nhi\n\n00:03,000 --> 00:04,000 said here", ["hi", "said here"]),
        ("1\n00:00:01,000 --> 00:00:02,000\n<font color=\"red\">a &lt; b</font><br/>c\\Nd {y:i}e", ["a < b c d e"]),
    ],
)  # fmt: skip
def test_other_ways_to_write_subrip_are_read(text: str, expected: list[str], tmp_path: Path) -> None:
    assert [text for *_, text in cues("a.srt", tmp_path, text)] == expected


def test_a_webvtt_file_without_its_first_line_is_read_as_subrip_and_reported(tmp_path: Path) -> None:
    found, prepared = read("a.vtt", tmp_path, "1\n00:01.000 --> 00:02.000\nhi\n")
    assert found.text == "hi" and [(p.category, p.where) for p in prepared.problems] == [("malformed_line", "a.vtt:1")]


def test_text_outside_cues_and_cues_without_text_are_reported_with_their_line(tmp_path: Path) -> None:
    _, prepared = read("a.srt", tmp_path, "by me\n\n1\n00:00:01,000 --> 00:00:02,000\n\n2\n00:00:03,000 --> soon\nhi\n")
    assert [(p.category, p.where) for p in prepared.problems] == [
        ("malformed_line", "a.srt:1"),
        ("malformed_line", "a.srt:7"),
        ("empty_cue", "a.srt:4"),
    ]
    assert "'hi'" in prepared.problems[1].message
    _, prepared = read("a.vtt", tmp_path, "WEBVTT\n\n00:01.000 --> 00:02.000\nhi\n\nlost words\n")
    assert [(p.category, p.where) for p in prepared.problems] == [("malformed_line", "a.vtt:6")]


def test_rolling_captions_give_each_word_once_with_its_time() -> None:
    found, prepared = read("rolling.vtt")
    assert found.text == "good morning to you we are very glad that you came"
    # the inline times of the file, and the start of a cue for its first word
    assert {word.text: word.start_seconds for word in found.words[:4]} == {
        "good": 0.16,
        "morning": 0.48,
        "to": 0.96,
        "you": 1.4,
    }
    assert [word.text for word in found.words] == found.text.split() and prepared.problems == []
    ends = [word.end_seconds for word in found.words]
    assert all(a <= b.start_seconds + 1e-9 for a, b in zip(ends, found.words[1:], strict=False))


def test_rolling_captions_converted_to_subrip_give_each_line_once(tmp_path: Path) -> None:
    lines = ["so here we are", "yeah", "yeah", "and then"]
    shown = [[lines[0]], [lines[0]], lines[0:2], [lines[1]], lines[1:3], [lines[2]], lines[2:4]]
    blocks = [f"{n}\n00:00:{n:02d},000 --> 00:00:{n + 1:02d},000\n" + "\n".join(s) for n, s in enumerate(shown)]
    assert [text for *_, text in cues("a.srt", tmp_path, "\n\n".join(blocks))] == lines


def test_a_line_of_times_ends_the_cue_before_it(tmp_path: Path) -> None:
    text = "WEBVTT\n\n00:01.000 --> 00:02.000\n00:03.000 --> 00:04.000\nhi\n00:05.000 --> 00:06.000\nyou\n"
    found, prepared = read("a.vtt", tmp_path, text)
    assert [(cue.start_seconds, cue.text) for cue in found.cues] == [(3, "hi"), (5, "you")]
    assert [(p.category, p.where) for p in prepared.problems] == [("empty_cue", "a.vtt:3")]


def test_three_cues_of_automatic_captions_in_subrip_give_each_line_once(tmp_path: Path) -> None:
    text = (
        "1\n00:00:00,160 --> 00:00:02,470\n \ngood morning\n\n2\n00:00:02,470 --> 00:00:02,480\ngood morning\n \n\n"
        "3\n00:00:02,480 --> 00:00:05,310\ngood morning\nwe are glad\n"
    )
    assert [text for *_, text in cues("a.srt", tmp_path, text)] == ["good morning", "we are glad"]


def test_a_refrain_is_said_as_often_as_it_is_written(tmp_path: Path) -> None:
    blocks = [f"{n}\n00:00:{n:02d},000 --> 00:00:{n + 1:02d},000\nno" for n in range(1, 6)]
    assert len(cues("a.srt", tmp_path, "\n\n".join(blocks))) == 5


LETTERS = st.text(st.characters(categories=["L"]) | st.sampled_from("'.,!?&; "), min_size=1, max_size=12)
TIMES = st.sampled_from(
    ["00:00:01,000 --> 00:00:02,000", "0:0:3.5 --> 0:0:4", "00:07 -> 00:08", "00:00:01,000 --> x", "a --> b",
     "\u200e00:00:05,000 → 00:00:06,500 align:start", "00:00:09,000 --> 00:00:08,000"]
)  # fmt: skip
LINES = st.lists(
    LETTERS | TIMES | st.sampled_from(["", "", "1", "2", "\ufeff2", "-1", "1984", "{\\an8}", "<i>", "</i>"]),
    max_size=20,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=LINES)
def test_every_line_of_times_is_a_cue_or_reported_and_no_text_is_lost_or_invented(
    lines: list[str], tmp_path: Path
) -> None:
    prepared = Prepared()
    blocks = subrip_blocks("a.srt", "\n".join(lines), prepared)
    timed = [n for n, line in enumerate(lines, 1) if "-->" in line or "->" in line or "→" in line]
    reported = {int(p.where.partition(":")[2]) for p in prepared.problems}
    assert {block.line for block in blocks} | reported >= set(timed)
    assert {block.line for block in blocks} <= set(timed)
    visible = Counter(word for n, line in enumerate(lines, 1) if n not in timed for word in said(line))
    kept = Counter(word for block in blocks for line in block.lines for word in said(line))
    assert not kept - visible  # nothing is invented
    lost = visible - kept
    if any(re.search("[^-0-9]", word) for word in lost):
        assert prepared.problems
    numbers = sum(count for word, count in lost.items() if re.fullmatch("-?[0-9]+", word))
    assert numbers <= len(timed) + sum(n in reported for n in range(len(lines) + 1)) * len(lines)
    found, noted = read("a.srt", tmp_path, "\n".join(lines) or "\n")
    places = {p.where for p in noted.problems if p.category != "malformed_line"}
    assert len(blocks) <= len(found.cues) + len(places)


def said(line: str) -> list[str]:
    return line.translate(dict.fromkeys([0x200E, 0xFEFF])).split()


def test_plain_subrip_equals_pysubs2(tmp_path: Path) -> None:
    pysubs2 = pytest.importorskip("pysubs2")
    for name in ("ass.srt", "unnumbered.srt", "minus_one.srt", "odd_numbers.srt"):
        file = pysubs2.SSAFile.from_string((CASES / name).read_text("utf-8"), format_="srt")
        expected = [(e.start / 1000, e.end / 1000, None, " ".join(e.plaintext.split())) for e in file]
        assert cues(name) == [cue for cue in expected if cue[3]]
