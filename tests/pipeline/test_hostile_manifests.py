"""Manifests and corpus folders from other people: a rule that is broken is named, a bad row costs its own row."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmpipe.core.errors import MmpipeError
from mmpipe.core.text import is_safe_name
from mmpipe.manifests.io import read_manifest
from mmpipe.manifests.prepare import prepare_corpus
from mmpipe.manifests.schema import MediaSpan, Utterance, Word, to_table, to_utterances
from mmpipe.manifests.splits import folds
from mmpipe.pipeline.extraction.engines.serial import SerialEngine
from mmpipe.pipeline.extraction.run import plan_extraction, run_plan
from mmpipe.pipeline.store.feature_store import FeatureStore

from .conftest import tone, write_wav
from .hostile import alarm, calm, stays_inside, tree
from .runs import clean_environment
from .toys import ROOT, Counting, toy

pytestmark = pytest.mark.slow

EVIL = "[/sad]\x1b[31m\x1b]8;;http://x\x07"
LEAVING = "../../../x"

Row = Callable[[int], Any]
COLUMNS: dict[str, tuple[str, Row]] = {
    "annotations not JSON": ("annotations", lambda n: "{"),
    "annotations a list": ("annotations", lambda n: "[1]"),
    "annotations deep": ("annotations", lambda n: '{"a":' * 50_000),
    "annotations NaN": ("annotations", lambda n: '{"fold": NaN}'),
    "annotations huge": ("annotations", lambda n: '{"fold": ' + "9" * 5000 + "}"),
    "annotations half a character": ("annotations", lambda n: '{"fold": "\\ud800"}'),
    "folds leave": ("annotations", lambda n: '{"fold": "' + LEAVING + str(n % 3) + '"}'),
    "folds are lists": ("annotations", lambda n: '{"fold": [' + str(n % 3) + "]}"),
    "words null": ("words", lambda n: [None]),
    "words without text": ("words", lambda n: [{"text": None, "start_seconds": 0.0, "end_seconds": 1.0}]),
    "words not a number": ("words", lambda n: [{"text": "a", "start_seconds": float("nan")}]),
    "words infinite": ("words", lambda n: [{"text": "a", "end_seconds": float("inf")}]),
    "words before 0": ("words", lambda n: [{"text": "a", "start_seconds": -5.0, "end_seconds": -7.0}]),
    "speakers leave": ("speaker", lambda n: LEAVING + str(n % 4)),
    "speakers differ in case": ("speaker", lambda n: ("Ann", "ann", "ANN", "aNN")[n % 4]),
    "speakers reserved": ("speaker", lambda n: ("CON", "nul", "com1.txt", "aux")[n % 4]),
    "speakers end in dots": ("speaker", lambda n: ("a", "a.", "a ", "a..")[n % 4]),
    "speakers long": ("speaker", lambda n: "é" * 300 + str(n % 4)),
    "speakers with markup": ("speaker", lambda n: EVIL + str(n % 4)),
    "speakers empty": ("speaker", lambda n: ""),
    "labels with markup": ("label", lambda n: EVIL + str(n % 2)),
    "texts with markup": ("text", lambda n: EVIL),
    "ids leave": ("utterance_id", lambda n: LEAVING + str(n)),
    "ids twice": ("utterance_id", lambda n: "x"),
    "ids long": ("utterance_id", lambda n: "a" * 100_000 + str(n)),
    "media leave": ("audio", lambda n: {"uri": LEAVING, "start_seconds": 0.0}),
    "media absolute": ("audio", lambda n: {"uri": "/dev/zero", "start_seconds": 0.0}),
    "media a device": ("audio", lambda n: {"uri": "zero", "start_seconds": 0.0}),
    "media in a circle": ("audio", lambda n: {"uri": "circle/circle/a.wav", "start_seconds": 0.0}),
    "media without a name": ("audio", lambda n: {"uri": None, "start_seconds": 0.0}),
    "media without times": ("audio", lambda n: {"uri": "a.wav", "start_seconds": float("nan")}),
    "shards far": ("shard", lambda n: 2**31 - 1),
}


def spoilt(path: Path, name: str, make: Row) -> Path:
    """A manifest of twelve utterances, a column of which is replaced; Arrow writes it, without the rules of mmpipe."""
    table = to_table(
        Utterance(
            f"x/{n}", "x", "train", f"s{n % 2}", speaker=f"p{n % 4}", audio=MediaSpan("a.wav"), text="so it is",
            words=(Word("so", 0.0, 0.1),), label=("joy", "fear")[n // 4 % 2], annotations={"fold": n % 3},
        )
        for n in range(12)
    )  # fmt: skip
    place = table.schema.get_field_index(name)
    values = pa.array([make(row) for row in range(12)], table.schema.field(name).type)
    pq.write_table(table.set_column(place, table.schema.field(name), values), path)
    return path


@pytest.mark.parametrize("kind", COLUMNS)
def test_a_hostile_manifest_is_refused_by_name_or_costs_its_rows(kind: str, tmp_path: Path) -> None:
    root = tmp_path / "a" / "b" / "root"
    root.mkdir(parents=True)
    write_wav(root / "a.wav", tone(0.2))
    (root / "circle").symlink_to("circle")
    (root / "zero").symlink_to("/dev/zero")
    path = spoilt(root / "m.parquet", *COLUMNS[kind])

    def act() -> None:
        calm("inspect", path, cwd=root)
        with alarm(kind):
            try:
                manifest = read_manifest(path)
                utterances = to_utterances(manifest)
                assert all(word.text for u in utterances for word in u.words or ())
                store = FeatureStore(
                    run_plan(
                        plan_extraction(manifest, "x", root, root / "store", [toy(Counting)]), SerialEngine()
                    ).store
                )
                assert sum(store.statuses("toy").values()) == 12
            except MmpipeError as error:
                assert str(error)
                return
            for protocol in ("loso", "groups-3", "column", "clips-3", "iemocap-10", "auto"):
                try:
                    names = [fold.name for fold in folds(manifest, protocol)]
                except MmpipeError:
                    continue
                assert all(map(is_safe_name, names)), names
                assert len({name.casefold() for name in names}) == len(names)

    stays_inside(tmp_path, ("a/b/root/store",), act)


def test_a_corpus_folder_of_traps_is_read(tmp_path: Path) -> None:
    """Links in a circle, pipes in the place of tables and transcripts, a device, and a link out of the folder."""
    root = tmp_path / "root"
    (root / "deep").mkdir(parents=True)
    for name in ("a", "b", "c", "d"):
        write_wav(root / f"{name}.wav", tone(0.1))
    (root / "deep" / "up").symlink_to(root)
    (root / "circle").symlink_to("circle")
    os.mkfifo(root / "a.txt")
    os.mkfifo(root / "pipe.wav")
    (root / "b.txt").symlink_to("/dev/zero")
    (root / "c.vtt").write_text("WEBVTT\n\n" + "<v " * 20_000)
    before = tree(tmp_path)
    with alarm("prepare"):
        prepared = prepare_corpus("folder", root, {})
        os.mkfifo(root / "table.csv")
        with pytest.raises(MmpipeError):
            prepare_corpus("folder", root, {"table": "table.csv"})
    assert {u.audio.uri for u in prepared.utterances if u.audio} >= {"a.wav", "b.wav", "c.wav", "d.wav"}
    assert tree(tmp_path) - before == {"root/table.csv"}


def test_too_few_open_files_are_answered_with_the_limit_to_raise(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", tone(0.1))
    code = (
        "import resource, sys; sys.argv[:] = ['mmpipe', 'manifest', 'folder', '--root', '.', '--out', 'm.parquet']; "
        "from mmpipe.pipeline.cli.app import main; import mmpipe.manifests.prepare, mmpipe.pipeline.cli.settings, "
        "mmpipe.manifests.corpora.folder; resource.setrlimit(resource.RLIMIT_NOFILE, (3, 64)); main()"
    )
    environment = clean_environment() | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1 and "ulimit -n" in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
