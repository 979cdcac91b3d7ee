"""Does matching help when its assumption holds? Supervised against semi-supervised training on made-up data.

    python -m studies.latent_study --seeds 5

An utterance has a latent emotion: the centre of its class and a deviation of its own. An acoustic vector, a visual and
a lexical sequence are non-linear views of it, each mixed with a nuisance of its own that no other view shares. Labels
are scarce, unlabelled utterances are many. Every seed draws the world, the data and the initial weights again; all
methods of a seed see the same data. Prints the table of docs/latent-study.md.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mmpipe.pipeline.training.config import TrainConfig, make_config
from mmpipe.pipeline.training.data.dataset import Dataset, Pool, fit_norms
from mmpipe.pipeline.training.loop import fit, predict
from mmpipe.pipeline.training.metrics import score

CLASSES, LATENT, NUISANCE, WIDTH, STEPS = 4, 6, 6, 32, 8
METHODS: dict[str, dict[str, Any]] = {
    "cross-entropy only": {"alpha": 0.0, "beta": 0.0},
    "supervised, rec": {"beta": 0.0},
    "supervised, rec + batch": {"matching": "batch"},
    "supervised, rec + sample": {"matching": "sample"},
    "supervised, rec + hsic": {"matching": "hsic"},
    "semi, rec": {"beta": 0.0},
    "semi, rec + batch": {"matching": "batch"},
    "semi, rec + sample": {"matching": "sample"},
    "semi, rec + hsic": {"matching": "hsic"},
}
"""By name, what differs from the defaults; `semi` ones see the unlabelled utterances."""


@dataclass(frozen=True)
class Sizes:
    """Utterances of each part."""

    train: int
    valid: int = 200
    test: int = 1000
    unlabeled: int = 2000


def world(sizes: Sizes, noise: float, seed: int) -> Dataset:
    """Utterances of all parts, one behind the other."""
    generator = np.random.default_rng([7, seed])
    number = sizes.train + sizes.valid + sizes.test + sizes.unlabeled
    centres = generator.normal(size=(CLASSES, LATENT))
    truth = np.arange(number) % CLASSES
    emotion = centres[truth] + 0.6 * generator.normal(size=(number, LATENT))
    features: dict[str, npt.NDArray[Any]] = {}
    keep: dict[str, npt.NDArray[np.bool_]] = {}
    for name in "avl":
        steps = 1 if name == "a" else STEPS
        nuisance = noise * generator.normal(size=(number, 1, NUISANCE))
        mixed = np.concatenate(
            [emotion[:, None].repeat(steps, 1), nuisance.repeat(steps, 1)]
            + ([] if name == "a" else [0.5 * generator.normal(size=(number, steps, 4))]),
            axis=2,
        )
        hidden = np.tanh(mixed @ generator.normal(size=(mixed.shape[2], WIDTH)) / np.sqrt(mixed.shape[2]))
        seen = hidden @ generator.normal(size=(WIDTH, WIDTH)) + noise * generator.normal(size=hidden.shape)
        features[name] = (seen[:, 0] if name == "a" else seen).astype(np.float32)
        if name != "a":
            keep[name] = np.arange(steps) < generator.integers(3, steps + 1, (number, 1))
            features[name] *= keep[name][..., None]
    ids = tuple(f"made/{n}" for n in range(number))
    return Dataset(ids, tuple(f"class {k}" for k in truth), features, keep, {}, {}, f"seed {seed}")


def run(method: str, data: Dataset, sizes: Sizes, base: TrainConfig) -> dict[str, float]:
    """Test UA and the spread of the latents of one method."""
    config = base.model_copy(update=METHODS[method])
    bounds = np.cumsum([0, sizes.train, sizes.valid, sizes.test, sizes.unlabeled])
    parts = [np.arange(a, b) for a, b in itertools.pairwise(bounds)]
    norms = fit_norms(data, parts[0])
    train, valid, test, unlabeled = (Pool(data, rows, norms) for rows in parts)
    labels = sorted({str(label) for label in data.labels})
    trained = fit(config, labels, train, valid, unlabeled if method.startswith("semi") else None)
    guess = [labels[k] for k in predict(trained.model, test).argmax(axis=1)]
    scores = score([str(data.labels[row]) for row in test.rows], guess, labels)
    return {"ua": scores.ua, "latent_std": trained.history[trained.best_epoch - 1]["latent_std"]}


def main() -> None:
    """Run the study and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--labels", type=int, nargs="+", default=[40, 160], help="labelled training utterances")
    parser.add_argument("--noise", type=float, default=1.5, help="strength of each view's nuisance")
    parser.add_argument("--epochs", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)  # the matrices are too small to share out
    base = make_config(objective="paper", size="small", faces=STEPS, words=STEPS, batch_size=32, epochs=options.epochs)
    for labels in options.labels:
        sizes = Sizes(labels)
        reached: dict[str, list[dict[str, float]]] = {method: [] for method in METHODS}
        for seed in range(options.seeds):
            data = world(sizes, options.noise, seed)
            for method, results in reached.items():
                results.append(run(method, data, sizes, base.model_copy(update={"seed": seed})))
            print(f"seed {seed}: " + ", ".join(f"{m} {100 * r[-1]['ua']:.1f}" for m, r in reached.items()), flush=True)
        print(f"\n{labels} labelled, {sizes.unlabeled} unlabelled, {options.seeds} seeds, noise {options.noise:g}\n")
        print("| method | test UA (per cent) | gain over cross-entropy only, of the same seed | latent deviation |")
        print("| --- | --- | --- | --- |")
        plain = np.array([r["ua"] for r in reached["cross-entropy only"]])
        for method, results in reached.items():
            ua = np.array([r["ua"] for r in results])
            gain, spread = 100 * (ua - plain), np.mean([r["latent_std"] for r in results])
            print(
                f"| {method} | {100 * ua.mean():.1f} ± {100 * ua.std(ddof=1):.1f} "
                f"| {gain.mean():+.1f} ± {gain.std(ddof=1):.1f} | {spread:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
