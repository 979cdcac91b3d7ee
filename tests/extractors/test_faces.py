"""Face crops follow the rules of the paper: a crop a frame, the previous box where no face is found."""

from __future__ import annotations

import io
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest

from mmpipe.core.errors import Rejected, UsageError
from mmpipe.extractors.contract import Frame, Row
from mmpipe.extractors.faces.crops import FaceCrops, FaceCropsConfig, crop, decode_crops
from mmpipe.extractors.faces.detectors.contract import Box, Detection, Detector, DetectorConfig
from mmpipe.extractors.faces.detectors.registry import DETECTORS

from .conftest import Image, scene

EYES = (0.31, 0.68, 0.38)
"""Where FER2013 shows the eyes, as parts of the picture: left, right, down. Medians of MTCNN's landmarks on
300 faces of the PublicTest part, enlarged to 144 pixels."""


class ScriptedConfig(DetectorConfig):
    """Config of the scripted detector."""

    score: float = 0.9


class Scripted(Detector):
    """Finds the squares that a frame's first row spells: red, green, blue of a pixel are left, top, side."""

    Config: ClassVar[type[DetectorConfig]] = ScriptedConfig
    margin: ClassVar[float] = 0.25
    config: ScriptedConfig
    calls: ClassVar[list[int]] = []

    def weights(self) -> dict[str, str]:
        return {}

    def versions(self) -> dict[str, str]:
        return {}

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        self.calls.append(len(images))
        return [
            [Detection(_box(spelt), self.config.score) for spelt in image[0, ::2] if spelt.any()] for image in images
        ]


def _box(spelt: npt.NDArray[np.uint8]) -> Box:
    left, top, size = (float(value) for value in spelt)
    return left, top, size, size


def spell(*boxes: tuple[int, int, int]) -> Image:
    """A frame of 200 x 240 pixels, gray of 60, in which the scripted detector finds these squares."""
    image = np.full((200, 240, 3), 60, np.uint8)
    image[0] = 0
    for number, box in enumerate(boxes):
        image[0, 2 * number] = box
    return image


def clip(images: Sequence[Image], name: str = "clip") -> list[Frame]:
    return [Frame(image, 10 * n, 0.4 * n, f"{name}#{10 * n}") for n, image in enumerate(images)]


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> FaceCrops:
    monkeypatch.setitem(DETECTORS.own, "scripted", f"{__name__}:Scripted")
    Scripted.calls.clear()
    return FaceCrops(FaceCropsConfig(detector="scripted"))


def row_of(extractor: FaceCrops, frames: Any) -> Row:
    row = next(extractor.extract([frames]))
    assert not isinstance(row, Rejected), row
    return row


def boxes_of(row: Row) -> list[tuple[int, ...]]:
    return [tuple(int(value) for value in box[:3]) for box in row["box"]]


def test_every_sampled_frame_has_a_crop(scripted: FaceCrops) -> None:
    row = row_of(scripted, clip([spell((10, 20, 50)), spell((12, 20, 50)), spell((14, 22, 52))]))
    assert list(row["frame_index"]) == [0, 10, 20]
    assert list(row["time_seconds"]) == [0, 0.4, 0.8]
    assert list(row["detected"]) == [True, True, True]
    assert boxes_of(row) == [(10, 20, 50), (12, 20, 50), (14, 22, 52)]
    assert row["score"].tolist() == pytest.approx([0.9, 0.9, 0.9])
    assert decode_crops(row["crops"]).shape == (3, 64, 64)


def test_where_no_face_is_found_the_previous_box_is_used(scripted: FaceCrops) -> None:
    row = row_of(scripted, clip([spell((10, 20, 50)), spell(), spell((30, 20, 50)), spell(), spell()]))
    assert boxes_of(row) == [(10, 20, 50), (10, 20, 50), (30, 20, 50), (30, 20, 50), (30, 20, 50)]
    assert list(row["detected"]) == [True, False, True, False, False]
    assert list(row["score"][[1, 3, 4]]) == [0, 0, 0]


def test_frames_before_the_first_face_use_the_first_box_on_their_own_pixels(scripted: FaceCrops) -> None:
    images = [spell() for _ in range(40)] + [spell((10, 20, 50)), spell((20, 20, 50))]
    for n in range(40):
        images[n][1:] = n
    row = row_of(scripted, clip(images))
    assert boxes_of(row) == [(10, 20, 50)] * 41 + [(20, 20, 50)]
    assert list(row["detected"]) == [False] * 40 + [True, True]
    assert decode_crops(row["crops"])[:40, 20, 20].tolist() == list(range(40))


