"""How each detector's boxes are framed: python -m studies.framing docs/framing.png [--detectors NAMES] [--yunet MODEL].

The astronaut of scikit-image (NASA, public domain) at three sizes: the frame with its box, and the crop. Lines mark
where FER2013 shows the eyes: medians of MTCNN's landmarks on 300 faces of its PublicTest part.

With `--calibrate FERPLUS` instead of a picture, it prints what the margins are taken from. For 1,000 faces of the valid
part (seed 0), enlarged to 144 pixels in a gray frame of 240: the share that is found, the image's side relative to the
longer side of the box (quartiles), and the place of the box's centre relative to the image's (median).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
import skimage.data

from mmpipe.core.errors import Rejected
from mmpipe.extractors.contract import Frame
from mmpipe.extractors.faces.crops import FaceCrops, FaceCropsConfig, decode_crops
from mmpipe.extractors.faces.detectors.registry import DETECTORS
from mmpipe.extractors.faces.ferplus import CROP_SIZE
from mmpipe.pipeline.face_training.ferplus import read_ferplus

EYES = (0.31, 0.68, 0.38)
"""The eyes' places in a picture of FER2013, as parts of its side: left, right, down."""

SCALES = (0.4, 0.7, 1.0)


FRAME, SIDE, FACES = 240, 144, 1000
"""Of the calibration: sides of the frame and of the enlarged image in pixels, and how many images."""


def calibrate(name: str, given: dict[str, Any], folder: Path) -> None:
    """Print how a detector's boxes lie in the images of FER2013."""
    kind = DETECTORS.load(name)
    detector = kind(kind.Config.model_validate(given))
    detector.prepare()
    faces = read_ferplus(folder, "valid").faces
    first, ratios, shifts = (FRAME - SIDE) // 2, [], []
    for number in np.sort(np.random.default_rng(0).permutation(len(faces))[:FACES]):
        image = np.full((FRAME, FRAME, 3), 128, np.uint8)
        enlarged: Any = cv2.resize(faces[number], (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        image[first : first + SIDE, first : first + SIDE] = enlarged[..., None]
        if found := detector.detect([image])[0]:
            left, top, width, height = max(found, key=lambda face: face.score * face.box[2] * face.box[3]).box
            ratios.append(SIDE / max(width, height))
            shifts.append(((left + width / 2 - FRAME / 2) / SIDE, (top + height / 2 - FRAME / 2) / SIDE))
    low, middle, high = np.percentile(ratios, [25, 50, 75])
    right, down = np.median(shifts, axis=0)
    print(
        f"{name}: found {len(ratios) / FACES:.1%}; the image's side is {middle:.3f} times that of the box (quartiles "
        f"{low:.3f} and {high:.3f}); its centre is {right:+.1%} to the right and {down:+.1%} down"
    )


def main() -> None:
    """Draw the figure, or print the calibration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", help="the picture; not with --calibrate")
    parser.add_argument("--detectors", default="mtcnn", help="comma-separated: mtcnn, seetaface; default: mtcnn")
    parser.add_argument("--yunet", type=Path, help="the model of detector yunet, which is shown beside them")
    parser.add_argument("--calibrate", type=Path, metavar="FERPLUS", help="folder of FERPlus: print the calibration")
    options = parser.parse_args()
    if (options.out is None) == (options.calibrate is None):
        parser.error("give a picture to draw, or --calibrate")
    detectors: dict[str, dict[str, Any]] = {name: {} for name in options.detectors.split(",")}
    if options.yunet:
        detectors["yunet"] = {"model": options.yunet}
    if options.calibrate:
        for name, given in detectors.items():
            calibrate(name, given, options.calibrate)
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.patches import Rectangle

    portrait = skimage.data.astronaut()[:300, 80:380]  # type: ignore[no-untyped-call]
    figure, axes = pyplot.subplots(len(detectors), 2 * len(SCALES), figsize=(10, 1.9 * len(detectors)), squeeze=False)
    for row, (name, given) in zip(axes, detectors.items(), strict=True):
        extractor = FaceCrops(FaceCropsConfig(detector=name, detector_options=given))
        extractor.prepare()
        for number, scale in enumerate(SCALES):
            image: Any = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            answer = next(extractor.extract([[Frame(np.asarray(image), 0, 0.0, f"{scale}")]]))
            if isinstance(answer, Rejected):
                raise SystemExit(f"{name} at {scale}: {answer}")
            left, top, width, height = answer["box"][0]
            frame, crop = row[2 * number], row[2 * number + 1]
            frame.imshow(image)
            frame.add_patch(Rectangle((left, top), width, height, fill=False, color="lime"))
            frame.set_title(f"{name}, {image.shape[0]} pixels", fontsize=8)
            crop.imshow(decode_crops(answer["crops"])[0], cmap="gray", vmin=0, vmax=255)
            for x in EYES[:2]:
                crop.axvline(x * CROP_SIZE, color="orange", linewidth=0.8)
            crop.axhline(EYES[2] * CROP_SIZE, color="orange", linewidth=0.8)
            for panel in (frame, crop):
                panel.set_axis_off()
    figure.tight_layout()
    figure.savefig(options.out, dpi=80, metadata={"Software": None})
    print(options.out)


if __name__ == "__main__":
    main()
