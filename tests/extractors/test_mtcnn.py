"""MTCNN finds what the `mtcnn` wheel's own detector finds, in any company and at any size of frame."""

from __future__ import annotations

import shutil
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest

from mmpipe.extractors.detectors import mtcnn_networks
from mmpipe.extractors.detectors.mtcnn import MTCNN, MTCNNConfig
from mmpipe.manifests.errors import WeightsError

from .conftest import Image, scene

REFERENCE: dict[str, tuple[Image, list[list[float]]]] = {
    "one face": (
        scene((150, 40, 160)),
        [[192.61, 72.76, 269.50, 184.88, 212.75, 246.74, 229.28, 215.97, 243.50, 113.61, 113.68, 135.33, 156.15, 155.51]],
    ),
    "two faces": (
        scene((20, 10, 96), (170, 80, 128), height=240, width=320),
        [
            [44.90, 29.25, 89.40, 94.02, 57.07, 77.56, 67.70, 59.25, 75.76, 53.79, 53.84, 66.96, 78.87, 78.97],
            [204.74, 108.04, 261.79, 191.55, 220.16, 247.36, 234.74, 223.09, 245.22, 138.99, 138.73, 155.89, 172.56, 172.34],
        ],
    ),
    "half frame": (
        scene((90, 60, 72), height=180, width=240, gray=60),
        [[107.88, 73.69, 143.53, 123.08, 117.84, 133.59, 125.82, 119.62, 131.94, 93.01, 93.23, 102.77, 111.80, 111.89]],
    ),
}  # fmt: skip
"""Left, top, right, bottom, five x and five y of landmarks, as mtcnn 1.0.0 under TensorFlow 2 finds them in these
pictures (`detect_faces` with its defaults, so faces from 20 pixels), by the left edge."""


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
        np.clip(
            scene((40 + 5 * n, 3 * n, 128)).astype(int) + generator.integers(-9, 10, (288, 352, 3)), 0, 255
        ).astype(np.uint8)
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


def test_faces_below_the_smallest_size_are_not_searched() -> None:
    image = scene((40, 40, 96))  # a face of about 45 x 65 pixels
    assert len(made(MTCNNConfig(min_face_fraction=0.1)).detect([image])[0]) == 1
    assert made(MTCNNConfig(min_face_fraction=0.5)).detect([image])[0] == []
    assert made(MTCNNConfig(min_face_pixels=160)).detect([image])[0] == []


def test_neither_tensorflow_nor_the_package_is_imported(mtcnn: MTCNN) -> None:
    assert "tensorflow" not in sys.modules
    assert "mtcnn" not in sys.modules
    assert mtcnn.weights() == mtcnn_networks.SHA256


def _copy_of_the_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    weights = folder / "mtcnn" / "assets" / "weights"
    weights.mkdir(parents=True)
    for path in mtcnn_networks.weight_paths().values():
        shutil.copy(path, weights)
    spec = ModuleSpec("mtcnn", None, origin=str(folder / "mtcnn" / "__init__.py"))
    monkeypatch.setattr(mtcnn_networks, "find_spec", lambda _: spec)
    return weights


def test_altered_weights_are_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = _copy_of_the_package(tmp_path, monkeypatch)
    with (weights / "rnet.lz4").open("ab") as stream:
        stream.write(b"!")
    monkeypatch.setattr(mtcnn_networks.joblib, "load", lambda _: pytest.fail("an altered pickle was opened"))
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
    monkeypatch.setattr(mtcnn_networks, "find_spec", lambda _: None)
    with pytest.raises(WeightsError, match="`pip install mtcnn`"):
        MTCNN(MTCNNConfig()).weights()
