"""AMI's words: spelled letters are joined, dots are not words, and annotations may be in a folder of their own."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from mmpipe.core.errors import CorpusError
from mmpipe.manifests.contract import Prepared
from mmpipe.manifests.corpora.ami import Ami, AmiOptions
from mmpipe.manifests.corpora.ami_xml import joined_letters, read_words
from mmpipe.manifests.samples import sample_root

FILE = """<?xml version="1.0" encoding="ISO-8859-1"?>
<nite:root xmlns:nite="http://nite.sourceforge.net/">
{}
</nite:root>
"""


def words_file(path: Path, *texts: str) -> None:
    rows = []
    for n, text in enumerate(texts):
        mark = ' punc="true"' if text == "." else ""
        rows.append(f'<w nite:id="w{n}" starttime="{n}" endtime="{n + 1}"{mark}>{text}</w>')
    path.write_text(FILE.format("\n".join(rows)), encoding="iso-8859-1")


@pytest.mark.parametrize(
    ("written", "said"),
    [("T_V_", "TV"), ("L_C_D_s", "LCDs"), ("T_V_'s", "TV's"), ("A_", "A"), ("okay", "okay"), ("X_M_L_", "XML")],
)
def test_spelled_letters_are_joined(written: str, said: str) -> None:
    assert joined_letters(written) == said


def test_words_keep_their_original_beside_them_and_dots_are_not_words(tmp_path: Path) -> None:
    words_file(tmp_path / "a.xml", "the", "T_V_", ".", "..", "...", "is", "on")
    words = read_words(tmp_path, tmp_path / "a.xml", Prepared())
    assert words.texts == ["the", "TV", "is", "on"] and words.originals == {1: "T_V_"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The sample corpus, in which every `the` is a spelled word."""
    shutil.copytree(sample_root("ami"), tmp_path / "ami")
    for path in (tmp_path / "ami" / "words").glob("*.words.xml"):
        text = path.read_text("iso-8859-1")
        path.write_text(re.sub(r">(the|a|to|I)</w>", ">T_V_</w>", text), encoding="iso-8859-1")
    return tmp_path / "ami"


def test_no_utterance_has_an_underscore_and_annotations_have_the_original(root: Path) -> None:
    rows = Ami(AmiOptions(num_crops=50)).prepare(root).utterances
    spelled = [row for row in rows if "TV" in (row.text or "").split()]
    assert spelled
    assert not [row for row in rows if "_" in (row.text or "") + "".join(word.text for word in row.words or ())]
    for row in spelled:
        assert row.words is not None
        originals = row.annotations["originals"]
        assert {int(place) for place in originals} == {n for n, word in enumerate(row.words) if word.text == "TV"}
        assert set(originals.values()) == {"T_V_"}


def test_annotations_in_a_folder_of_their_own_give_the_same_manifest(root: Path, tmp_path: Path) -> None:
    beside = Ami(AmiOptions(num_crops=50)).prepare(root)
    notes = tmp_path / "ami_public_manual_1.6.2"
    notes.mkdir()
    for name in ("words", "corpusResources"):
        shutil.move(root / name, notes / name)
    apart = Ami(AmiOptions(num_crops=50, annotations=str(notes))).prepare(root)
    assert apart.utterances == beside.utterances and apart.problems == beside.problems
    with pytest.raises(CorpusError, match="--annotations"):
        Ami(AmiOptions()).prepare(root)
    with pytest.raises(CorpusError, match="AMI's annotations"):
        Ami(AmiOptions(annotations=str(tmp_path / "nothing"))).prepare(root)
