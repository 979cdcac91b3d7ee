"""The contact sheet shows crops, the box on a frame, and which crops come from a frame without a face."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest

from mmpipe.core.errors import StoreError, UsageError
from mmpipe.pipeline.cli.inspect import inspect
from mmpipe.pipeline.extraction.contents import count_faces
from mmpipe.pipeline.extraction.corpus import extract_corpus
from mmpipe.pipeline.extraction.engines.serial import SerialEngine
from mmpipe.pipeline.extraction.request import ExtractRequest
from mmpipe.pipeline.report.blocks import Sheet, Text
from mmpipe.pipeline.report.contact_sheet import FOUND, MISSING, contact_sheet
from mmpipe.pipeline.report.faces import face_blocks
from mmpipe.pipeline.report.stores import show_store
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.store.shards import shard_path, write_shard

from .conftest import write_video


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    for number in range(3):
        write_video(folder / f"clip{number}.mp4", 41)
    return folder


@pytest.fixture
def store(root: Path, tmp_path: Path) -> FeatureStore:
    """Three clips of five frames; the face of the second one's third frame was not found, the last one has none."""
    full_frame = {"faces": {"detector": "full-frame"}}
    request = ExtractRequest("folder", root, tmp_path / "store", stages=["faces"], stage_options=full_frame)
    extract_corpus(request, SerialEngine())
    store = FeatureStore(tmp_path / "store")
    table, footer = store.read_shard("faces", 0), store.footer("faces", 0)
    rows: list[dict[str, Any]] = table.to_pylist()
    rows[1]["detected"][2] = False
    rows[2] = dict.fromkeys(rows[2]) | {
        "utterance_id": rows[2]["utterance_id"],
        "status": "no_face",
        "error": "none found",
    }
    altered = pa.Table.from_pylist(rows, table.schema.remove_metadata())
    write_shard(shard_path(store.path, "faces", 0), altered, footer["provenance"])
    return store


def count(image: Any, color: tuple[int, int, int]) -> int:
    return int((image == np.array(color)).all(axis=2).sum())


def test_faces_are_counted_by_utterance_and_frame(store: FeatureStore) -> None:
    counts = count_faces(store)
    assert (counts.utterances, counts.without_face, counts.frames, counts.detected) == (3, 1, 10, 9)


def test_crops_without_a_face_have_a_border_of_their_own(store: FeatureStore) -> None:
    sheet = contact_sheet(store, None)
    border = count(sheet, MISSING)
    assert border > 0
    assert count(sheet, FOUND) == 9 * border
    assert count(contact_sheet(store, None, rows=1), MISSING) == 0  # the first utterance alone


def test_with_the_root_a_frame_with_its_box_stands_before_the_crops(store: FeatureStore, root: Path) -> None:
    plain, framed = contact_sheet(store, None), contact_sheet(store, root)
    assert framed.shape[1] > plain.shape[1]
    before = framed[:, : framed.shape[1] - plain.shape[1]]
    assert len(np.unique(before.reshape(-1, 3), axis=0)) > 10
    (root / "clip0.mp4").unlink()
    assert contact_sheet(store, root).shape == framed.shape  # its place says that the frame is unreadable


def test_the_command_writes_the_sheet_once(
    store: FeatureStore, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "faces.png"
    inspect(store.path, faces=out, root=root)
    printed = " ".join(capsys.readouterr().out.split())
    assert "1 of 3 utterances without a face (33.3%); in the others it was found in 9 of 10 sampled frames" in printed
    np.testing.assert_array_equal(cv2.imread(str(out)), contact_sheet(store, root))
    out.write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        inspect(store.path, faces=out, root=root)


def test_a_store_without_faces_says_where_the_reasons_are(store: FeatureStore) -> None:
    table, footer = store.read_shard("faces", 0), store.footer("faces", 0)
    rows = [row | {"status": "no_face"} for row in table.to_pylist()]
    altered = pa.Table.from_pylist(rows, table.schema.remove_metadata())
    write_shard(shard_path(store.path, "faces", 0), altered, footer["provenance"])
    with pytest.raises(StoreError, match="holds no face: see `mmpipe inspect"):
        contact_sheet(store, None)


def test_the_report_marks_the_crops_without_a_face(store: FeatureStore) -> None:
    text, remark, sheet = face_blocks(show_store(store.path))
    assert isinstance(text, Text) and "1 of 3 filmed utterances (33.3 %) without a face" in text.text
    assert isinstance(remark, Text) and "orange bar" in remark.text
    assert isinstance(sheet, Sheet)
    assert [list(strip.missing) for strip in sheet.strips] == [[False] * 5, [False, False, True, False, False]]
