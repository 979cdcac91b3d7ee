"""Files of a folder: names that hold labels, names that collide, languages, links, and what is not read."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmpipe.core.errors import CorpusError, ManifestError, UsageError
from mmpipe.manifests.contract import Prepared
from mmpipe.manifests.corpora.folder import Folder, FolderOptions
from mmpipe.manifests.corpora.folder_names import NamePattern
from mmpipe.manifests.io import FOLLOW_LINKS, refuse_links, validate
from mmpipe.manifests.schema import to_table

VTT = "WEBVTT\n\n00:00.000 --> 00:04.000\nhello there\n"


def prepare(root: Path, **options: object) -> Prepared:
    prepared = Folder(FolderOptions.model_validate(options)).prepare(root)
    validate(to_table(prepared.utterances))
    return prepared


def places(prepared: Prepared) -> list[tuple[str, str]]:
    return [(p.category, p.where) for p in prepared.problems if p.category != "no_transcript"]


def test_a_pattern_reads_labels_and_speakers_from_the_names_of_files(tmp_path: Path) -> None:
    for name in ("1001_IEO_ANG_HI.wav", "1002_IEO_HAP_LO.wav", "readme.wav"):
        (tmp_path / name).touch()
    prepared = prepare(tmp_path, pattern="{speaker}_{sentence}_{label}_{level}", label_map="ANG=anger")
    assert [(r.speaker, r.label, r.label_source, dict(r.annotations)) for r in prepared.utterances] == [
        ("1001", "anger", "ANG", {"sentence": "IEO", "level": "HI"}),
        ("1002", "HAP", "HAP", {"sentence": "IEO", "level": "LO"}),
        (None, None, None, {}),
    ]
    assert places(prepared) == [("unmatched_name", "readme.wav")]
    with pytest.raises(CorpusError, match=r"none of the 3 files has a name of this form, for example '1001_IEO"):
        prepare(tmp_path, pattern="{speaker}-{label}")


@pytest.mark.parametrize(
    ("pattern", "name", "fields"),
    [
        ("{speaker:2}{text:3}{label:1}{}", "wav/03a01Fa.wav", {"speaker": "03", "text": "a01", "label": "F"}),
        ("{speaker}_{label:letters}{take:digits}", "DC_sa15.wav", {"speaker": "DC", "label": "sa", "take": "15"}),
        ("{speaker}/{label}_{}", "x/OAF/angry_1.wav", {"speaker": "OAF", "label": "angry"}),
        ("{}-{}-{label}-{speaker}", "03-01-06-12.mp4", {"label": "06", "speaker": "12"}),
        ("{speaker}_{label}", "a_b_c.wav", None),
    ],
)
def test_patterns_of_known_corpora(pattern: str, name: str, fields: dict[str, str] | None) -> None:
    assert NamePattern(pattern).read(name) == fields


@pytest.mark.parametrize("pattern", ["speaker", "{speaker}_{speaker}", "{speaker", "{a b}", "{}"])
def test_what_is_not_a_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(UsageError, match="expected such as"):
        NamePattern(pattern)


def test_files_whose_names_collide_are_all_kept(tmp_path: Path) -> None:
    for name in ("a.wav", "a.mp3", "a.wav.mp4", "b.mp4", "b.wav", "c@0-4.wav", "c.wav"):
        (tmp_path / name).touch()
    (tmp_path / "c.vtt").write_text(VTT)
    prepared = prepare(tmp_path, utterances="cue")
    ids = [row.utterance_id.removeprefix("folder/") for row in prepared.utterances]
    assert ids == ["a.mp3", "a.wav", "a.wav.mp4", "b", "c@0-4@c.wav", "c@0-4@c@0-4.wav"]
    uris = {span.uri for row in prepared.utterances for span in (row.audio, row.video) if span}
    assert len(uris) == 7
    assert "duplicate_clip" in [p.category for p in prepared.problems]


def test_files_of_a_table_whose_names_collide_are_all_kept(tmp_path: Path) -> None:
    for name in ("a.wav", "a.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "a.vtt").write_text(VTT)
    (tmp_path / "t.csv").write_text("file\na.wav\na.mp4\n")
    ids = [row.utterance_id for row in prepare(tmp_path, table="t.csv", utterances="cue").utterances]
    assert ids == ["folder/a.wav@0-4", "folder/a.mp4@0-4"]


def test_a_transcript_may_name_its_language(tmp_path: Path) -> None:
    (tmp_path / "talk.mp4").touch()
    (tmp_path / "talk.de.vtt").write_text(VTT.replace("hello there", "guten Tag"))
    assert prepare(tmp_path).utterances[0].text == "guten Tag"
    (tmp_path / "talk.en-US.vtt").write_text(VTT)
    prepared = prepare(tmp_path)
    assert prepared.utterances[0].text == "hello there" and places(prepared) == [("several_transcripts", "talk.mp4")]
    (tmp_path / "t.csv").write_text("file\ntalk.mp4\n")
    assert prepare(tmp_path, table="t.csv").utterances[0].text == "hello there"


def test_what_is_not_read_is_reported_once_a_kind(tmp_path: Path) -> None:
    for name in ("a.wav", "b.docx", "c.docx", "labels.csv", "lonely.vtt", ".hidden"):
        (tmp_path / name).touch()
    prepared = prepare(tmp_path)
    assert places(prepared) == [
        ("skipped_file", "labels.csv"),
        ("skipped_file", "b.docx"),
        ("skipped_file", "lonely.vtt"),
    ]
    messages = " ".join(p.message for p in prepared.problems)
    assert "'.docx': 2" in messages and "--table" in messages


@pytest.mark.parametrize("name", ["a.mts", "a.ts", "a.wmv", "a.3gp", "a.sph", "a.aiff"])
def test_other_endings_of_media_are_clips(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    (row,) = prepare(tmp_path).utterances
    assert (row.video is None) == name.endswith((".sph", ".aiff"))


def test_links_are_followed_where_the_user_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, disk = tmp_path / "root", tmp_path / "disk"
    root.mkdir()
    disk.mkdir()
    (disk / "a.wav").touch()
    (root / "b.wav").touch()
    (root / "clips").symlink_to(disk)
    (disk / "circle").symlink_to(root)
    prepared = prepare(root)
    assert [row.utterance_id for row in prepared.utterances] == ["folder/b"]
    assert places(prepared) == [("skipped_file", "clips")]
    prepared = prepare(root, follow_links=True)
    assert [row.utterance_id for row in prepared.utterances] == ["folder/b", "folder/clips/a"]
    rows = to_table(prepared.utterances)
    with pytest.raises(ManifestError, match="--follow-links"):
        refuse_links(rows, root)
    monkeypatch.setenv(FOLLOW_LINKS, "1")
    refuse_links(rows, root)


def test_a_clip_of_several_speakers_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "a.vtt").write_text("WEBVTT\n\n00:00.000 --> 00:04.000\n<v Ann>one\n<v Bob>two\n")
    prepared = prepare(tmp_path)
    assert prepared.utterances[0].speaker is None and places(prepared) == [("several_speakers", "a.mp4")]
