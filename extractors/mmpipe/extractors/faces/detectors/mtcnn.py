"""MTCNN (Zhang et al. 2016): a cascade of three small networks over an image pyramid.

The arithmetic is that of the `mtcnn` wheel, whose weights it uses: area-averaged pyramid, thresholds, order
of regression and suppression, bilinear patches that are mid-gray beyond the border. What differs: torch, a smallest
face that depends on the frame, further searches if the first finds no face, and the search around a known box.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from mmpipe.extractors.faces.detectors.contract import Box, Detection, Detector, DetectorConfig, Image
from mmpipe.extractors.faces.detectors.mtcnn_weights import WINDOW, weight_paths
from mmpipe.extractors.faces.detectors.views import TILT_DEGREES, View, around, evened, faces_in, reduced, tilted
from mmpipe.extractors.weights.bundled import sha256

__all__ = ["MTCNN", "MTCNNConfig"]

_PYRAMID_STEP = 0.709
"""Size of a pyramid level relative to the one before: about half the area."""

_FOLLOWED_SCORE = 0.9
"""Score that a face needs if its last box is the only proposal; below it, the surroundings are searched."""

_NEAR_TIMES, _NEAR_SIDE = 2.0, 144
"""The search around a box: a square of twice its longer side, scaled to 144 pixels, so that the face has 72."""

_NEAR_SCALES = tuple(WINDOW / (72 * part) for part in (0.5, 0.7, 1.0, 1.4))
"""Its pyramid: windows of half to 1.4 times the longer side of the box, as faces hardly grow within 0.4 s."""

_LYING_DEGREES, _REDUCTION = 40.0, 0.6
"""The last views of a frame without a face: for tilted heads, and for faces between two levels of the pyramid."""


_Score = Annotated[float, Field(ge=0, le=1)]


class MTCNNConfig(DetectorConfig):
    """Config of MTCNN; the first three thresholds are the wheel's."""

    min_face_fraction: float = Field(default=0.1, gt=0, le=1)
    """Smallest face to look for, as a part of the frame's shorter side. So the work hardly grows with the
    frame: 0.1 is 29 pixels of an AMI close-up, 36 of an IEMOCAP half frame, 72 of 1280x720."""

    min_face_pixels: int = Field(default=20, ge=WINDOW)
    """Smallest face to look for, in pixels, whatever the fraction says."""

    thresholds: tuple[_Score, _Score, _Score] = (0.6, 0.7, 0.8)
    """Scores that a face needs to pass the proposal, the refinement and the output network."""

    retry_thresholds: tuple[_Score, ...] = Field(default=(0.9, 0.95), max_length=2)
    """A frame without a face is searched again for faces twice as large: rotated by 18 degrees to either side and with
    equalised contrast, and if there is still none, rotated by 40 degrees and reduced to 0.6 of its size. These are
    the scores that a face needs in the first and in the second search; with an empty list there is neither."""


class MTCNN(Detector):
    """The default detector: finds faces from 20 pixels, with five landmarks each."""

    Config: ClassVar[type[DetectorConfig]] = MTCNNConfig
    margin: ClassVar[float] = -0.05
    """Measured on 1,000 faces of FER2013's PublicTest part (seed 0), enlarged to 144 pixels in a gray frame
    of 240: of the 89 % found, the image's side is 0.95 times the longer side of the box (quartiles 0.87 and
    1.05), and the centres agree (median difference under 1 % of the side both ways)."""

    config: MTCNNConfig

    def weights(self) -> dict[str, str]:
        """Hashes of the three weight files in the `mtcnn` package.

        Raises:
            WeightsError: the package or a file is missing or altered.
        """
        return {name: sha256(path) for name, path in weight_paths().items()}

    def versions(self) -> dict[str, str]:
        """Torch and OpenCV decide the values."""
        return {name: importlib.metadata.version(name) for name in ("torch", "opencv-python-headless")}

    def prepare(self) -> None:
        """Load the three networks.

        Raises:
            WeightsError: the package or a file is missing or altered.
        """
        from mmpipe.extractors.faces.detectors.mtcnn_cascade import Cascade

        self._cascade = Cascade(self.config.thresholds)

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        """The faces of each image, best score first."""
        return [self._looked_again(image) for image in images]

    def detect_near(self, image: Image, box: Box) -> list[Detection]:
        """The face that is still in the box, or those around it, best score first.

        Around it is a square of twice the box, searched for faces of half to one and a half times its size.
        """
        left, top, width, height = box
        last = np.array([[left, top, left + width, top + height]])
        if faces := self._cascade.judged(image, last, max(_FOLLOWED_SCORE, self.config.thresholds[2])):
            return faces
        view = around(image, box, _NEAR_TIMES, _NEAR_SIDE)
        return [view.placed(face) for face in self._cascade.search(view.image, _NEAR_SCALES, self.config.thresholds[2])]

    def _looked_again(self, image: Image) -> list[Detection]:
        found = self._cascade.search(image, _scales(image, self.config), self.config.thresholds[2])
        for views, threshold in zip(_further_views(image), self.config.retry_thresholds, strict=False):
            if found:
                break
            found = faces_in(views, partial(self._search_large, threshold=threshold))
        return found

    def _search_large(self, image: Image, threshold: float) -> list[Detection]:
        return self._cascade.search(image, _scales(image, self.config, times=2), threshold)


def _scales(image: Image, config: MTCNNConfig, times: float = 1) -> list[float]:
    """Sizes of the pyramid's levels, relative to the image, for faces of `times` the smallest size and larger."""
    shorter = min(image.shape[:2])
    scale, scales = WINDOW / (times * max(config.min_face_pixels, config.min_face_fraction * shorter)), []
    while int(shorter * scale) >= WINDOW:
        scales.append(scale)
        scale *= _PYRAMID_STEP
    return scales


def _further_views(image: Image) -> Iterator[tuple[View, ...]]:
    """What to search if no face is found in the frame itself, one group after the other."""
    yield tilted(image, TILT_DEGREES), tilted(image, -TILT_DEGREES), evened(image)
    yield tilted(image, _LYING_DEGREES), tilted(image, -_LYING_DEGREES), reduced(image, _REDUCTION)
