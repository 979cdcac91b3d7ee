"""Readers list what the sample corpora hold, and note what is odd with file and line instead of stopping."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from mmpipe.core.errors import CorpusError
from mmpipe.manifests.contract import Prepared
from mmpipe.manifests.io import validate
from mmpipe.manifests.registry import CORPORA
from mmpipe.manifests.samples import SAMPLES, sample_root
from mmpipe.manifests.schema import to_table


def prepare(name: str, root: Path, **options: object) -> Prepared:
    corpus = CORPORA.load(name)
    return corpus(corpus.Options.model_validate(options)).prepare(root)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The sample corpora, to be spoilt."""
    for name in SAMPLES:
        shutil.copytree(sample_root(name), tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("name", SAMPLES)
def test_manifests_obey_the_schema_and_do_not_depend_on_the_run(name: str) -> None:
    first, second = (to_table(prepare(name, sample_root(name)).utterances) for _ in range(2))
    validate(first)
    assert first.equals(second)


@pytest.mark.parametrize("name", sorted(CORPORA.own))
def test_a_folder_that_is_not_the_corpus_is_refused_by_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="expected"):
        prepare(name, tmp_path)
    with pytest.raises(CorpusError, match="does not exist"):
        prepare(name, tmp_path / "gone")


def test_iemocap_has_its_speakers_halves_and_words() -> None:
    rows = prepare("iemocap", sample_root("iemocap")).utterances
    assert Counter(row.label for row in rows) == dict.fromkeys(("anger", "happiness", "neutral", "sadness"), 20)
    assert len({row.speaker for row in rows}) == 10
    for row in rows:
        assert row.video and row.video.region and row.video.region.width == 0.5
        # the actor with the motion capture markers, who names the dialog, sits on the left
        wears_markers = row.dialogue is not None and row.speaker is not None and row.dialogue[5] == row.speaker[-1]
        assert row.video.region.x == (0.0 if wears_markers else 0.5)


def test_iemocap_tells_a_line_that_does_not_parse_with_its_number() -> None:
    problems = prepare("iemocap", sample_root("iemocap")).problems
    assert [p.where for p in problems if p.category == "malformed_line"] == [
        "Session1/dialog/transcriptions/Ses01F_impro01.txt:4"
    ]


def test_iemocap_without_excitement_or_with_every_label(copy: Path) -> None:
    everything = prepare("iemocap", copy / "iemocap", labels="all").utterances
    sources = Counter(row.label_source for row in everything)
    merged = prepare("iemocap", copy / "iemocap").utterances
    dropped = prepare("iemocap", copy / "iemocap", labels="drop-exc").utterances
    assert len(everything) == 84
    assert len(merged) - len(dropped) == sources["exc"]


def test_meld_ids_name_their_split_and_quotes_come_out_right() -> None:
    rows = prepare("meld", sample_root("meld")).utterances
    assert len(rows) == 14
    assert {f"meld/{split}/dia0_utt0" for split in ("train", "dev", "test")} <= {row.utterance_id for row in rows}
    assert not [row.text for row in rows if row.text and any("\x80" <= c <= "\x9f" for c in row.text)]


def test_ami_takes_channel_and_camera_from_meetings_xml(copy: Path) -> None:
    rows = prepare("ami", copy / "ami").utterances
    files = {(r.dialogue, r.annotations["agent"]): (r.audio and r.audio.uri, r.video and r.video.uri) for r in rows}
    assert files[("IS1099b", "A")][1] is None  # no camera
    positional = {
        key for key, (audio, _) in files.items() if audio and audio.endswith(f"Headset-{'ABCD'.index(key[1])}.wav")
    }
    assert positional != set(files)


@pytest.mark.parametrize("corpus", ["ami"])
def test_xml_with_entities_is_refused(corpus: str, copy: Path) -> None:
    path = copy / corpus / "words" / "ES2099a.A.words.xml"
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'
    text = path.read_text(encoding="iso-8859-1")
    path.write_text(text.replace("?>", f"?>{bomb}", 1), encoding="iso-8859-1")
    prepared = prepare(corpus, copy / corpus)
    assert [p.where for p in prepared.problems if p.category == "file_refused"] == ["words/ES2099a.A.words.xml"]
    assert not [row for row in prepared.utterances if row.utterance_id.startswith("ami/ES2099a.A.")]
