"""What a store of somebody else says of its corpus: it runs no code, leads nowhere in silence, writes in the store."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from mmpipe.pipeline.extraction.engines.serial import SerialEngine

from ..conftest import Once
from .conftest import tone, write_wav
from .hostile import calm, edit_json, fifo, linked, stays_inside, tree
from .runs import call

pytestmark = pytest.mark.slow

EVIL = "[/sad]\x1b[31m\x1b]8;;http://x\x07"
Change = Callable[[Path], object]


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmpipe.pipeline.extraction.corpus._engine", lambda request, specs: nullcontext(SerialEngine()))


@pytest.fixture(scope="module")
def extracted(once: Once) -> Path:
    """A corpus of two sounds, and a store of it."""

    def make(folder: Path) -> None:
        (folder / "clips").mkdir()
        for name in "ab":
            write_wav(folder / "clips" / f"{name}.wav", tone(0.3))
        words = ["-d", "folder", "--root", folder / "clips", "--stages", "audio", "--workers", "1"]
        assert call("extract", *words, "--out", folder / "store", cwd=folder).returncode == 0

    return once("hostile-source", make)


def source(**values: Any) -> Change:
    return lambda store: edit_json(store / "logs" / "source.json", lambda held: held.update(values))


def text(content: str) -> Change:
    return lambda store: (store / "logs" / "source.json").write_text(content)


SOURCES: dict[str, Change] = {
    "deep": text("[" * 100_000),
    "a list": text("[1]"),
    "half": text('{"dataset": "folder"'),
    "a pipe": lambda store: fifo(store / "logs" / "source.json"),
    "zeros": lambda store: linked(store / "logs" / "source.json", "/dev/zero"),
    "dataset imports": source(dataset="os:system"),
    "dataset leaves": source(dataset="../../x"),
    "dataset with markup": source(dataset=EVIL),
    "dataset a number": source(dataset=3),
    "root zeros": source(root="/dev/zero"),
    "root a list": source(root=["/"]),
    "root of a NUL": source(root="a\0b"),
    "root of an unknown kind": source(root="nothing://x"),
    "manifest zeros": source(manifest="/dev/zero"),
    "manifest a folder": source(manifest="/"),
    "stage leaves": source(stages=["../../x"]),
    "stage a number": source(stages=[3]),
    "stage option leaves": source(stages=["../../x"], stage_options={"../../x": {"extractor": "is10"}}),
    "option zeros": source(stage_options={"audio": {"config_file": "/dev/zero"}}),
    "options a list": source(stage_options={"audio": [1]}),
    "extractor a number": source(stage_options={"x": {"extractor": 3}}),
    "extractor imports": source(stage_options={"x": {"extractor": "tests.pipeline.imported_by_nobody:X"}}),
    "device unknown": source(device=EVIL),
    "table leaves": source(corpus_options={"table": "../../secret.csv"}),
    "corpus option unknown": source(corpus_options={EVIL: "x"}),
    "links a text": source(follow_links="x"),
    "an entry more": source(more=1),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_a_hostile_record_of_the_corpus_costs_a_message(kind: str, extracted: Path, tmp_path: Path) -> None:
    work = tmp_path / "a" / "b" / "work"
    shutil.copytree(extracted / "store", work / "store")
    (tmp_path / "a" / "secret.csv").write_text("file,label\na.wav,secret\n")
    SOURCES[kind](work / "store")

    def act() -> None:
        done = calm("extract", "--out", "store", "--workers", "1", cwd=work)
        assert done.returncode in (1, 2) or kind == "an entry more", done.stdout

    stays_inside(tmp_path, ("a/b/work/store",), act)


def test_code_that_a_store_names_runs_only_where_the_user_names_it_too(extracted: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(extracted / "store", store)
    own = "tests.pipeline.toys:Counting"
    source(stage_options={"own": {"extractor": own}}, stages=["own"])(store)
    refused = calm("extract", "--out", store, "--workers", "1", cwd=tmp_path)
    assert refused.returncode == 2 and f"--set own.extractor={own}" in refused.stderr
    taken = calm("extract", "--out", store, "--workers", "1", "--set", f"own.extractor={own}", cwd=tmp_path)
    assert "own.extractor" in taken.stdout and "import code" not in taken.stderr


def test_what_a_store_makes_an_extraction_read_is_printed(extracted: Path, tmp_path: Path) -> None:
    store, listed = tmp_path / "store", tmp_path / "m.parquet"
    shutil.copytree(extracted / "store", store)
    shutil.copy(store / "manifest.parquet", listed)
    source(manifest=str(listed), follow_links=True, stage_options={"text": {"max_tokens": 16}})(store)
    done = calm("extract", "--out", store, "--workers", "1", cwd=tmp_path)
    (said,) = [line for line in done.stdout.splitlines() if line.startswith(f"As {store} says: ")]
    for part in (f"folder of {extracted / 'clips'}", str(listed), "text.max_tokens=16", "links out of the corpus"):
        assert part in said


@pytest.mark.parametrize("name", ["audio", "logs", "logs/tasks.jsonl", "new"])
def test_an_extraction_writes_nothing_through_links_of_a_store(name: str, extracted: Path, tmp_path: Path) -> None:
    store, elsewhere = tmp_path / "store", tmp_path / "elsewhere"
    shutil.copytree(extracted / "store", store)
    if (store / name).is_dir():
        shutil.move(store / name, elsewhere)
    else:
        elsewhere.mkdir()
    (store / name).symlink_to(elsewhere)
    before = tree(tmp_path)
    words = ["-d", "folder", "--root", extracted / "clips", "--stages", "audio"]
    done = calm("extract", *words, "--out", store, "--workers", "1", cwd=tmp_path)
    assert done.returncode == 1 and "is a link out of the store" in done.stderr
    assert tree(tmp_path) == before
