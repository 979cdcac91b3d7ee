"""MTCNN finds what the `mtcnn` wheel's own detector finds, in any company and at any size of frame."""

from __future__ import annotations

import shutil
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mmpipe.core.errors import WeightsError
from mmpipe.extractors.faces.detectors import mtcnn_weights
from mmpipe.extractors.faces.detectors.mtcnn import MTCNN, MTCNNConfig
from mmpipe.extractors.faces.detectors.views import tilted

from .conftest import Image, scene

REFERENCE: dict[str, tuple[Image, list[list[float]]]] = {
    "one face": (
        scene((150, 40, 160)),
        [[192.6, 72.8, 269.5, 184.9, 212.8, 246.7, 229.3, 216.0, 243.5, 113.6, 113.7, 135.3, 156.2, 155.5]],
    ),
    "two faces": (
        scene((20, 10, 96), (170, 80, 128), height=240, width=320),
        [
            [44.9, 29.2, 89.4, 94.0, 57.1, 77.6, 67.7, 59.2, 75.8, 53.8, 53.8, 67.0, 78.9, 79.0],
            [
                204.7,
                108.0,
                261.8,
                191.5,
                220.2,
                247.4,
                234.7,
                223.1,
                245.2,
                139.0,
                138.7,
                155.9,
                172.6,
                172.3,
            ],
        ],
    ),
    "half frame": (
        scene((90, 60, 72), height=180, width=240, gray=60),
        [[107.9, 73.7, 143.5, 123.1, 117.8, 133.6, 125.8, 119.6, 131.9, 93.0, 93.2, 102.8, 111.8, 111.9]],
    ),
}
"""Left, top, right, bottom, five x and five y of landmarks, as mtcnn 1.0.0 under TensorFlow 2 finds them in
these pictures (`detect_faces` with its defaults, so faces from 20 pixels), sorted by the left edge."""


@pytest.fixture(scope="module")
def mtcnn() -> MTCNN:
    return made(MTCNNConfig())


def made(config: MTCNNConfig) -> MTCNN:
    detector = MTCNN(config)
    detector.prepare()
    return detector


@pytest.mark.parametrize("name", REFERENCE)
def test_the_faces_are_those_of_the_wheels_own_detector(name: str) -> None:
    image, expected = REFERENCE[name]
    found = made(MTCNNConfig(min_face_fraction=0.01, min_face_pixels=20)).detect([image])[0]
    got = []
    for face in found:
        left, top, width, height = face.box
        assert face.landmarks is not None
        (*points_x,), (*points_y,) = zip(*face.landmarks, strict=True)
        got.append([left, top, left + width, top + height, *points_x, *points_y])
    np.testing.assert_allclose(sorted(got), expected, atol=0.5)


def test_the_astronaut_is_found_where_the_wheels_own_detector_finds_her() -> None:
    data = pytest.importorskip("skimage.data")
    (face,) = made(MTCNNConfig(min_face_fraction=0.01)).detect([data.astronaut()])[0]
    left, top, width, height = face.box
    np.testing.assert_allclose(
        [left, top, left + width, top + height, face.score],
        [181.598, 63.726, 264.553, 171.079, 0.999],
        atol=0.01,
    )


def test_an_image_has_the_same_faces_alone_and_in_any_company(mtcnn: MTCNN) -> None:
    generator = np.random.default_rng(1)
    images = [
        np.clip(scene((40 + 5 * n, 3 * n, 128)).astype(int) + generator.integers(-9, 10, (288, 352, 3)), 0, 255).astype(
            np.uint8
        )
        for n in range(34)
    ]
    images[5] = scene()
    images[9] = REFERENCE["two faces"][0]
    alone = [mtcnn.detect([image])[0] for image in images]
    assert mtcnn.detect(images) == alone
    order = generator.permutation(len(images))
    assert mtcnn.detect([images[n] for n in order]) == [alone[n] for n in order]
    assert mtcnn.detect([]) == []


@pytest.mark.parametrize("left, top", [(0, 0), (57, 31), (131, 160), (224, 83)])
def test_a_moved_face_is_found_where_it_moved(mtcnn: MTCNN, left: int, top: int) -> None:
    (face,) = mtcnn.detect([scene((left, top, 128))])[0]
    x, y, width, height = face.box
    assert face.score > 0.9
    # The drawing's face spans a quarter to three quarters of its square; eyes and chin lie at 0.47 and 0.88.
    assert abs(x + width / 2 - (left + 64)) < 4
    assert abs(y + height / 2 - (top + 70)) < 6
    assert 50 < width < 75 and 70 < height < 100


@pytest.mark.parametrize(
    "height, width, side", [(144, 176, 64), (240, 180, 72), (288, 352, 96), (480, 360, 110), (720, 1280, 200)]
)
def test_faces_are_found_in_frames_of_many_sizes(mtcnn: MTCNN, height: int, width: int, side: int) -> None:
    left, top = width // 3, height // 4
    (face,) = mtcnn.detect([scene((left, top, side), height=height, width=width)])[0]
    assert abs(face.box[0] + face.box[2] / 2 - (left + side / 2)) < 0.05 * side


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((288, 352, 3), np.uint8),
        np.random.default_rng(0).integers(0, 256, (288, 352, 3), np.uint8),
        np.full((8, 8, 3), 99, np.uint8),
        np.full((1, 300, 3), 99, np.uint8),
    ],
)
def test_where_there_is_no_face_none_is_found(mtcnn: MTCNN, image: Image) -> None:
    assert mtcnn.detect([image]) == [[]]


