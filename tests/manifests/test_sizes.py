"""Corpora of the true sizes give the true counts; what is not there is named, not hidden."""

from __future__ import annotations

import os
import re
import shutil
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

import pytest

from mmpipe.manifests.contract import Corpus, Prepared
from mmpipe.manifests.counts import compare_counts, count_problems, explain
from mmpipe.manifests.registry import CORPORA
from mmpipe.manifests.samples import sample_root
from mmpipe.manifests.schema import to_table
from mmpipe.manifests.splits import check_leaks, folds

from ..conftest import Once
from .generators import ami, iemocap, meld

NITE = "{http://nite.sourceforge.net/}id"


def reader(name: str, **options: object) -> Corpus:
    corpus = CORPORA.load(name)
    return corpus(corpus.Options.model_validate(options))


@pytest.fixture(scope="session")
def iemocap_root(once: Once) -> Path:
    return once("IEMOCAP_full_release", iemocap.write_iemocap)


@pytest.fixture(scope="module")
def iemocap_read(iemocap_root: Path) -> Prepared:
    return reader("iemocap").prepare(iemocap_root)


def test_iemocap_of_full_size_has_5531_utterances_with_the_counts_of_the_paper(iemocap_read: Prepared) -> None:
    rows = iemocap_read.utterances
    assert len(rows) == 5531
    assert Counter(row.label for row in rows) == {"happiness": 1636, "anger": 1103, "sadness": 1084, "neutral": 1708}
    assert [Counter(row.session for row in rows)[f"Session{n}"] for n in range(1, 6)] == [1085, 1023, 1151, 1031, 1241]
    counts = compare_counts(reader("iemocap"), iemocap_read)
    assert counts and all(count.got == count.expected for count in counts)
    assert not list(explain(counts, iemocap_read))


@pytest.mark.parametrize(("labels", "number"), [("drop-exc", 4490), ("all", 10_039)])
def test_iemocap_of_full_size_has_its_counts_under_every_rule(iemocap_root: Path, labels: str, number: int) -> None:
    corpus = reader("iemocap", labels=labels)
    prepared = corpus.prepare(iemocap_root)
    assert len(prepared.utterances) == number
    assert count_problems(corpus, prepared) == []


def test_iemocap_of_full_size_keeps_votes_ratings_words_and_halves(iemocap_read: Prepared) -> None:
    rows = iemocap_read.utterances
    assert all(row.annotations["votes"]["E3"] == ["Neutral", "Other"] for row in rows)
    assert all({"valence", "activation", "dominance"} <= row.annotations.keys() for row in rows)
    assert all(row.annotations["ratings"]["E4"] == {"valence": 2.0, "activation": 4.0} for row in rows)
    assert [row.utterance_id for row in rows if not row.words] in ([], ["iemocap/Ses03M_impro03_M001"])
    for row in rows:
        if row.words:
            assert row.words[0].text == "I" and row.words[0].start_seconds == 0.1
        assert row.video and row.video.region and row.speaker and row.dialogue and row.text
        assert (row.video.region.x == 0.0) == (row.speaker[-1] == row.dialogue[5])
    odd = Counter(p.category for p in iemocap_read.problems)
    assert odd.pop("malformed_line") == 151  # the breaths
    assert odd.keys() <= {"no_alignment"}  # of one turn, if it has one of the four labels


def test_iemocap_of_full_size_has_ten_folds_without_a_leak(iemocap_read: Prepared) -> None:
    manifest = to_table(iemocap_read.utterances)
    speaker = {row.utterance_id: str(row.speaker) for row in iemocap_read.utterances}
    for protocol, number in (("iemocap-5", 5), ("iemocap-10", 10)):
        made = folds(manifest, protocol)
        assert len(made) == number
        check_leaks(made, speaker)
        for fold in made:
            assert len(fold.train) + len(fold.valid) + len(fold.test) == 5531
            assert len({speaker[i] for i in fold.train}) == 8
            assert len({speaker[i] for i in fold.valid}) == len({speaker[i] for i in fold.test}) == 1
    swapped = {fold.name: fold for fold in folds(manifest, "iemocap-10")}
    assert swapped["Ses01F"].test == swapped["Ses01M"].valid and swapped["Ses01F"].valid == swapped["Ses01M"].test


