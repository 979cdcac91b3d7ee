"""`mmpipe extract --exclude`: utterances that a list marks as bad are not extracted, and the store says so."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mmpipe.core.errors import CorpusError, StoreError, UsageError
from mmpipe.pipeline.cli.app import app
from mmpipe.pipeline.store.feature_store import FeatureStore

from .conftest import tone, write_wav

HEADER = "utterance_id,mark,label,note\n"


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of four clips, and a list that marks one of them and one that is not there."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "clips"
    root.mkdir()
    for number in range(4):
        write_wav(root / f"c{number}.wav", tone(0.4, seed=number))
    Path("marks.csv").write_text(f"{HEADER}folder/c1,bad,,two voices\nfolder/c2,,joy,\nfolder/nobody,bad,,\n")
    return root


def extract(*words: str) -> Any:
    return CliRunner().invoke(app, ["extract", *words, "--workers", "1"])


def ids(store: str = "s") -> list[str]:
    return sorted(FeatureStore(Path(store)).manifest().column("utterance_id").to_pylist())


BASE = ("-d", "folder", "--root", "clips", "--out", "s", "--stages", "audio")


def shards(store: str) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in Path(store, "audio").iterdir()}


def test_bad_utterances_are_left_out_and_the_next_extraction_leaves_them_out_too(corpus: Path) -> None:
    done = extract(*BASE, "--exclude", "marks.csv")
    assert done.exception is None, done.output
    said = " ".join(done.output.split())
    assert "1 utterances are left out, marked as bad in marks.csv: folder/c1 (two voices)" in said
    assert "1 utterances of marks.csv are not in the corpus folder: folder/nobody" in said
    assert ids() == ["folder/c0", "folder/c2", "folder/c3"]
    record = json.loads(Path("s/store.json").read_text())
    assert record["excluded"] == {"name": "marks.csv", "bad": {"folder/c1": "two voices"}, "labels": {}}
    assert FeatureStore(Path("s")).manifest().column("label").null_count == 3  # labels are a matter of training

    before = Path("s/store.json").read_bytes()
    done = extract("--out", "s")  # the store knows its list
    assert (
        "Nothing to do" in done.output and "without what" in done.output and Path("s/store.json").read_bytes() == before
    )
    Path("marks.csv").unlink()
    done = extract("--out", "s")
    assert isinstance(done.exception, UsageError) and "restore it" in str(done.exception) and len(ids()) == 3

    (corpus / "c1.wav").unlink()  # the bytes are those of a store of a corpus that never had the clip
    assert extract(*(word if word != "s" else "t" for word in BASE)).exception is None
    assert shards("s") == shards("t")


def test_without_the_list_the_utterances_come_back(corpus: Path) -> None:
    extract(*BASE, "--exclude", "marks.csv")
    done = extract(*BASE)
    assert done.exception is None and "without --exclude it is extracted too" in " ".join(done.output.split())
    assert len(ids()) == 4 and "excluded" not in json.loads(Path("s/store.json").read_text())


def test_a_store_that_holds_a_bad_utterance_keeps_it_until_its_rows_are_dropped(corpus: Path) -> None:
    extract(*BASE)
    done = extract(*BASE, "--exclude", "marks.csv")
    assert isinstance(done.exception, StoreError) and "--drop-missing" in str(done.exception) and len(ids()) == 4
    done = extract(*BASE, "--exclude", "marks.csv", "--drop-missing")
    assert done.exception is None and ids() == ["folder/c0", "folder/c2", "folder/c3"]
    assert list(json.loads(Path("s/store.json").read_text())["excluded"]["bad"]) == ["folder/c1"]


def test_a_list_that_is_not_one_or_leaves_nothing_is_refused_before_anything_is_written(corpus: Path) -> None:
    Path("other.csv").write_text("a,b\n")
    for words, error, text in (
        (("--exclude", "other.csv"), UsageError, "cannot be read"),
        (("--exclude", "gone.csv"), UsageError, "No such file"),
        (("--exclude", "marks.csv", "--exclude", "other.csv"), UsageError, "give one list"),
        (("--exclude", "ES2002"), UsageError, "folder has no option exclude"),
    ):
        done = extract(*BASE, *words)
        assert isinstance(done.exception, error) and text in str(done.exception), done.output
    Path("all.csv").write_text(HEADER + "".join(f"folder/c{n},bad,,\n" for n in range(4)))
    done = extract(*BASE, "--exclude", "all.csv")
    assert isinstance(done.exception, CorpusError) and "nothing is left" in str(done.exception)
    assert not Path("s").exists()


def test_slices_of_a_planned_store_keep_what_the_list_left_out(corpus: Path) -> None:
    assert extract(*BASE, "--exclude", "marks.csv").exception is None
    record = Path("s/store.json").read_bytes()
    planned = (*(word if word != "s" else "t" for word in BASE), "--exclude", "marks.csv")
    done = CliRunner().invoke(app, ["extract", *planned, "--plan-only"])
    assert done.exception is None, done.output
    for part in ("1/2", "2/2"):
        done = extract(*planned, "--manifest", "t/manifest.parquet", "--slice", part)
        assert done.exception is None, done.output
        assert "not in the corpus" not in done.output
    assert Path("t/store.json").read_bytes() == record and shards("s") == shards("t")
