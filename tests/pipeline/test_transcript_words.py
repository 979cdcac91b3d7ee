"""The text stage reads what is said: the transcript, aligned to the words with times, and never less."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpipe.core.errors import Rejected
from mmpipe.manifests.schema import Utterance, Word, to_table
from mmpipe.pipeline.extraction.inputs import Inputs
from mmpipe.pipeline.extraction.stages import StageSpec
from mmpipe.pipeline.extraction.text_check import case_problems
from mmpipe.pipeline.extraction.transcript_words import Source, aligned, transcript_words

SENTENCE = "Well, it's a twenty-five -- No. 5."
ALIGNED = ["WELL", "IT'S", "A", "TWENTY", "FIVE", "NO", "5"]


def utterance(text: str | None, words: list[str]) -> Utterance:
    return Utterance("x/1", "x", text=text, words=tuple(Word(word) for word in words) or None)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("transcript", ["Well,", "it's", "a", "twenty-five --", "", "No.", "5."]),
        ("words", ALIGNED),
    ],
)
def test_words_that_cover_the_transcript_give_its_spelling_or_their_own(source: Source, expected: list[str]) -> None:
    assert Inputs(Path(), 10, source=source).words(utterance(SENTENCE, ALIGNED)) == expected


@pytest.mark.parametrize("source", ["transcript", "words"])
@pytest.mark.parametrize("words", [ALIGNED[1:], ALIGNED[:3], ["WELL"], [*ALIGNED, "AND"], ["OTHER", "WORDS"]])
def test_words_that_are_incomplete_or_differ_never_replace_the_transcript(source: Source, words: list[str]) -> None:
    assert Inputs(Path(), 10, source=source).words(utterance(SENTENCE, words)) == SENTENCE.split()


def test_words_alone_and_text_alone_are_read_as_they_are() -> None:
    assert Inputs(Path(), 10).words(utterance(None, ALIGNED)) == ALIGNED
    assert Inputs(Path(), 10).words(utterance(SENTENCE, [])) == SENTENCE.split()
    with pytest.raises(Rejected, match="the transcript of this utterance is empty"):
        Inputs(Path(), 10).words(utterance(" ", []))


TOKENS = st.lists(st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=6), max_size=8)


@given(tokens=TOKENS, cuts=st.data())
def test_an_alignment_keeps_every_token_once_and_in_order(tokens: list[str], cuts: st.DataObject) -> None:
    letters = "".join(c for c in "".join(tokens) if c.isalnum())
    places = sorted(cuts.draw(st.sets(st.integers(1, max(len(letters) - 1, 1)), max_size=5)))
    words = [part for a, b in zip([0, *places], [*places, len(letters)], strict=True) if (part := letters[a:b].upper())]
    spelled = aligned(tokens, words) if words else None
    if spelled is not None:
        assert len(spelled) == len(words) and " ".join(spelled).split() == tokens
    assert " ".join(transcript_words(" ".join(tokens), words)).split() == tokens


def test_source_is_an_option_of_the_text_stage() -> None:
    assert StageSpec("text", "bert").source == "transcript"
    assert StageSpec("text", "bert", {"source": "words"}).source == "words"
    assert StageSpec("audio", "is10").source == "transcript"


@pytest.mark.parametrize(("lower", "texts", "found"), [
    (False, ["HELLO THERE", "SO IT IS", "I", "no"], 1),
    (False, ["Hello there.", "So it is.", "I"], 0),
    (True, ["HELLO THERE"], 0),
])  # fmt: skip
def test_upper_case_texts_for_a_cased_model_are_reported_while_planning(
    lower: bool, texts: list[str], found: int, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": lower}))
    rows = to_table([Utterance(f"x/{n}", "x", text=text) for n, text in enumerate(texts)])
    problems = case_problems(rows, [StageSpec("text", "bert", {"model": str(tmp_path)})])
    assert [p.category for p in problems] == ["upper_case"] * found
    assert all("uncased" in p.message for p in problems)