def test_no_face_in_any_frame_is_no_face(scripted: FaceCrops) -> None:
    answer = next(scripted.extract([clip([spell()] * 37)]))
    assert isinstance(answer, Rejected)
    assert (answer.status, answer.message) == (
        "no_face",
        "scripted found no face in any of 37 sampled frames",
    )


def test_no_frame_at_all_is_too_short(scripted: FaceCrops) -> None:
    answer = next(scripted.extract([[]]))
    assert isinstance(answer, Rejected) and answer.status == "too_short"


def test_what_goes_wrong_while_frames_come_costs_that_utterance_only(scripted: FaceCrops) -> None:
    def broken(error: Exception) -> Iterator[Frame]:
        yield from clip([spell((10, 20, 50))])
        raise error

    good = clip([spell((10, 20, 50))])
    answers = list(
        scripted.extract([broken(Rejected("media_error", "a.avi: cut off")), good, broken(OSError("disk")), good])
    )
    assert [getattr(answer, "status", "ok") for answer in answers] == [
        "media_error",
        "ok",
        "extractor_error",
        "ok",
    ]
    assert str(answers[0]) == "a.avi: cut off"
    assert str(answers[2]) == "FaceCrops: OSError: disk"


def test_the_same_person_is_followed_past_a_larger_face(scripted: FaceCrops) -> None:
    frames = [
        spell((20, 50, 40)),
        spell((140, 50, 90), (24, 50, 40)),
        spell((130, 50, 90), (30, 52, 41)),
        spell((130, 50, 90)),
    ]
    row = row_of(scripted, clip(frames))
    assert boxes_of(row) == [(20, 50, 40), (24, 50, 40), (30, 52, 41), (30, 52, 41)]
    assert list(row["detected"]) == [True, True, True, False]


def test_a_person_lost_for_five_frames_is_given_up(scripted: FaceCrops) -> None:
    row = row_of(scripted, clip([spell((10, 50, 40))] + [spell((150, 50, 60))] * 7))
    assert boxes_of(row) == [(10, 50, 40)] * 6 + [(150, 50, 60)] * 2


def test_tracking_starts_anew_in_each_utterance(scripted: FaceCrops) -> None:
    both = spell((10, 50, 40), (150, 50, 60))
    rows = list(scripted.extract([clip([spell((10, 50, 40)), both], "a"), clip([both], "b")]))
    assert [boxes_of(row)[-1] for row in rows if not isinstance(row, Rejected)] == [
        (10, 50, 40),
        (150, 50, 60),
    ]


@pytest.mark.parametrize("choose, expected", [("largest", (0, 50, 60)), ("central", (95, 80, 40))])
def test_the_largest_or_the_most_central_face_can_be_chosen(
    scripted: FaceCrops, choose: str, expected: tuple[int, int, int]
) -> None:
    config = FaceCropsConfig.model_validate({"detector": "scripted", "choose": choose})
    frames = clip([spell((95, 80, 40)), spell((0, 50, 60), (95, 80, 40))])
    assert boxes_of(row_of(FaceCrops(config), frames))[-1] == expected


def test_overlapping_utterances_share_detections_of_the_same_frame(scripted: FaceCrops) -> None:
    images = [spell((10 + n, 20, 50)) for n in range(40)]
    frames = clip(images, "meeting.avi")
    first, second = list(scripted.extract([frames[:20], frames[10:]]))
    assert sum(Scripted.calls) == 40
    assert not isinstance(first, Rejected) and not isinstance(second, Rejected)
    assert first["crops"][10:] == second["crops"][:10]


class Nearby(Scripted):
    """Searches near a box as well: it finds the squares whose centre lies within it."""

    near: ClassVar[list[Box]] = []

    def detect_near(self, image: Image, box: Box) -> list[Detection]:
        self.near.append(box)
        left, top, width, height = box
        faces = [Detection(_box(spelt), 0.8) for spelt in image[0, ::2] if spelt.any()]
        return [
            face
            for face in faces
            if left <= face.box[0] + face.box[2] / 2 <= left + width
            and top <= face.box[1] + face.box[3] / 2 <= top + height
        ]


@pytest.fixture
def nearby(monkeypatch: pytest.MonkeyPatch) -> FaceCrops:
    monkeypatch.setitem(DETECTORS.own, "nearby", f"{__name__}:Nearby")
    Scripted.calls.clear()
    Nearby.near.clear()
    return FaceCrops(FaceCropsConfig(detector="nearby"))


