"""A store of six utterances with real media, and the page that shows it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from mmpipe.core.parquet import write_parquet
from mmpipe.manifests.schema import MediaSpan, Utterance, Word, to_table
from mmpipe.pipeline.browse.catalog import OpenStore, open_catalog
from mmpipe.pipeline.browse.marks import MarkList
from mmpipe.pipeline.browse.media import Clips
from mmpipe.pipeline.browse.pseudo import read_pseudo_labels
from mmpipe.pipeline.browse.server import make_app
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.store.plan import plan
from mmpipe.pipeline.store.provenance import StageProvenance
from mmpipe.pipeline.store.shards import shard_path, shard_schema, write_shard
from mmpipe.pipeline.store.writing import write_store

from ...conftest import Once
from ..conftest import tone, write_video, write_wav

SCRIPT = "<script>alert('1')</script> & so on"

UTTERANCES = (
    Utterance(
        "t/film", "t", "train", "s1", None, "ann", "F",
        MediaSpan("film.mp4", 0.5, 1.5), MediaSpan("film.mp4", 0.5, 1.5),
        "It is so GOOD to see you", (Word("It", 0.0, 0.2), Word("is", 0.25, 0.4), Word("so")), "joy", "hap",
    ),
    Utterance("t/sound", "t", "train", "s1", None, "bob", None, MediaSpan("sound.wav"), None, SCRIPT, None, "anger"),
    Utterance("t/gone", "t", "test", "s2", None, "ann", None, MediaSpan("gone.wav"), None, "media are gone"),
    Utterance("t/a b&c?#é%/+", "t", "test", "s2", None, "cy", None, None, None, "nothing but text", None, "joy"),
    Utterance("t/link", "t", None, None, None, None, None, MediaSpan("link.wav"), None, None, None, "anger"),
    Utterance("t/broken", "t", None, None, None, None, None, MediaSpan("broken.wav"), None, "100% broken_"),
)  # fmt: skip

STATUSES = {"t/gone": "media_missing", "t/a b&c?#é%/+": "no_audio", "t/broken": "media_error"}


def stage(path: Path, name: str, ordered: pa.Table, columns: Sequence[pa.Field], rows: Any) -> None:
    """Write a stage of a store: `rows` gives what an utterance's row holds."""
    for shard in sorted(set(ordered.column("shard").to_pylist())):
        ids = [
            i
            for i, n in zip(*(ordered.column(c).to_pylist() for c in ("utterance_id", "shard")), strict=True)
            if n == shard
        ]
        table = pa.Table.from_pylist([{"utterance_id": i, **rows(i)} for i in ids], schema=shard_schema(columns))
        write_shard(shard_path(path, name, shard), table, {"stage": name, **_made(name).to_json(), "rows": ids})


def _made(name: str) -> StageProvenance:
    return StageProvenance(name, "", {"every": 10}, {}, {})


def make_corpus(root: Path) -> None:
    """Media: a film with sound, a sound, a damaged file, and a link to a file outside of the corpus."""
    corpus = root / "corpus"
    corpus.mkdir()
    write_video(corpus / "film.mp4", 50, audio=tone(2.0))
    write_wav(corpus / "sound.wav", tone(3.0, seed=1))
    (corpus / "broken.wav").write_bytes(b"RIFF is all that is left")
    write_wav(root / "outside.wav", tone(0.5))
    (corpus / "link.wav").symlink_to(root / "outside.wav")


def make_small_store(path: Path) -> None:
    """The store of `UTTERANCES`, with the stages audio and faces."""
    ordered = plan(to_table(UTTERANCES))
    write_store(path, "t", ordered, {name: _made(name) for name in ("audio", "faces")}, "0")
    crop = cv2.imencode(".png", np.full((64, 64), 90, np.uint8))[1].tobytes()

    def audio(name: str) -> dict[str, Any]:
        status = STATUSES.get(name, "ok")
        return {
            "status": status,
            "error": None if status == "ok" else f"{name}: <b>{status}</b>",
            "features": [1.0, 2.0],
        }

    def faces(name: str) -> dict[str, Any]:
        if name != "t/film":
            return {"status": "no_video"}
        times = {"time_seconds": [0.1, 0.5], "detected": [True, False], "score": [0.99, None]}
        return {"status": "ok", "crops": [crop, crop], **times}

    stage(path, "audio", ordered, [pa.field("features", pa.list_(pa.float32(), 2))], audio)
    kinds = {"crops": pa.binary(), "time_seconds": pa.float64(), "detected": pa.bool_(), "score": pa.float32()}
    stage(path, "faces", ordered, [pa.field(name, pa.list_(kind)) for name, kind in kinds.items()], faces)


def make_balanced(path: Path) -> None:
    """A balanced list by fold: two draws of one utterance in a fold, another pseudo-label in the other fold."""
    rows = [
        ("t/gone", "joy", 0.6, "a"),
        ("t/gone", "joy", 0.6, "a"),
        ("t/gone", "anger", 0.9, "b"),
        ("t/broken", "joy", 0.5, "b"),
    ]
    columns = zip(*rows, strict=True)
    names = ("utterance_id", "pseudo_label", "probability", "fold")
    write_parquet(path, pa.table(dict(zip(names, map(list, columns), strict=True))), {"stores": {}})


@pytest.fixture(scope="session")
def place(once: Once) -> Path:
    """A folder with `corpus`, `store` and `balanced.parquet`."""

    def make(folder: Path) -> None:
        make_corpus(folder)
        make_small_store(folder / "store")
        make_balanced(folder / "balanced.parquet")

    return once("browse", make)


Open = Callable[..., TestClient]


@pytest.fixture
def open_page(place: Path, tmp_path: Path) -> Iterator[Open]:
    """Opens the page of the small store; marks are kept in the test's folder."""
    with Clips() as clips:

        def opened(root: Path | None = place / "corpus", *, balanced: bool = False) -> TestClient:
            store = OpenStore("store", FeatureStore(place / "store"), root, "" if root else "name it with --root")
            catalog = open_catalog([store], read_pseudo_labels(place / "balanced.parquet") if balanced else None)
            app = make_app(catalog, MarkList(tmp_path / "marks.csv"), clips)
            return TestClient(app, base_url="http://127.0.0.1:8765", follow_redirects=False)

        yield opened


@contextmanager
def served(*words: str, folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of a page that a process serves."""
    command = [sys.executable, "-m", "mmpipe", "browse", *words, "--port", "0"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        try:
            said = []
            for line in process.stdout:
                said.append(line)
                if (found := re.search(r"http://\S+", line)) is not None:
                    yield found[0], process
                    break
            else:
                raise AssertionError("".join(said))
        finally:
            process.terminate()
            process.wait(20)
