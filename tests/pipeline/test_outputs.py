"""Every command replaces an earlier output of its own, and nothing else unless --overwrite is given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import av
import cv2
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from mmpipe.core.errors import StoreError, UsageError
from mmpipe.manifests.io import write_manifest
from mmpipe.manifests.samples import sample_root
from mmpipe.manifests.schema import Utterance, to_table
from mmpipe.pipeline.cli.app import app
from mmpipe.pipeline.cli.extract import sample_request
from mmpipe.pipeline.extraction.corpus import extract_corpus
from mmpipe.pipeline.extraction.engines.serial import SerialEngine

from ..conftest import Once


@pytest.fixture(scope="session")
def store(once: Once) -> Path:
    """A store of three utterances with audio and faces; beside it is a manifest whose report has one chart."""

    def make(folder: Path) -> None:
        from dataclasses import replace

        request = sample_request("meld", folder / "store", lambda rows: rows.slice(0, 3))
        extract_corpus(replace(request, stages=["audio", "faces"]), SerialEngine())
        rows = [Utterance(f"x/{label}", "x", label=label) for label in ("anger", "joy")]
        write_manifest(to_table(rows), short_manifest(folder / "store"), {"corpus": "x"})

    return once("outputs", make) / "store"


def short_manifest(store: Path) -> Path:
    return store.with_name("short.parquet")


def run(*arguments: object) -> BaseException | None:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return done.exception


def name_of_first(store: Path) -> str:
    return str(pq.read_table(store / "audio").column("utterance_id")[0])


COMMANDS: dict[str, Callable[[Path, Path], list[object]]] = {
    "manifest": lambda store, out: ["manifest", "meld", "--sample", "--out", out],
    "sheet": lambda store, out: ["inspect", store, "--faces", out],
    "strip": lambda store, out: ["inspect", store, "--utterance", name_of_first(store), "--strip", out],
    "clip": lambda store, out: [
        "inspect", store, "--utterance", name_of_first(store), "--clip", out, "--root", sample_root("meld"),
    ],
    "export": lambda store, out: ["export", store, "--out", out],
    "datasets": lambda store, out: ["export", store, "--out", out, "--format", "datasets"],
    "report": lambda store, out: ["report", store, "--out", out],
    "markdown": lambda store, out: ["report", short_manifest(store), "--out", out, "--format", "md"],
    "pictures": lambda store, out: ["report", short_manifest(store), "--out", out, "--format", "png"],
}  # fmt: skip

ENDINGS = {
    "manifest": ".parquet",
    "sheet": ".png",
    "strip": ".png",
    "clip": ".mp4",
    "report": ".html",
    "markdown": ".md",
}
FOLDERS = ("export", "datasets", "pictures")


@pytest.mark.parametrize("name", COMMANDS)
def test_an_earlier_output_is_replaced_and_a_foreign_one_is_kept(name: str, store: Path, tmp_path: Path) -> None:
    out = tmp_path / f"out{ENDINGS.get(name, '')}"
    command = COMMANDS[name](store, out)
    assert run(*command) is None
    written = bytes_of(out)
    assert written
    assert run(*command) is None
    assert bytes_of(out) == written
    foreign = tmp_path / "foreign" / out.name
    foreign.parent.mkdir()
    if out.is_dir():
        foreign.mkdir()
        (foreign / "notes.txt").write_text("mine")
    else:
        foreign.write_text("mine")
    before = bytes_of(foreign)
    command = COMMANDS[name](store, foreign)
    refused = run(*command)
    assert isinstance(refused, UsageError) and "--overwrite" in str(refused)
    assert bytes_of(foreign) == before
    assert run(*command, "--overwrite") is None
    assert bytes_of(foreign) == written
    assert list(tmp_path.rglob(".*")) == []


def bytes_of(path: Path) -> dict[str, bytes]:
    if path.is_dir():
        return {p.relative_to(path).as_posix(): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}
    return {"": path.read_bytes()}


def test_pictures_and_clips_stay_readable_with_their_marks(store: Path, tmp_path: Path) -> None:
    run(*COMMANDS["sheet"](store, tmp_path / "sheet.png"))
    run(*COMMANDS["clip"](store, tmp_path / "clip.mp4"))
    image = cv2.imread(str(tmp_path / "sheet.png"))
    assert image is not None and image.shape[2] == 3
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert container.metadata["comment"] == "mmpipe" and container.streams.video


def test_the_manifest_of_a_store_is_not_a_manifest_to_replace(store: Path) -> None:
    before = (store / "manifest.parquet").read_bytes()
    refused = run("manifest", "meld", "--sample", "--out", store / "manifest.parquet")
    assert isinstance(refused, UsageError) and "is not a manifest that mmpipe wrote" in str(refused)
    assert (store / "manifest.parquet").read_bytes() == before


def test_a_list_of_problems_is_kept_like_any_other_file(tmp_path: Path) -> None:
    (tmp_path / "m.check.csv").write_text("my,own\n")
    command = ["manifest", "meld", "--sample", "--out", tmp_path / "m.parquet", "--check"]
    assert isinstance(run(*command), UsageError) and not (tmp_path / "m.parquet").exists()
    assert (tmp_path / "m.check.csv").read_text() == "my,own\n"
    assert not isinstance(run(*command, "--overwrite"), UsageError)
    assert (tmp_path / "m.check.csv").read_text().startswith("category,where")


@pytest.mark.parametrize("name", ["manifest.parquet", "audio/00000.parquet"])
def test_extraction_into_a_folder_of_somebody_elses_tables_is_refused(name: str, store: Path, tmp_path: Path) -> None:
    foreign = tmp_path / name
    foreign.parent.mkdir(exist_ok=True)
    table = pq.read_table(store / name)
    pq.write_table(table.replace_schema_metadata(None), foreign)
    before = foreign.read_bytes()
    refused = run("extract", "--dataset", "meld", "--sample", "--stages", "audio", "--out", tmp_path)
    assert isinstance(refused, StoreError) and "was not written by mmpipe" in str(refused)
    assert foreign.read_bytes() == before


def test_a_folder_is_no_place_for_a_file(store: Path, tmp_path: Path) -> None:
    for name, command in COMMANDS.items():
        place = tmp_path / name
        if name in FOLDERS:
            place.write_text("a file")
        else:
            place.mkdir()
        refused = run(*command(store, place), "--overwrite")
        assert isinstance(refused, UsageError) and "name another place" in str(refused), name


def test_a_shorter_markdown_report_removes_the_pictures_of_the_longer_one_and_no_others(
    store: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a report (mine).md"
    assert run("report", short_manifest(store), store / "manifest.parquet", "--out", out, "--format", "md") is None
    pictures = {path.name for path in tmp_path.glob("*.png")}
    (tmp_path / "a report (mine)-77.png").write_text("mine")  # the report has no such picture
    assert run("inspect", store, "--faces", tmp_path / "a report (mine)-78.png") is None
    replaced = tmp_path / max(pictures)
    replaced.write_text("mine, too")
    assert run("report", short_manifest(store), "--out", out, "--format", "md") is None
    text = out.read_text()
    left = {path.name for path in tmp_path.glob("*.png")}
    shown = {name for name in pictures if quote(name, safe="") in text}
    assert 0 < len(shown) < len(pictures) - 1
    assert left == {*shown, replaced.name, "a report (mine)-77.png", "a report (mine)-78.png"}
    assert replaced.read_text() == "mine, too"


def test_a_folder_of_pictures_is_replaced_as_a_whole_and_holds_nothing_else(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "pictures"
    assert run("report", short_manifest(store), store / "manifest.parquet", "--out", out, "--format", "png") is None
    names = sorted(path.name for path in out.iterdir())
    assert names[:2] == ["01-manifest-utterances-of-x-by-label.png", "02-manifest-utterances-of-meld-by-label.png"]
    assert all(cv2.imread(str(out / name)) is not None for name in names)
    assert run("report", short_manifest(store), "--out", out, "--format", "png") is None
    assert [path.name for path in out.iterdir()] == names[:1] and len(names) > 2
    (out / "sheet.png").write_bytes((out / names[0]).read_bytes())  # of mmpipe, but not of the report
    refused = run("report", short_manifest(store), "--out", out, "--format", "png")
    assert isinstance(refused, UsageError) and (out / "sheet.png").exists()
