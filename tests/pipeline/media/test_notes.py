"""What is odd with a file reaches the user: in the shard, in `mmpipe inspect`, and in the check of the headers."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mmpipe.core.statuses import CATEGORIES, WARNINGS
from mmpipe.manifests.schema import MediaSpan, Utterance, to_table
from mmpipe.pipeline.cli.app import app
from mmpipe.pipeline.extraction.engines.serial import SerialEngine
from mmpipe.pipeline.extraction.run import plan_extraction, run_plan
from mmpipe.pipeline.extraction.stages import StageSpec
from mmpipe.pipeline.media.header_checks import check_headers, media_uses, read_headers
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.store.summary import inspect_store

from ..conftest import tone, write_wav
from .reading import CASES, ffmpeg

STAGES = (StageSpec("audio", "is10"), StageSpec("faces", "face-crops", {"detector": "full-frame"}))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    write_wav(root / "opposite.wav", np.stack([tone(1.0), -tone(1.0)], axis=1))
    write_wav(root / "plain.wav", tone(1.0))
    shutil.copy(CASES / "mono-stereo.ts", root / "joined.ts")
    names = ("opposite.wav", "plain.wav", "joined.ts")
    table = to_table(Utterance(f"x/{n}", "x", audio=MediaSpan(n), video=MediaSpan(n)) for n in names)
    path = tmp_path_factory.mktemp("features") / "x"
    run_plan(plan_extraction(table, "x", root, path, STAGES), SerialEngine())
    return path


def test_a_row_with_odd_media_is_ok_and_says_what_is_odd(store: Path) -> None:
    rows = {row["utterance_id"]: row for row in FeatureStore(store).read("audio").to_pylist()}
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert rows["x/plain.wav"]["error"] is None
    assert rows["x/opposite.wav"]["error"].startswith("channels_cancel: opposite.wav: ")
    assert rows["x/joined.ts"]["error"].startswith("clock_jump: joined.ts: ")
    faces = {row["utterance_id"]: row for row in FeatureStore(store).read("faces").to_pylist()}
    assert faces["x/joined.ts"]["status"] == "ok"
    assert faces["x/joined.ts"]["error"] == rows["x/joined.ts"]["error"]
    assert faces["x/plain.wav"]["status"] == "no_video"


def test_inspect_counts_warnings_by_reason_beside_failures(store: Path) -> None:
    audio, faces = inspect_store(store).stages
    assert {warning.example.split(":")[0] for warning in audio.warnings} == {"channels_cancel", "clock_jump"}
    assert not audio.failures
    assert {failure.status for failure in faces.failures} == {"no_video"}
    printed = CliRunner().invoke(app, ["inspect", str(store)])
    assert "With features and a warning" in printed.output


def test_headers_tell_what_will_be_odd(tmp_path: Path) -> None:
    def made(name: str, *options: object) -> None:
        ffmpeg(*options, tmp_path / name)

    wav = write_wav(tmp_path / "a.wav", tone(2.0))
    cover = tmp_path / "cover.png"
    ffmpeg("-f", "lavfi", "-i", "color=red:size=64x64", "-frames:v", 1, cover)
    made("cover.mp3", "-i", wav, "-i", cover, "-map", "0", "-map", "1")
    made("two.mkv", "-i", wav, "-i", wav, "-map", "0", "-map", "1")
    made("six.wav", "-i", wav, "-af", "pan=5.1|FC=c0")
    made("wide.mp4", "-i", CASES / "h264-in.avi", "-an", "-vf", "setpts=N/25/TB,setsar=4/3")
    shutil.copy(CASES / "paused.mp4", tmp_path)
    shutil.copy(CASES / "shorten.sph", tmp_path)
    half = (CASES / "audio-starts-late.mkv").read_bytes()
    (tmp_path / "half.mkv").write_bytes(half[: len(half) // 2])
    rows = [
        *(Utterance(f"a/{n}", "x", audio=MediaSpan(n)) for n in ("two.mkv", "six.wav", "shorten.sph", "half.mkv")),
        *(Utterance(f"v/{n}", "x", video=MediaSpan(n)) for n in ("cover.mp3", "wide.mp4", "paused.mp4")),
    ]
    uses = media_uses(rows)
    found = {(p.category, p.where) for p in check_headers(read_headers(tmp_path, list(uses)), uses)}
    assert found >= {
        ("several_tracks", "two.mkv"),
        ("many_channels", "six.wav"),
        ("no_decoder", "shorten.sph"),
        ("cut_off", "half.mkv"),
        ("cover_only", "cover.mp3"),
        ("odd_pixels", "wide.mp4"),
        ("variable_rate", "paused.mp4"),
    }


def test_warnings_and_categories_are_documented() -> None:
    docs = Path(__file__).parents[3] / "docs"
    extraction, corpora = (docs / "extraction.md").read_text("utf-8"), (docs / "corpora.md").read_text("utf-8")
    assert all(f"`{name}`" in extraction for name in WARNINGS)
    new = ("several_tracks", "no_decoder", "cover_only", "many_channels", "odd_pixels", "variable_rate", "header_count")
    assert all(name in CATEGORIES and f"`{name}`" in corpora for name in (*new, "skipped_file"))
