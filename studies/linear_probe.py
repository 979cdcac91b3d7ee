"""What the 342 features hold of the FERPlus classes.

    python -m studies.linear_probe --data ferplus

Logistic regression on the features of the training faces, scored on the valid part beside the network's own last layer.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mmpipe.extractors.faces.expression import Expression, ExpressionConfig
from mmpipe.pipeline.face_training.augmentation import normalise, resize
from mmpipe.pipeline.face_training.ferplus import FerplusPart, read_ferplus
from mmpipe.pipeline.hardware import available_cores


@torch.inference_mode()
def features(expression: Expression, part: FerplusPart) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Features [N, 342] and the network's own classes [N] of the faces."""
    network, found, classes = expression._network, [], []
    for start in range(0, len(part.faces), 32):
        maps = network.embed(resize(normalise(torch.from_numpy(part.faces[start : start + 32]))))
        found.append(maps.numpy())
        classes.append(network.classifier(maps).argmax(1).numpy())
    return np.concatenate(found), np.concatenate(classes)


def main() -> None:
    """Run and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of FERPlus")
    parser.add_argument("--number", type=int, default=8000, help="training faces, drawn with seed 0")
    options = parser.parse_args()
    torch.set_num_threads(available_cores())
    expression = Expression(ExpressionConfig())
    expression.prepare()
    train, valid = read_ferplus(options.data, "train"), read_ferplus(options.data, "valid")
    chosen = np.sort(np.random.default_rng(0).permutation(len(train.faces))[: options.number])
    train = FerplusPart(train.faces[chosen], train.targets[chosen], train.dropped)
    known, _ = features(expression, train)
    asked, classes = features(expression, valid)
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    answers = probe.fit(known, train.labels).predict(asked)
    print(f"fitted on {len(train.faces)} training faces, scored on {len(valid.faces)} valid faces")
    for name, guess in (("the network's last layer", classes), ("logistic regression", answers)):
        accuracy = float((guess == valid.labels).mean())
        print(f"{name}: accuracy {accuracy:.2%}, UAR {balanced_accuracy_score(valid.labels, guess):.2%}")


if __name__ == "__main__":
    main()
