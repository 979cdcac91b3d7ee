"""What the way from a video frame to a crop costs the expression network.

    python -m benchmarks.face_path --data ferplus [--detectors mtcnn,seetaface] [--yunet MODEL]

Faces of FERPlus' valid part are pasted at 160x160 into gray frames of 352x288 pixels, three frames a face as a clip
would show it, and sent through the stages `faces` and `expression`. Printed: how many are found, the accuracy on the
crops (a face that is not found counts as wrong) and that on the images themselves, what detection and cropping of 7.2 s
of video cost, and what normalising by the statistics of these crops would change, also if the camera were darker.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from mmpipe.core.errors import Rejected
from mmpipe.extractors.contract import Frame
from mmpipe.extractors.faces.crops import FaceCrops, FaceCropsConfig, decode_crops
from mmpipe.extractors.faces.expression import Expression, ExpressionConfig
from mmpipe.extractors.faces.ferplus import FERPLUS_MEAN, FERPLUS_STD
from mmpipe.pipeline.face_training.augmentation import normalise, resize
from mmpipe.pipeline.face_training.ferplus import FerplusPart, read_ferplus

HEIGHT, WIDTH, SIDE = 288, 352, 160
LEFT, TOP = 96, 64
CLIP_FRAMES = 18
"""7.2 s at 25 frames a second, every 10th frame."""

Faces = npt.NDArray[np.uint8]


def frame(face: Faces, shift: int = 0, gray: int = 128) -> Faces:
    """A gray frame with the face [48, 48] enlarged in its middle, moved to the right by `shift` pixels."""
    image = np.full((HEIGHT, WIDTH, 3), gray, np.uint8)
    enlarged: Any = cv2.resize(face, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    image[TOP : TOP + SIDE, LEFT + shift : LEFT + shift + SIDE] = enlarged[..., None]
    return image


def clips(faces: Faces) -> Iterator[list[Frame]]:
    """Three frames of each face, which moves by two pixels."""
    for number, face in enumerate(faces):
        yield [Frame(frame(face, 2 * n), 10 * n, 0.4 * n, f"{number}#{n}") for n in range(3)]


def subset(part: FerplusPart, number: int | None) -> FerplusPart:
    """`number` faces drawn with seed 0; None keeps all."""
    if number is None:
        return part
    chosen = np.sort(np.random.default_rng(0).permutation(len(part.faces))[:number])
    return FerplusPart(part.faces[chosen], part.targets[chosen], part.dropped)


@torch.inference_mode()
def classify(expression: Expression, images_NHW: torch.Tensor) -> npt.NDArray[np.int64]:
    """Classes of normalised images [N, 64, 64]."""
    images = images_NHW.unsqueeze(1)
    network = expression._network
    return np.concatenate([network(images[n : n + 32]).argmax(1).numpy() for n in range(0, len(images), 32)])


def last_crops(extractor: FaceCrops, faces: Faces) -> tuple[torch.Tensor, npt.NDArray[np.bool_]]:
    """The last of each clip's three crops [M, 64, 64], and which of the faces were found [N]."""
    answers = list(extractor.extract(clips(faces)))
    found = np.array([not isinstance(answer, Rejected) for answer in answers])
    crops = [decode_crops(answer["crops"])[-1] for answer in answers if not isinstance(answer, Rejected)]
    return torch.from_numpy(np.stack(crops)).float(), found


def accuracies(expression: Expression, crops: torch.Tensor, labels: npt.NDArray[np.int64]) -> tuple[float, float]:
    """With the training statistics, and with those of the crops themselves."""
    own = float(crops.mean()), float(crops.std())
    training = FERPLUS_MEAN, FERPLUS_STD
    first, second = (
        float((classify(expression, (crops - mean) / deviation) == labels).mean())
        for mean, deviation in (training, own)
    )
    return first, second


def seconds_a_clip(extractor: FaceCrops, part: FerplusPart, repeats: int = 10) -> float:
    """CPU time to detect and crop 7.2 s with one face that moves: the median of repeats, decoded frames given."""
    times = []
    for number in range(repeats):
        face = part.faces[number]
        frames = [Frame(frame(face, 2 * n), 10 * n, 0.4 * n, f"clip{number}#{n}") for n in range(CLIP_FRAMES)]
        began = time.process_time()
        list(extractor.extract([frames]))
        times.append(time.process_time() - began)
    return float(np.median(times))


def main() -> None:
    """Run and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of FERPlus")
    parser.add_argument("--detectors", default="mtcnn", help="comma-separated: mtcnn, seetaface; default: mtcnn")
    parser.add_argument("--yunet", type=Path, help="the model of detector yunet, which is shown beside them")
    parser.add_argument("--number", type=int, help="faces, drawn with seed 0; default: all of the valid part")
    options = parser.parse_args()
    torch.set_num_threads(1)
    part = subset(read_ferplus(options.data, "valid"), options.number)
    expression = Expression(ExpressionConfig())
    expression.prepare()
    images = resize(normalise(torch.from_numpy(part.faces)))[:, 0]
    accuracy = float((classify(expression, images) == part.labels).mean())
    print(f"{len(part.faces)} faces of the valid part; the images themselves: accuracy {accuracy:.2%}")
    detectors: dict[str, dict[str, Any]] = {name: {} for name in options.detectors.split(",")}
    if options.yunet:
        detectors["yunet"] = {"model": options.yunet}
    for name, given in detectors.items():
        extractor = FaceCrops(FaceCropsConfig(detector=name, detector_options=given))
        extractor.prepare()
        cost = seconds_a_clip(extractor, part)
        crops, found = last_crops(extractor, part.faces)
        labels = part.labels[found]
        accuracy, own = accuracies(expression, crops, labels)
        print(
            f"{name}: found {found.mean():.2%}; accuracy {accuracy * found.mean():.2%} of all, {accuracy:.2%} of those "
            f"found, {own:.2%} normalised by their own statistics; {cost:.3f} s of one core to detect and crop 7.2 s "
            f"of video, {1000 * cost / CLIP_FRAMES:.1f} ms a frame"
        )
        for gain, offset in ((0.5, 0), (0.5, 100)):
            accuracy, own = accuracies(expression, (crops * gain + offset).round(), labels)
            print(f"    pixels x {gain} + {offset}: {accuracy:.2%}, {own:.2%} normalised by their own statistics")


if __name__ == "__main__":
    main()
