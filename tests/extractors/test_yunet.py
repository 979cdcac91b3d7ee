"""YuNet's model comes from known places only, and its faces are placed in the frame that was searched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import huggingface_hub
import numpy as np
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from mmpipe.core.errors import WeightsError
from mmpipe.extractors.faces.detectors import yunet_model
from mmpipe.extractors.faces.detectors.yunet import YuNet, YuNetConfig
from mmpipe.extractors.faces.detectors.yunet_model import HUB_FILE, HUB_REPOSITORY, HUB_REVISION, find_yunet
from mmpipe.extractors.weights.bundled import sha256

from .conftest import Image, scene


class BrightSquare:
    """Stands for OpenCV's network: the face is the bounding box of the pixels that are pure white."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []

    def setInputSize(self, size: tuple[int, int]) -> None:  # noqa: N802 - OpenCV's name
        self.sizes.append(size)

    def detect(self, image: Image) -> tuple[int, Any]:
        assert image.shape[1::-1] == self.sizes[-1]
        rows, columns = np.nonzero((image == 255).all(axis=2))
        if not len(rows):
            return 1, None
        x, y = columns.min(), rows.min()
        width, height = columns.max() + 1 - x, rows.max() + 1 - y
        row = [x, y, width, height, *[x, y] * 5, 0.875]
        return 1, np.array([row], np.float32)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> BrightSquare:
    network = BrightSquare()
    monkeypatch.setattr(cv2.FaceDetectorYN, "create", lambda *_: network)
    return network


@pytest.fixture
def detector(network: BrightSquare, tmp_path: Path) -> YuNet:
    model = tmp_path / "own.onnx"
    model.write_bytes(b"a model")
    detector = YuNet(YuNetConfig(model=model, sha256=sha256(model)))
    detector.prepare()
    return detector


def white(left: int, top: int, side: int, *, height: int, width: int) -> Image:
    image = np.zeros((height, width, 3), np.uint8)
    image[top : top + side, left : left + side] = 255
    return image


@pytest.mark.parametrize(
    "height, width, size", [(288, 352, (352, 288)), (576, 704, (352, 288)), (720, 1280, (512, 288))]
)
def test_frames_are_searched_at_one_working_size_and_faces_placed_in_the_frame(
    detector: YuNet, network: BrightSquare, height: int, width: int, size: tuple[int, int]
) -> None:
    (face,) = detector.detect([white(100, 60, 120, height=height, width=width)])[0]
    assert network.sizes == [size]
    np.testing.assert_allclose(face.box, (100, 60, 120, 120), atol=3)
    assert face.score == 0.875
    assert face.landmarks is not None
    np.testing.assert_allclose(face.landmarks, [(100, 60)] * 5, atol=3)


def test_near_a_box_a_square_of_twice_its_side_is_searched(detector: YuNet, network: BrightSquare) -> None:
    image = white(110, 70, 80, height=288, width=352)
    (face,) = detector.detect_near(image, (100.0, 60.0, 90.0, 96.0))
    assert network.sizes == [(192, 192)]
    np.testing.assert_allclose(face.box, (110, 70, 80, 80), atol=2)


def test_a_frame_without_a_face_is_searched_turned_to_either_side(
    detector: YuNet, network: BrightSquare, tmp_path: Path
) -> None:
    assert detector.detect([np.zeros((288, 352, 3), np.uint8)]) == [[]]
    assert len(network.sizes) == 3
    once = YuNet(detector.config.model_copy(update={"second_look": False}))
    once.prepare()
    assert once.detect([np.zeros((288, 352, 3), np.uint8)]) == [[]]
    assert len(network.sizes) == 4


def test_a_missing_model_is_answered_with_the_file_its_hash_and_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def offline(repository: str, file: str, **options: Any) -> str:
        asked.append({"repository": repository, "file": file, **options})
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda url, timeout: None)
    with pytest.raises(WeightsError) as caught:
        YuNet(YuNetConfig()).weights()
    for part in (HUB_FILE, yunet_model.KNOWN_MODELS[HUB_FILE], str(tmp_path / "mmpipe"), "detector mtcnn"):
        assert part in str(caught.value)
    assert asked[-1] == {"repository": HUB_REPOSITORY, "file": HUB_FILE, "revision": HUB_REVISION}


def test_a_file_that_is_not_the_known_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    altered = tmp_path / "mmpipe" / HUB_FILE
    altered.parent.mkdir()
    altered.write_bytes(b"something else")
    with pytest.raises(WeightsError, match=r"expected SHA-256 8f2383e4.*, got"):
        find_yunet(None)
    with pytest.raises(WeightsError, match="does not exist"):
        find_yunet(tmp_path / "none.onnx")
    assert find_yunet(altered, sha256(altered)) == altered


def test_what_opencv_cannot_read_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    model = tmp_path / "own.onnx"
    model.write_bytes(b"not a network")
    with pytest.raises(WeightsError, match=r"cannot read .*own\.onnx"):
        YuNet(YuNetConfig(model=model, sha256=sha256(model))).prepare()


@pytest.mark.network
def test_the_hubs_model_finds_a_drawn_face() -> None:
    detector = YuNet(YuNetConfig())
    detector.prepare()
    (face,) = detector.detect([scene((100, 60, 160))])[0]
    assert abs(face.box[0] + face.box[2] / 2 - 180) < 12
