"""How each detector's boxes are framed: python -m studies.framing docs/framing.png [--yunet MODEL].

The astronaut of scikit-image (NASA, public domain) at three sizes: the frame with its box, and the crop. Lines mark
where FER2013 shows the eyes: medians of MTCNN's landmarks on 300 faces of its PublicTest part.
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
from mmpipe.extractors.faces.ferplus import CROP_SIZE

EYES = (0.31, 0.68, 0.38)
"""The eyes' places in a picture of FER2013, as parts of its side: left, right, down."""

SCALES = (0.4, 0.7, 1.0)


def main() -> None:
    """Draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--yunet", type=Path, help="the model of detector yunet")
    options = parser.parse_args()
    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.patches import Rectangle

    detectors: dict[str, dict[str, Any]] = {"mtcnn": {}} | (
        {"yunet": {"model": options.yunet}} if options.yunet else {}
    )
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
