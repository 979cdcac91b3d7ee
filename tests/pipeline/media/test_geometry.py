"""Frames have the shape that a player gives them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from mmpipe.manifests.schema import MediaSpan, Region
from mmpipe.pipeline.media.geometry import Geometry
from mmpipe.pipeline.media.notes import Note

from .reading import categories, ffmpeg, frames_of

PATTERN = "testsrc2=size=320x240:rate=25:duration=0.2"


def shown_by_ffmpeg(path: Path, filters: str = "null") -> np.ndarray:
    raw = ffmpeg("-i", path, "-vf", filters, "-frames:v", 1, "-pix_fmt", "rgb24", "-f", "rawvideo", "-")
    return np.frombuffer(raw, np.uint8)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("mirror", ["", "-display_hflip", "-display_vflip"])
def test_the_whole_display_matrix_is_applied(tmp_path: Path, degrees: int, mirror: str) -> None:
    flat, path = tmp_path / "flat.mkv", tmp_path / "a.mov"
    ffmpeg("-f", "lavfi", "-i", PATTERN, "-c:v", "ffv1", "-pix_fmt", "bgr0", flat)
    ffmpeg("-display_rotation", degrees, *([mirror] if mirror else []), "-i", flat, "-c", "copy", path)
    image = frames_of(path, 1)[0].image
    assert image.shape == ((320, 240, 3) if degrees % 180 else (240, 320, 3))
    np.testing.assert_array_equal(image.reshape(-1), shown_by_ffmpeg(path))


@pytest.mark.parametrize(("width", "pixel"), [(480, "2/3"), (225, "64/45"), (352, "12/11")])
def test_pixels_that_are_not_square_are_made_so(tmp_path: Path, width: int, pixel: str) -> None:
    path = tmp_path / "a.mp4"
    ffmpeg("-f", "lavfi", "-i", PATTERN, "-vf", f"scale={width}:240,setsar={pixel}", "-pix_fmt", "yuv444p", path)
    image = frames_of(path, 1)[0].image
    shown = round(width * Fraction(pixel))
    assert image.shape == (240, shown, 3)
    expected = shown_by_ffmpeg(path, f"scale={shown}:240").reshape(240, shown, 3)
    assert np.abs(image.astype(int) - expected).mean() < 6


def test_a_region_is_a_share_of_the_shown_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    ffmpeg("-f", "lavfi", "-i", PATTERN, "-vf", "setsar=2", path)
    half = MediaSpan("x", 0.0, None, Region(0.5, 0.0, 0.5, 1.0))
    assert frames_of(path, 1, half)[0].image.shape == (240, 320, 3)


@pytest.mark.parametrize("pixel", [None, Fraction(1), Fraction(1, 500), Fraction(300)])
def test_pixels_of_an_impossible_shape_count_as_square(pixel: Fraction | None) -> None:
    assert (Geometry(320, 240, pixel).width, Geometry(320, 240, pixel).height) == (320, 240)


def test_a_frame_of_another_shape_is_fitted_into_the_first(tmp_path: Path) -> None:
    wide, tall, path = tmp_path / "wide.ts", tmp_path / "tall.ts", tmp_path / "a.ts"
    ffmpeg("-f", "lavfi", "-i", PATTERN, "-c:v", "mpeg2video", wide)
    ffmpeg("-f", "lavfi", "-i", "color=white:size=120x240:rate=25:duration=0.4", "-c:v", "mpeg2video", tall)
    path.write_bytes(wide.read_bytes() + tall.read_bytes())
    notes: list[Note] = []
    last = frames_of(path, 1, notes=notes)[-1].image
    assert last.shape == (240, 320, 3)
    assert last[:, 105:215].min() > 200
    assert last[:, :95].max() < 50 and last[:, 225:].max() < 50
    assert "size_changes" in categories(notes)
