"""The registry of face detectors: mmpipe's own and those of other packages."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pydantic
import pytest

from mmpipe.core.errors import UsageError
from mmpipe.extractors.faces.detectors.contract import Detector, DetectorConfig
from mmpipe.extractors.faces.detectors.full_frame import FullFrame, FullFrameConfig
from mmpipe.extractors.faces.detectors.registry import DETECTORS


@pytest.mark.parametrize("name", sorted(DETECTORS.own))
def test_every_detector_names_its_config_and_margin(name: str) -> None:
    kind = DETECTORS.load(name)
    assert issubclass(kind, Detector)
    assert -0.9 < kind.margin < 1
    assert issubclass(kind.Config, DetectorConfig)
    with pytest.raises(pydantic.ValidationError, match="Extra inputs"):
        kind.Config.model_validate({"no_such_field": 1})


ELSEWHERE = {"yunet", *(["seetaface"] if find_spec("rustface") is None else [])}
"""Detectors whose model is a file from elsewhere, or in a package of an extra that is not installed."""


@pytest.mark.parametrize("name", sorted(DETECTORS.own.keys() - ELSEWHERE))
def test_every_embedded_detector_answers_for_each_image_alone(name: str) -> None:
    kind = DETECTORS.load(name)
    detector = kind(kind.Config())
    detector.prepare()
    assert all(len(bytes.fromhex(digest)) == 32 for digest in detector.weights().values())
    assert all(version for version in detector.versions().values())
    images = [np.zeros((60, 80, 3), np.uint8), np.zeros((40, 40, 3), np.uint8)]
    assert [len(found) for found in detector.detect(images)] == [len(detector.detect([image])[0]) for image in images]


def test_the_full_frame_is_the_face() -> None:
    (face,) = FullFrame(FullFrameConfig()).detect([np.zeros((30, 50, 3), np.uint8)])[0]
    assert (face.box, face.score, face.landmarks) == ((0.0, 0.0, 50.0, 30.0), 1.0, None)


def test_an_unknown_detector_is_answered_with_the_valid_names() -> None:
    with pytest.raises(
        UsageError, match="face detector 'dlib' does not exist; valid names: full-frame, mtcnn, seetaface, yunet"
    ):
        DETECTORS.load("dlib")