def test_the_further_looks_hardly_ever_find_a_face_in_photographs_of_other_things(mtcnn: MTCNN) -> None:
    folder = Path(pytest.importorskip("skimage.data").__file__).parent
    names = "brick.png", "chelsea.png", "coffee.png", "grass.png", "motorcycle_left.png", "rocket.jpg"
    tiles = [tile for name in names for tile in parts(cv2.imread(str(folder / name)))]
    once = made(MTCNNConfig(retry_thresholds=()))
    more = sum(map(bool, mtcnn.detect(tiles))) - sum(map(bool, once.detect(tiles)))
    assert len(tiles) == 15 and more <= 1


def parts(photograph: Any) -> list[Image]:
    """Overlapping parts of 352x288 pixels."""
    height, width = photograph.shape[:2]
    corners = [(y, x) for y in range(0, height - 287, 144) for x in range(0, width - 351, 176)]
    return [np.ascontiguousarray(photograph[y : y + 288, x : x + 352, ::-1]) for y, x in corners]


@pytest.mark.parametrize("degrees", [-75, 80, 90])
def test_a_head_laid_to_one_side_is_found_by_the_last_look(mtcnn: MTCNN, degrees: float) -> None:
    astronaut = pytest.importorskip("skimage.data").astronaut()[:288, 64:416]
    image = tilted(np.ascontiguousarray(astronaut), degrees).image
    for thresholds in ((), (0.9,)):
        assert made(MTCNNConfig(retry_thresholds=thresholds)).detect([image]) == [[]]
    (face,) = mtcnn.detect([image])[0]
    x, y, width, height = face.box
    place = tilted(image, -degrees).to_frame  # from the upright picture to the tilted one
    np.testing.assert_allclose((x + width / 2, y + height / 2), place @ (159, 117, 1), atol=16)


def test_a_face_that_stays_is_followed_without_proposals(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.ascontiguousarray(pytest.importorskip("skimage.data").astronaut()[:288, 64:416])
    detector = made(MTCNNConfig())
    (first,) = detector.detect([image])[0]
    moved = np.ascontiguousarray(np.roll(image, 60, axis=1))
    (found,) = detector.detect_near(moved, first.box)  # out of the box, so searched for around it
    assert abs(found.box[0] - first.box[0] - 60) < 8
    monkeypatch.setattr(detector._cascade, "_propose", lambda *_: pytest.fail("proposals were made"))
    (followed,) = detector.detect_near(image, first.box)
    np.testing.assert_allclose(followed.box, first.box, atol=8)


def test_faces_below_the_smallest_size_are_not_searched() -> None:
    image = scene((40, 40, 96))  # a face of about 45 x 65 pixels
    assert len(made(MTCNNConfig(min_face_fraction=0.1)).detect([image])[0]) == 1
    assert made(MTCNNConfig(min_face_fraction=0.5)).detect([image])[0] == []
    assert made(MTCNNConfig(min_face_pixels=160)).detect([image])[0] == []


def test_neither_tensorflow_nor_the_package_is_imported(mtcnn: MTCNN) -> None:
    assert "tensorflow" not in sys.modules
    assert "mtcnn" not in sys.modules
    assert mtcnn.weights() == mtcnn_weights.SHA256


def _copy_of_the_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    weights = folder / "mtcnn" / "assets" / "weights"
    weights.mkdir(parents=True)
    for path in mtcnn_weights.weight_paths().values():
        shutil.copy(path, weights)
    spec = ModuleSpec("mtcnn", None, origin=str(folder / "mtcnn" / "__init__.py"))
    monkeypatch.setattr(mtcnn_weights, "find_spec", lambda _: spec)
    return weights


def test_altered_weights_are_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = _copy_of_the_package(tmp_path, monkeypatch)
    with (weights / "rnet.lz4").open("ab") as stream:
        stream.write(b"!")
    monkeypatch.setattr("joblib.load", lambda _: pytest.fail("an altered pickle was opened"))
    detector = MTCNN(MTCNNConfig())
    for ask in (detector.weights, detector.prepare):
        with pytest.raises(
            WeightsError, match=r"rnet\.lz4 is not the file that mmpipe knows: expected SHA-256 cb00e646"
        ):
            ask()


def test_missing_weights_say_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = _copy_of_the_package(tmp_path, monkeypatch)
    (weights / "onet.lz4").unlink()
    with pytest.raises(WeightsError, match=r"onet\.lz4 cannot be read"):
        MTCNN(MTCNNConfig()).prepare()
    monkeypatch.setattr(mtcnn_weights, "find_spec", lambda _: None)
    with pytest.raises(WeightsError, match="`pip install mtcnn`"):
        MTCNN(MTCNNConfig()).weights()