def test_a_followed_face_is_searched_near_its_last_box_and_in_the_whole_frame_only_when_lost(
    nearby: FaceCrops,
) -> None:
    frames = [spell((20, 50, 40)), spell((24, 50, 40)), spell((60, 60, 40)), spell((62, 60, 40))]
    row = row_of(nearby, clip(frames))
    assert boxes_of(row) == [(20, 50, 40), (24, 50, 40), (60, 60, 40), (62, 60, 40)]
    assert row["score"].tolist() == pytest.approx([0.9, 0.8, 0.9, 0.8])  # 0.9: found in the whole frame
    assert [box[0] for box in Nearby.near] == [20, 24, 60]
    assert sum(Scripted.calls) == 2


def test_what_is_found_near_a_box_is_not_shared_with_other_utterances(nearby: FaceCrops) -> None:
    frames = clip([spell((20, 50, 40)), spell((24, 50, 40), (150, 50, 60)), spell((28, 50, 40), (150, 50, 60))])
    both = list(nearby.extract([frames, frames[1:]]))
    alone = row_of(FaceCrops(FaceCropsConfig(detector="nearby")), frames[1:])
    first, second = (row for row in both if not isinstance(row, Rejected))
    assert boxes_of(first)[1:] == [(24, 50, 40), (28, 50, 40)]
    assert boxes_of(second) == boxes_of(alone) == [(150, 50, 60)] * 2
    assert second["crops"] == alone["crops"] and second["score"].tolist() == alone["score"].tolist()


@pytest.mark.parametrize("choose", ["largest", "central"])
def test_a_face_that_is_chosen_anew_in_every_frame_is_searched_in_the_whole_frame(
    nearby: FaceCrops, choose: str
) -> None:
    config = FaceCropsConfig.model_validate({"detector": "nearby", "choose": choose})
    row_of(FaceCrops(config), clip([spell((20, 50, 40)), spell((24, 50, 40))]))
    assert Nearby.near == []


def test_mtcnn_follows_a_face_with_the_boxes_of_a_search_of_the_whole_frame() -> None:
    images = [scene((100 + 6 * n, 60 + 3 * n, 150)) for n in range(6)]
    extractor = FaceCrops(FaceCropsConfig())
    extractor.prepare()
    row = row_of(extractor, clip(images))
    assert list(row["detected"]) == [True] * 6
    whole = [extractor._detector.detect([image])[0][0].box for image in images]
    np.testing.assert_allclose(row["box"], whole, atol=6)


def test_a_long_utterance_is_not_held_in_memory(scripted: FaceCrops) -> None:
    class Pixels(np.ndarray[Any, Any]):
        """An array that can be watched."""

    watched: list[weakref.ref[Any]] = []
    alive: list[int] = []

    def frames() -> Iterator[Frame]:
        for n in range(200):
            image = (spell((10, 20, 50)) if n >= 100 else spell()).view(Pixels)
            watched.append(weakref.ref(image))
            alive.append(sum(reference() is not None for reference in watched))
            yield Frame(image, n, n / 2.5, str(n))

    assert len(row_of(scripted, frames())["crops"]) == 200
    assert max(alive) <= 35


def test_a_real_detector_frames_the_face_as_fer2013_does() -> None:
    extractor = FaceCrops(FaceCropsConfig())
    extractor.prepare()
    row = row_of(extractor, clip([scene((100, 60, 160)), scene((120, 50, 160))]))
    assert list(row["detected"]) == [True, True]
    for (left, top), (x, y, width, height) in zip([(100, 60), (120, 50)], row["box"], strict=True):
        side = 0.95 * max(width, height)
        across = [(left + eye * 160 / 512 - x - width / 2) / side + 0.5 for eye in (201, 311)]
        down = (top + 242 * 160 / 512 - y - height / 2) / side + 0.5
        assert across == pytest.approx([EYES[0], EYES[1]], abs=0.08)
        assert down == pytest.approx(EYES[2], abs=0.08)


def test_a_crop_is_a_gray_png_whose_bytes_repeat(scripted: FaceCrops) -> None:
    frames = clip([scene((10, 10, 96), height=200, width=240)])
    frames[0].image[0] = 0
    frames[0].image[0, 0] = (10, 20, 50)
    first, second = row_of(scripted, frames)["crops"], row_of(scripted, frames)["crops"]
    assert first == second
    picture = PIL.Image.open(io.BytesIO(first[0]))
    assert (picture.format, picture.mode, picture.size) == ("PNG", "L", (64, 64))
    assert np.array_equal(np.asarray(picture), decode_crops(first)[0])


def test_a_crop_of_64_pixels_is_the_gray_picture_itself() -> None:
    image = np.random.default_rng(0).integers(0, 256, (100, 120, 3), np.uint8)
    weights = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    expected = np.rint(image[10:74, 30:94] @ weights)
    assert np.abs(crop(image, (30.0, 14.0, 64.0, 56.0), 0.0) - expected).max() <= 1