def test_a_deviation_from_the_release_is_told_with_its_reason(iemocap_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "spoilt"
    shutil.copytree(iemocap_root, root, ignore=shutil.ignore_patterns("ForcedAlignment", "Session4"))
    path = root / "Session1" / "dialog" / "EmoEvaluation" / "Ses01F_impro01.txt"
    lines = path.read_text().split("\n")
    lines[2] = lines[2].replace(" - ", " to ")
    path.write_text("\n".join(lines))
    corpus = reader("iemocap", labels="all")
    prepared = corpus.prepare(root)
    counts = {(c.attribute, c.value): (c.expected, c.got) for c in compare_counts(corpus, prepared)}
    assert counts["session", "Session4"] == (2103, 0) and counts["session", "Session1"] == (1819, 1818)
    reasons = "\n".join(explain(compare_counts(corpus, prepared), prepared))
    assert "session Session4 (2103) is not there at all" in reasons
    assert "Session4/dialog/EmoEvaluation" in reasons
    assert "1 utterances are left out because of malformed_line" in reasons


def test_an_edited_label_is_named_as_what_no_problem_explains(iemocap_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "edited"
    shutil.copytree(iemocap_root, root, ignore=shutil.ignore_patterns("ForcedAlignment"))
    path = root / "Session2" / "dialog" / "EmoEvaluation" / "Ses02F_impro01.txt"
    path.write_text(path.read_text().replace("\tneu\t", "\tfru\t", 1))
    corpus = reader("iemocap")
    prepared = corpus.prepare(root)
    assert "1 utterances are missing without any problem" in "\n".join(
        explain(compare_counts(corpus, prepared), prepared)
    )


def test_meld_of_full_size_has_the_counts_of_every_split(tmp_path: Path) -> None:
    meld.write_meld(tmp_path)
    corpus = reader("meld")
    prepared = corpus.prepare(tmp_path)
    assert count_problems(corpus, prepared) == []
    assert Counter(row.split for row in prepared.utterances) == {"train": 9989, "dev": 1109, "test": 2610}
    assert {row.text for row in prepared.utterances} == meld.MEANT
    assert all(row.annotations["sentiment"] in ("positive", "neutral", "negative") for row in prepared.utterances)
    assert {p.category for p in prepared.problems} == {"wrong_encoding", "media_missing"}


def test_meld_without_a_split_tells_it(tmp_path: Path) -> None:
    meld.write_meld(tmp_path, ("dev",))
    corpus = reader("meld")
    prepared = corpus.prepare(tmp_path)
    counts = compare_counts(corpus, prepared)
    assert "file_missing: train_sent_emo.csv" in "\n".join(explain(counts, prepared))


def independent_words(path: Path) -> int:
    """Words with times that are not punctuation, by the standard library's parser."""
    words = ElementTree.parse(path).getroot().iter("w")
    return sum(
        w.get("punc") != "true" and w.get("starttime") is not None and any(c.isalnum() for c in w.text or "")
        for w in words
    )


def check_ami(root: Path, prepared: Prepared) -> None:
    """Words by an independent count, and every utterance's channel and camera by the text of meetings.xml."""
    files = sorted((root / "words").glob("*.words.xml"))
    text = (root / "corpusResources" / "meetings.xml").read_text(encoding="iso-8859-1")
    listed = {}
    for block in re.split(r"<meeting ", text)[1:]:
        observation = re.findall(r'observation="(\w+)"', block)[0]
        for tag in re.findall(r"<speaker [^>]*>", block):
            found = dict(re.findall(r'([\w:]+)="([^"]*)"', tag))
            listed[observation, found["nxt_agent"]] = (found["channel"], found.get("camera"))
    known = [path for path in files if (path.name.split(".")[0], path.name.split(".")[1]) in listed]
    assert prepared.counts["words"] == sum(map(independent_words, known))
    assert prepared.counts["words files"] == len(files)
    for row in prepared.utterances:
        meeting = row.dialogue or ""
        channel, camera = listed[meeting, row.annotations["agent"]]
        assert row.audio and row.audio.uri == f"{meeting}/audio/{meeting}.Headset-{channel}.wav"
        expected = f"{meeting}/video/{meeting}.{camera}.avi" if camera else None
        assert (row.video and row.video.uri) == expected


def check_crops(root: Path, prepared: Prepared, seconds: float) -> None:
    """Every crop has its three words inside and its middle word in the middle, by an independent reading of the XML."""
    times: dict[str, list[tuple[float, float]]] = {}
    place: dict[str, int] = {}
    for path in sorted((root / "words").glob("*.words.xml")):
        spoken = [
            w
            for w in ElementTree.parse(path).getroot().iter("w")
            if w.get("punc") != "true" and w.get("starttime") and any(c.isalnum() for c in w.text or "")
        ]
        spoken.sort(key=lambda w: (float(w.get("starttime", "")), float(w.get("endtime", ""))))
        name = path.name.removesuffix(".words.xml")
        times[name] = [(float(w.get("starttime", "")), float(w.get("endtime", ""))) for w in spoken]
        place |= {str(w.get(NITE)): number for number, w in enumerate(spoken)}
    lengths = dict(
        re.findall(
            r'observation="(\w+)".*?duration="([\d.]+)"', (root / "corpusResources/meetings.xml").read_text("latin-1")
        )
    )
    centres = set()
    for row in prepared.utterances:
        word = row.utterance_id.removeprefix("ami/").rpartition("@")[0]
        spoken_times, at = times[word.rpartition(".")[0]], place[word]
        assert row.audio and row.audio.end_seconds is not None
        start, end = row.audio.start_seconds, row.audio.end_seconds
        assert start >= 0 and end <= float(lengths[str(row.dialogue)]) and abs(end - start - seconds) < 1e-3
        around = spoken_times[at - 1 : at + 2]
        assert len(around) == 3 and all(start <= first and last <= end for first, last in around)
        assert abs(sum(spoken_times[at]) / 2 - (start + end) / 2) <= 1e-3
        inside = [pair for pair in spoken_times if start <= pair[0] < end and pair[1] <= end]
        assert row.words is not None and len(row.words) == len(inside)
        centres.add(word)
    assert len(centres) == len(prepared.utterances)


def test_ami_words_channels_cameras_and_crops_equal_an_independent_reading(tmp_path: Path) -> None:
    written = ami.write_ami(tmp_path, meetings=12, elements=20_000)
    prepared = reader("ami", num_crops=2_000).prepare(tmp_path)
    assert prepared.counts["words"] == sum(n for key, n in written.words.items() if key in written.speakers)
    check_ami(tmp_path, prepared)
    check_crops(tmp_path, prepared, 7.2)
    agents = {row.annotations["agent"] for row in prepared.utterances if row.dialogue == "EN2001a"}
    assert agents == set("ABCDE")
    categories = Counter(p.category for p in prepared.problems)
    assert categories["no_speaker"] == 5 and categories["word_without_times"] >= 1


def test_sample_ami_equals_an_independent_reading() -> None:
    check_ami(sample_root("ami"), reader("ami").prepare(sample_root("ami")))


def test_crops_repeat_grow_and_leave_out_meetings(tmp_path: Path) -> None:
    ami.write_ami(tmp_path, meetings=8, elements=8_000)

    def names(**options: object) -> list[str]:
        return [row.utterance_id for row in reader("ami", **options).prepare(tmp_path).utterances]

    many = names(num_crops=300)
    assert names(num_crops=100) == many[:100] and names(num_crops=300) == many
    assert names(num_crops=300, seed=1) != many
    assert len(names(num_crops=300, crop_seconds=3.5)) == 300
    assert not [name for name in names(num_crops=300, exclude=["EN2001"]) if "EN2001" in name]


@pytest.mark.slow
def test_ami_of_full_size_gives_25000_crops_that_hold_their_words(tmp_path: Path) -> None:
    ami.write_ami(tmp_path)
    corpus = reader("ami")
    began = time.process_time()
    prepared = corpus.prepare(tmp_path)
    assert time.process_time() - began < 15
    assert len(prepared.utterances) == 25_000
    assert count_problems(corpus, prepared) == []
    check_ami(tmp_path, prepared)
    check_crops(tmp_path, prepared, 7.2)


def real(variable: str) -> Path:
    assert variable in os.environ, f"-m corpus reads the real corpora: name the root in {variable}"
    return Path(os.environ[variable])


@pytest.mark.corpus
def test_the_real_ami_equals_an_independent_reading() -> None:
    root = real("MMPIPE_TEST_AMI")
    prepared = reader("ami").prepare(root)
    check_ami(root, prepared)
    check_crops(root, prepared, 7.2)
    if (root / "words" / "EN2001a.E.words.xml").exists():
        assert {r.annotations["agent"] for r in prepared.utterances if r.dialogue == "EN2001a"} == set("ABCDE")


@pytest.mark.corpus
def test_the_real_meld_has_the_counts_of_its_splits() -> None:
    root = real("MMPIPE_TEST_MELD")
    prepared = reader("meld").prepare(root)
    for split in sorted({str(row.split) for row in prepared.utterances}):
        counts = Counter(row.label for row in prepared.utterances if row.split == split)
        assert tuple(counts[emotion] for emotion in meld.EMOTIONS) == meld.COUNTS[split]
