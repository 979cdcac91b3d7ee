"""Broken media get one row each, with the right status and a message; the rest of the corpus is extracted."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest

from mmpipe.manifests.schema import MediaSpan, Utterance, to_table
from mmpipe.pipeline.extraction.engines.serial import SerialEngine
from mmpipe.pipeline.extraction.run import plan_extraction, run_plan
from mmpipe.pipeline.extraction.stages import StageSpec
from mmpipe.pipeline.store.feature_store import FeatureStore

from ..conftest import Once
from .broken import Broken, everything, good

STAGES = (StageSpec("audio", "is10"), StageSpec("faces", "face-crops", {"detector": "full-frame"}))
NOBODY = 65_534
GOOD = [f"good{number}.mp4" for number in range(4)]


@contextmanager
def unprivileged() -> Iterator[None]:
    """Root may read everything: give up the right to, for a while."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


Rows = dict[str, dict[str, dict[str, object]]]


@pytest.fixture(scope="session")
def stores(once: Once) -> Path:
    """The stores of all broken media, each under two names, among good ones (`store`), and of a good one (`first`)."""

    def make(target: Path) -> None:
        with tempfile.TemporaryDirectory() as name:
            Path(name).chmod(0o777)  # anybody may write to it
            extract_broken(Path(name))
            for store in ("first", "store"):
                shutil.copytree(Path(name) / store, target / store)

    return once("broken-media", make)


def extract_broken(folder: Path) -> None:
    cases, root = everything(), folder / "corpus"
    root.mkdir()
    names = []
    for case in cases:
        for name in (case.name, case.innocent):
            case.make(root / name)
            names.append(name)
    for name in GOOD:
        good(root / name)
    first = _manifest(GOOD[:1])  # loads every module, while they can be read
    run_plan(plan_extraction(first, "test", root, folder / "first", STAGES), SerialEngine())
    with unprivileged():
        run_plan(plan_extraction(_manifest([*names, *GOOD]), "test", root, folder / "store", STAGES), SerialEngine())


@pytest.fixture(scope="session")
def rows(stores: Path) -> Rows:
    """By stage and file name, the rows of all broken media."""
    store = FeatureStore(stores / "store")
    uri = {row["utterance_id"]: row["audio"]["uri"] for row in store.manifest().to_pylist()}
    return {spec.name: {uri[row["utterance_id"]]: row for row in store.read(spec.name).to_pylist()} for spec in STAGES}


def _manifest(names: list[str]) -> pa.Table:
    return to_table(
        Utterance(f"test/{number:03d}", "test", audio=MediaSpan(name), video=MediaSpan(name))
        for number, name in enumerate(names)
    )


CASES = everything()


def test_there_are_at_least_forty() -> None:
    assert len({case.name for case in CASES}) >= 40


@pytest.mark.parametrize("case", CASES, ids=[case.name[:40].encode("unicode_escape").decode() for case in CASES])
def test_a_broken_file_has_its_status_and_message_under_any_name(case: Broken, rows: Rows) -> None:
    for stage, expected in (("audio", case.audio), ("faces", case.video)):
        told, innocent = rows[stage][case.name], rows[stage][case.innocent]
        assert (told["status"], innocent["status"]) == (expected, expected), (told["error"], innocent["error"])
        for name, row in ((case.name, told), (case.innocent, innocent)):
            if expected == "ok":
                assert row["error"] is None or str(row["error"]).startswith("samples_clipped")
            elif expected == "too_short":
                assert "too short" in str(row["error"]) or name in str(row["error"])
            else:
                assert name in str(row["error"])
        if expected == "ok":
            values = "features" if stage == "audio" else "crops"
            assert told[values] == innocent[values]


def test_the_rest_of_the_corpus_is_extracted(rows: Rows, stores: Path) -> None:
    alone = {spec.name: FeatureStore(stores / "first").read(spec.name).to_pylist()[0] for spec in STAGES}
    for name in GOOD:
        assert rows["audio"][name]["features"] == alone["audio"]["features"]
        assert rows["faces"][name]["crops"] == alone["faces"]["crops"]
