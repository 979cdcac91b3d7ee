"""`mmpipe manifest folder` takes the options of a folder on the command line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mmpipe.core.errors import CorpusError
from mmpipe.manifests.io import FOLLOW_LINKS, read_manifest
from mmpipe.manifests.schema import Utterance, to_utterances
from mmpipe.pipeline.cli.app import app


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLLOW_LINKS, "0")  # restored after the test, whatever a command sets


def manifest(root: Path, *options: str, dataset: str = "folder") -> list[Utterance]:
    out = root.parent / "m.parquet"
    app(["manifest", dataset, "--root", str(root), "--out", str(out), *options], standalone_mode=False)
    return to_utterances(read_manifest(out))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("1001_IEO_ANG.wav", "1002_IEO_HAP.wav"):
        (folder / name).touch()
    return folder


def test_pattern_label_map_and_columns(root: Path) -> None:
    rows = manifest(root, "--pattern", "{speaker}_{sentence}_{label}", "--label-map", "ANG=anger")
    assert [(row.speaker, row.label) for row in rows] == [("1001", "anger"), ("1002", "HAP")]
    (root / "t.csv").write_text("Clip;Said;Emotion\n1001_IEO_ANG.wav;hello;angry\n")
    (row,) = manifest(root, "--table", "t.csv", "--column", "text=Said", "--label-map", "angry=anger")
    assert (row.text, row.label, row.label_source) == ("hello", "anger", "angry")
    with pytest.raises(CorpusError, match="none of the 2 files"):
        manifest(root, "--pattern", "{speaker}-{label}")


def test_links_out_of_the_root_are_read_where_the_user_says_so(root: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a.wav").touch()
    (root / "more").symlink_to(tmp_path / "disk")
    assert len(manifest(root)) == 2 and os.environ[FOLLOW_LINKS] == "0"
    assert len(manifest(root, "--follow-links")) == 3
