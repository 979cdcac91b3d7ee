"""TextGrids of aligners: marks are not words, tiers are speakers, and no word of a cue is lost by rounding."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmpipe.manifests.contract import Prepared
from mmpipe.manifests.formats.spoken import Cue, TimedWord, Transcript, words_by_cue
from mmpipe.manifests.formats.tiers import is_mark, tier_kind
from mmpipe.manifests.formats.transcripts import read_transcript
from mmpipe.manifests.windows import recordings_of

from .generators.textgrid import grid

CASES = Path(__file__).parent / "cases"


def read(name: str, root: Path = CASES, tier: str | None = None) -> tuple[Transcript, Prepared]:
    prepared = Prepared()
    return read_transcript(root, root / name, prepared, tier), prepared


def test_marks_of_silence_noise_and_laughter_are_not_words() -> None:
    found, _ = read("marks.TextGrid")
    assert found.text == "HELLO THERE FRIEND"
    assert [word.text for word in found.words] == ["HELLO", "THERE", "FRIEND"]


@pytest.mark.parametrize(
    "mark",
    [
        "sp",
        "SIL",
        "spn",
        "<eps>",
        "<unk>",
        "<p:>",
        "<s>",
        "{LG}",
        "{NS}",
        "[noise]",
        "++LAUGH++",
        "!SIL",
        "!sent_end",
        "#",
        "...",
        "_",
    ],
)
def test_each_mark_of_an_aligner_is_known(mark: str) -> None:
    assert is_mark(mark)


@pytest.mark.parametrize(
    "word", ["a", "I", "spin", "silence", "noise", "(uh)", "%hesitation", "o'clock", "é", "42", "'s", "!No"]
)
def test_words_are_not_taken_for_marks(word: str) -> None:
    assert not is_mark(word)


@pytest.mark.parametrize("name", ["speakers_words.TextGrid", "speakers.TextGrid"])
def test_tiers_are_speakers(name: str) -> None:
    found, _ = read(name)
    assert {cue.speaker: cue.text for cue in found.cues} == {"Ann": "i think so", "Bob": "no way"}
    words = {r.speaker: " ".join(r.texts) for r in recordings_of("a", "a", found, None)}
    assert words == {"Ann": "i think so", "Bob": "no way"}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("words", ("words", None)), ("Word", ("words", None)), ("Ann - words", ("words", "Ann")),
        ("speaker1_words", ("words", "speaker1")), ("words (Ann)", ("words", "Ann")), ("ORT-MAU", ("words", None)),
        ("Ann - phones", ("sounds", "Ann")), ("MAU", ("sounds", None)), ("speech", ("speech", None)),
        ("Bob-utterances", ("speech", "Bob")), ("emotion", ("annotation", None)), ("Bob", ("named", "Bob")),
    ],
)  # fmt: skip
def test_the_name_of_a_tier_tells_its_kind_and_speaker(name: str, kind: tuple[str, str | None]) -> None:
    assert tier_kind(name) == kind


def test_tiers_that_are_not_read_are_reported(tmp_path: Path) -> None:
    tiers = {"speech": [(0.0, 1.0, "so it is")], "Ann": [(0.0, 1.0, "smiles")], "emotion": [(0.0, 1.0, "joy")]}
    (tmp_path / "a.TextGrid").write_text(grid(tiers))
    found, prepared = read("a.TextGrid", tmp_path)
    assert found.text == "so it is"
    assert [p.category for p in prepared.problems] == ["skipped_tier"] and "Ann, emotion" in prepared.problems[
        0
    ].message
    assert read("a.TextGrid", tmp_path, "Ann")[0].text == "smiles"


def test_two_tiers_of_one_name_at_one_time_are_two_streams_of_words(tmp_path: Path) -> None:
    one, two = grid({"words": [(0.0, 1.0, "yes"), (1.0, 2.0, "so")]}), grid({"words": [(0.5, 1.5, "no")]})
    tier = two[two.index("    item [1]") :].replace("item [1]", "item [2]")
    (tmp_path / "a.TextGrid").write_text(one.replace("size = 1", "size = 2", 1) + tier)
    found, _ = read("a.TextGrid", tmp_path)
    assert {cue.speaker: cue.text for cue in found.cues} == {None: "yes so", "2": "no"}


def test_boundaries_that_differ_by_rounding_do_not_cost_a_word() -> None:
    found, _ = read("rounding.TextGrid")
    assert [[word.text for word in words] for words in words_by_cue(found.cues, found.words)] == [["he", "said", "no"]]


@pytest.mark.parametrize("form", ["short", "chrono", "long-utf16", "u8bom"])
def test_all_text_forms_and_encodings_of_praat_hold_the_same(form: str) -> None:
    found, prepared = read(f"form_{form}.TextGrid")
    assert found.text == 'he said "no" – é' and [word.text for word in found.words] == ["he", "said", '"no"']
    assert not [p for p in prepared.problems if p.category != "skipped_tier"]


def test_a_binary_textgrid_is_reported_with_its_remedy() -> None:
    found, prepared = read("form_binary.TextGrid")
    assert found.text == "" and "Save as text file" in prepared.problems[-1].message


SPANS = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9)), max_size=12)


@settings(max_examples=200, deadline=None)
@given(cues=SPANS, words=SPANS)
def test_each_word_is_in_one_cue_that_contains_its_middle(
    cues: list[tuple[int, int]], words: list[tuple[int, int]]
) -> None:
    made = [Cue(start, start + length, "") for start, length in cues]
    spoken = [TimedWord(str(n), start, start + length) for n, (start, length) in enumerate(words)]
    found = words_by_cue(made, spoken)
    place = {word.text: cue for cue, inside in zip(made, found, strict=True) for word in inside}
    for word in spoken:
        fits = [cue for cue in made if cue.start_seconds <= word.middle < cue.end_seconds]
        assert (place[word.text] in fits) if fits else word.text not in place
    assert sum(map(len, found)) == len(place)


def test_twenty_thousand_words_and_two_thousand_cues_take_a_moment(tmp_path: Path) -> None:
    words = [(n * 0.3, (n + 1) * 0.3, f"word{n % 999}") for n in range(20_000)]
    cues = [(n * 3.0, (n + 1) * 3.0, " ".join(word[2] for word in words[10 * n : 10 * n + 10])) for n in range(2_000)]
    (tmp_path / "a.TextGrid").write_text(grid({"speech": cues, "words": words}))
    began = time.process_time()
    found, _ = read("a.TextGrid", tmp_path)
    inside = words_by_cue(found.cues, found.words)
    assert time.process_time() - began < 0.9  # 0.2 s on one core
    assert [len(spoken) for spoken in inside] == [10] * 2_000