def test_a_larger_square_is_averaged_and_a_smaller_one_interpolated() -> None:
    image = np.random.default_rng(0).integers(0, 256, (200, 200), np.uint8)
    means = image[20:148, 20:148].reshape(64, 2, 64, 2).mean(axis=(1, 3))
    assert np.abs(crop(image, (36.0, 36.0, 96.0, 96.0), margin=1 / 3) - means).max() <= 0.51
    ramp = np.repeat(np.arange(0, 200, dtype=np.uint8)[None], 100, axis=0)
    small = crop(ramp, (40.0, 40.0, 32.0, 32.0), 0.0)[0].astype(int)
    assert set(np.diff(small)) <= {0, 1} and (small[0], small[-1]) == (40, 71)


@pytest.mark.parametrize("box", [(-40.0, -40.0, 60.0, 60.0), (90.0, 70.0, 60.0, 60.0), (-100.0, 10.0, 40.0, 40.0)])
def test_beyond_the_border_its_pixels_are_repeated(box: Box) -> None:
    image = np.random.default_rng(0).integers(0, 256, (100, 120), np.uint8)
    padded = np.pad(image, 200, mode="edge")
    shifted = (box[0] + 200, box[1] + 200, box[2], box[3])
    assert np.array_equal(crop(image, box, 0.1), crop(padded, shifted, 0.1))


def test_a_cropped_video_passes_through_the_full_frame_detector() -> None:
    extractor = FaceCrops(FaceCropsConfig(detector="full-frame"))
    face = np.repeat(np.random.default_rng(0).integers(0, 256, (64, 64, 1), np.uint8), 3, axis=2)
    row = row_of(extractor, clip([face, face]))
    assert np.array_equal(decode_crops(row["crops"])[1], face[..., 0])
    assert list(row["score"]) == [1, 1]


def test_the_config_records_what_follows_from_the_detector(scripted: FaceCrops) -> None:
    config = FaceCropsConfig(detector="scripted")
    assert config.model_dump() == {
        "detector": "scripted",
        "detector_options": {"score": 0.9},
        "margin": 0.25,
        "choose": "track",
    }
    assert FaceCropsConfig(detector="scripted", margin=0.5).margin == 0.5
    assert FaceCropsConfig.model_validate(config.model_dump()) == config


def test_a_wrong_detector_or_option_is_refused_before_anything_runs() -> None:
    with pytest.raises(UsageError, match="face detector 'seeta' does not exist"):
        FaceCropsConfig(detector="seeta")
    with pytest.raises(ValueError, match="min_face"):
        FaceCropsConfig(detector_options={"min_face": 3})
    with pytest.raises(ValueError, match="'track', 'largest' or 'central'"):
        FaceCropsConfig.model_validate({"choose": "first"})


def test_what_is_no_crop_is_not_decoded() -> None:
    _, png = cv2.imencode(".png", np.zeros((48, 48), np.uint8))
    for data, got in ((bytes(png), r"a PNG of 48x48 pixels"), (b"", "0 bytes that"), (b"PNG?", "4 bytes that")):
        with pytest.raises(Rejected, match=f"crop 0: expected a gray PNG of 64x64 pixels, got {got}"):
            decode_crops([data])
    assert decode_crops([]).shape == (0, 64, 64)


class _Counted:
    """Frames that can be read again; counts the readings and the images that are alive."""

    def __init__(self, frames: int, first_face: int) -> None:
        self.readings, self.most_alive = 0, 0
        self._frames, self._first_face = frames, first_face

    def __iter__(self) -> Iterator[Frame]:
        self.readings += 1
        alive: list[weakref.ref[Image]] = []
        for number in range(self._frames):
            image = spell((10, 20, 50)) if number >= self._first_face else spell()
            image[100:, :, 1] = number % 250
            alive = [reference for reference in alive if reference() is not None] + [weakref.ref(image)]
            self.most_alive = max(self.most_alive, len(alive))
            yield Frame(image, 10 * number, 0.4 * number, f"#{number}")


def test_many_frames_before_the_first_face_are_read_again_and_get_the_same_crops(scripted: FaceCrops) -> None:
    frames = _Counted(frames=200, first_face=150)
    again, kept = row_of(scripted, frames), row_of(scripted, iter(_Counted(200, 150)))
    assert frames.readings == 2 and frames.most_alive <= 3
    assert again["crops"] == kept["crops"]
    assert list(again["detected"]) == [False] * 150 + [True] * 50


def test_few_frames_before_the_first_face_are_read_once(scripted: FaceCrops) -> None:
    frames = _Counted(frames=20, first_face=10)
    assert len(row_of(scripted, frames)["crops"]) == 20
    assert frames.readings == 1
