"""Files that cannot be decoded in process are repaired on demand, and what cannot be repaired says so."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from mmpipe.core.errors import Rejected
from mmpipe.extractors.faces.crops import decode_crops
from mmpipe.manifests.schema import MediaSpan, Utterance, to_table
from mmpipe.pipeline.extraction.engines.serial import SerialEngine
from mmpipe.pipeline.extraction.run import plan_extraction, run_plan
from mmpipe.pipeline.extraction.stages import StageSpec, describe
from mmpipe.pipeline.media.repair import Repair
from mmpipe.pipeline.store.feature_store import FeatureStore

from .broken import film, pipe, scrambled

AUDIO = StageSpec("audio", "is10", transcode_fallback=True)
FACES = StageSpec("faces", "face-crops", {"detector": "full-frame"}, transcode_fallback=True)


def with_a_broken_picture(data: bytes, number: int) -> bytes:
    """A film with noise in the head of one picture."""
    with av.open(io.BytesIO(data), "r") as container:
        packet = list(container.demux(container.streams.video[0]))[number]
    assert packet.pos is not None
    return scrambled(data, packet.pos, 24)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound video, one with broken audio and one with broken video, and a text that is not a video."""
    root, mp4 = tmp_path_factory.mktemp("corpus"), film("mp4")
    (root / "fine.mp4").write_bytes(mp4)
    (root / "sound.mp4").write_bytes(scrambled(mp4, len(mp4) // 3, 500))
    (root / "picture.mp4").write_bytes(with_a_broken_picture(mp4, 24))
    (root / "diary.mp4").write_text("Dear diary, this is no film.")
    return root


def extracted(root: Path, store: Path, stage: StageSpec) -> dict[str, dict[str, Any]]:
    """The rows of a stage by file name."""
    manifest = to_table(
        Utterance(n.name, "test", audio=MediaSpan(n.name), video=MediaSpan(n.name)) for n in root.iterdir()
    )
    run_plan(plan_extraction(manifest, "test", root, store, [stage]), SerialEngine())
    return {row["utterance_id"][:-4]: row for row in FeatureStore(store).read(stage.name).to_pylist()}


@pytest.mark.parametrize(("stage", "broken"), [(AUDIO, "sound"), (FACES, "picture")])
def test_damaged_films_are_repaired_and_sound_ones_left_alone(
    corpus: Path, tmp_path: Path, stage: StageSpec, broken: str
) -> None:
    plain = extracted(corpus, tmp_path / "plain", replace(stage, transcode_fallback=False))
    repaired = extracted(corpus, tmp_path / "repaired", stage)
    assert plain[broken]["status"] == "media_error"
    assert repaired[broken]["status"] == "ok"
    assert repaired["fine"] == plain["fine"]
    assert repaired["diary"]["status"] == "media_error"
    assert re.fullmatch(r"diary.mp4: cannot be decoded.* FFmpeg could not repair it: .*", repaired["diary"]["error"])
    assert "/" not in repaired["diary"]["error"]


def test_a_repaired_film_keeps_its_frames_and_their_places(corpus: Path, tmp_path: Path) -> None:
    rows = extracted(corpus, tmp_path / "store", FACES)
    assert rows["picture"]["frame_index"] == rows["fine"]["frame_index"] == [0, 10, 20, 30, 40, 50]
    one, other = (decode_crops(rows[name]["crops"]).astype(int) for name in ("picture", "fine"))
    assert np.abs(one - other)[:2].max() <= 6
    assert np.abs(one - other)[5:].max() <= 6


def test_only_rows_that_wait_for_repair_are_made_again_and_their_expression_with_them(
    corpus: Path, tmp_path: Path
) -> None:
    store, stages = tmp_path / "store", [FACES, StageSpec("expression", "tests.pipeline.toys:MeanOfCrops")]
    manifest = to_table(Utterance(path.name, "test", video=MediaSpan(path.name)) for path in corpus.iterdir())

    def run(*, repair: bool) -> dict[str, int]:
        specs = [replace(stages[0], transcode_fallback=repair), stages[1]]
        made: dict[str, int] = {}
        run_plan(
            plan_extraction(manifest, "test", corpus, store, specs),
            SerialEngine(),
            lambda done: made.update({done.stage: done.made}),
        )
        return made

    assert run(repair=False) == {"faces": 4, "expression": 4}
    before = {row["utterance_id"]: row for row in FeatureStore(store).read("expression").to_pylist()}
    assert run(repair=True) == {"faces": 2, "expression": 2}  # picture.mp4 and diary.mp4
    footer = FeatureStore(store).footer("faces", 0)
    assert "imageio-ffmpeg" in footer["provenance"]["repair"]
    after = {row["utterance_id"]: row for row in FeatureStore(store).read("expression").to_pylist()}
    assert after["picture.mp4"]["status"] == "ok" != before["picture.mp4"]["status"]
    assert after["fine.mp4"] == before["fine.mp4"]
    assert run(repair=True) == run(repair=False) == {}
    assert FeatureStore(store).footer("faces", 0) == footer


def test_a_shard_without_broken_rows_is_the_same_with_and_without_repair(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "fine.mp4").write_bytes(film("mp4"))
    extracted(tmp_path / "clips", tmp_path / "store", replace(FACES, transcode_fallback=False))
    shard = tmp_path / "store" / "faces" / "00000.parquet"
    before = shard.read_bytes()
    extracted(tmp_path / "clips", tmp_path / "store", FACES)
    assert shard.read_bytes() == before
    assert describe(FACES) == describe(replace(FACES, transcode_fallback=False))


def test_what_is_no_file_is_not_handed_to_ffmpeg(tmp_path: Path) -> None:
    pipe(tmp_path / "pipe.avi")
    error = Rejected("media_error", "pipe.avi: is no regular file but a pipe")
    with pytest.raises(Rejected, match=r"is no regular file but a pipe$"):
        Repair()(tmp_path / "pipe.avi", error)
