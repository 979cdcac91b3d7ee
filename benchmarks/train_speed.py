"""Speed and memory of training on one machine.

    python -m benchmarks.train_speed step        a step of A+V+L at batch 128 against the machine's matrix products
    python -m benchmarks.train_speed acoustic    acoustic-only five-fold training of 5,531 utterances
    python -m benchmarks.train_speed baselines   all baselines on five folds of 5,531 utterances of A+V+L
    python -m benchmarks.train_speed memory      5,531 labelled and 20,000 unlabelled utterances: peak memory
    python -m benchmarks.train_speed semi        a fold of size small with pseudo-labels: 4,425 and 20,000 utterances
    python -m benchmarks.train_speed balance     labelling 20,000 utterances, and training the classifier of a fold

Features are random numbers of the paper's shapes (1,582; 18 x 342; 22 x 1,024); `--faces` and `--words` say how many
of the steps are not padding. FLOPs are what torch's counter counts of forward and backward pass; the rate of matrix
products is that of 2,048 x 2,048 float32 matrices. Where other programs keep the cores busy, `--threads 1 --clock
process` counts processor seconds.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from mmpipe.manifests.splits import Fold
from mmpipe.pipeline.hardware import available_cores
from mmpipe.pipeline.training.baselines import BASELINES, score_baselines
from mmpipe.pipeline.training.config import TrainConfig, make_config
from mmpipe.pipeline.training.data.dataset import Dataset, Pool, fit_norms
from mmpipe.pipeline.training.data.inputs import TrainInput
from mmpipe.pipeline.training.loop import fit, predict
from mmpipe.pipeline.training.losses import matching, reconstruction
from mmpipe.pipeline.training.model import EmotionModel
from mmpipe.pipeline.training.teacher import teach

WIDTHS, LABELS = {"a": 1582, "v": 342, "l": 1024}, ("anger", "happiness", "neutral", "sadness")


def made(number: int, modalities: str, faces: int = 18, words: int = 22) -> Dataset:
    """Utterances of random features in the types that stores have; `faces` and `words` unpadded steps."""
    generator = np.random.default_rng(0)
    features: dict[str, Any] = {}
    keep: dict[str, Any] = {}
    for name in modalities:
        steps, length = {"a": (1, 1), "v": (18, faces), "l": (22, words)}[name]
        shape = (number, WIDTHS[name]) if name == "a" else (number, steps, WIDTHS[name])
        features[name] = np.empty(shape, np.float16 if name == "l" else np.float32)
        for start in range(0, number, 512):
            part = features[name][start : start + 512]
            part[:] = generator.standard_normal(part.shape, np.float32)
        if name != "a":
            keep[name] = np.broadcast_to(np.arange(steps) < length, (number, steps)).copy()
            features[name] *= keep[name][..., None]
    labels = tuple(LABELS[n % 4] for n in range(number))
    return Dataset(tuple(map(str, range(number))), labels, features, keep, {}, {}, "made")


CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "process": time.process_time}


def best(call: Callable[[], Any], times: int, clock: Callable[[], float]) -> float:
    """The shortest of several times in seconds, after one call to warm up."""
    call()
    seconds = []
    for _ in range(times):
        began = clock()
        call()
        seconds.append(clock() - began)
    return min(seconds)


def step(config: TrainConfig, faces: int, words: int, clock: Callable[[], float]) -> None:
    """A training step: FLOPs, time, share of the matrix-product rate; data loading."""
    data = made(512, "avl", faces, words)
    pool = Pool(data, np.arange(512), fit_norms(data, np.arange(512)))
    model = EmotionModel(config, WIDTHS, 4)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    targets = torch.arange(128) % 4
    features, keep = pool.batch(np.arange(128))

    def once() -> None:
        output = model(features, keep, reconstruct=True)
        pair, unpaired = matching(output.latents, config)
        loss = torch.nn.functional.cross_entropy(output.logits, targets)
        loss = loss + config.alpha * reconstruction(output.reconstructions, features, keep)
        optimiser.zero_grad(set_to_none=True)
        (loss + config.beta * (pair + unpaired)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    with FlopCounterMode(display=False) as counter:
        once()
    flops = counter.get_total_flops()
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    rate = 2 * 2048**3 / best(lambda: a @ b, 10, clock)
    seconds = best(once, 5, clock)
    rows = np.random.default_rng(1).permutation(512)[:128]
    loading = best(lambda: pool.batch(rows), 20, clock)
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    print(f"parameters: {parameters:.1f} million; threads: {torch.get_num_threads()}")
    print(f"matrix products (2048, float32): {rate / 1e9:.0f} GFLOP/s")
    print(
        f"step of 128, {faces} faces, {words} words: {seconds:.2f} s, {flops / 1e9:.0f} GFLOP, "
        f"{flops / seconds / 1e9:.0f} GFLOP/s = {100 * flops / seconds / rate:.0f} % of the matrix-product rate"
    )
    print(f"loading of a batch: {1000 * loading:.1f} ms = {100 * loading / seconds:.2f} % of the step")


def acoustic(config: TrainConfig, clock: Callable[[], float]) -> None:
    """Five folds of acoustic-only training on 5,531 utterances: four fifths train, a tenth validates."""
    data = made(5531, "a")
    norms = fit_norms(data, np.arange(5531))
    began = clock()
    for fold in range(5):
        order = np.roll(np.arange(5531), fold * 1106)
        fit(config, LABELS, Pool(data, order[:4425], norms), Pool(data, order[4425:4978], norms))
    print(f"acoustic-only, 5 folds, {config.epochs} epochs: {clock() - began:.0f} s")


def signal(data: Dataset) -> None:
    """Make features in place as real ones are: correlated, the same in all steps of an utterance, and with classes.

    An utterance moves each modality by a mixture of 100 directions of falling size; a class moves the mixture.
    """
    generator = np.random.default_rng(1)
    size = np.arange(1, 101) ** -0.5
    classes = 0.35 * generator.standard_normal((len(LABELS), 100))
    labels = np.array([LABELS.index(str(label)) for label in data.labels])
    mixture = ((generator.standard_normal((len(labels), 100)) + classes[labels]) * size).astype(np.float32)
    for name, x in data.features.items():
        moved = mixture @ generator.standard_normal((100, x.shape[-1])).astype(np.float32)
        for start in range(0, len(x), 512):
            rows = slice(start, start + 512)
            x[rows] += moved[rows] if x.ndim == 2 else moved[rows, None] * data.keep[name][rows][..., None]


def baselines(faces: int, words: int) -> None:
    """Time of each baseline and of all on five folds: four fifths train, a tenth validates, a tenth is the test."""
    data = made(5531, "avl", faces, words)
    signal(data)
    folds = []
    for number in range(5):
        order = [data.ids[row] for row in np.roll(np.arange(5531), number * 1106)]
        folds.append(Fold(f"groups-{number}", tuple(order[:4425]), tuple(order[4425:4978]), tuple(order[4978:])))
    given = TrainInput(data, tuple(folds), LABELS, None, {}, {})
    spent = dict.fromkeys(BASELINES, np.zeros(2))
    last = began = np.array([clock() for clock in CLOCKS.values()])

    def report(name: str) -> None:
        nonlocal last
        now = np.array([clock() for clock in CLOCKS.values()])
        spent[name] = spent[name] + now - last
        last = now

    scores = score_baselines(make_config(), given, report=report)
    wall, processor = np.array([clock() for clock in CLOCKS.values()]) - began
    for name, (seconds, busy) in spent.items():
        print(f"{name}: {seconds:.0f} s, {busy:.0f} processor seconds; UA {100 * scores[name]['ua'].mean:.1f}")
    print(f"all baselines, A+V+L, 5 folds of 5,531 utterances: {wall:.0f} s, {processor:.0f} processor seconds")


def memory(config: TrainConfig) -> None:
    """Labelled and unlabelled utterances of IEMOCAP's and the paper's number, two steps."""
    data, other = made(5531, "avl"), made(20_000, "avl")
    pools = [Pool(d, np.arange(len(d.ids)), fit_norms(d, np.arange(len(d.ids)))) for d in (data, other)]
    few = Pool(data, np.arange(256), pools[0].norms)
    fit(config.model_copy(update={"epochs": 1}), LABELS, few, few, pools[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"5,531 labelled and 20,000 unlabelled utterances, all in memory: peak {peak:.2f} GiB")


def balance(config: TrainConfig, clock: Callable[[], float]) -> None:
    """Labelling the paper's number of utterances by one model, and training the classifier of a fold of IEMOCAP.

    Both are measured on a part, and scaled.
    """
    data = made(1024, "avl")
    norms, rows = fit_norms(data, np.arange(1024)), np.arange(1024)
    model = EmotionModel(config.vanilla(), WIDTHS, 4)
    labelling = best(lambda: predict(model, Pool(data, rows[:512], norms)), 2, clock) * 20_000 / 512
    part = Pool(data, rows[: 4 * config.batch_size], norms)
    once = config.vanilla().model_copy(update={"epochs": 1})
    epoch = best(lambda: fit(once, LABELS, part, Pool(data, rows[:4], norms)), 1, clock) * 4425 / len(part.rows)
    print(f"size {config.size}, one model: labelling 20,000 utterances {labelling:.0f} s")
    print(
        f"size {config.size}, the classifier of a fold, {config.epochs} epochs of 4,425: {epoch * config.epochs:.0f} s"
    )


def semi(clock: Callable[[], float]) -> None:
    """The teacher and an epoch of a fold: four fifths of 5,531 utterances train, a tenth validates."""
    config = make_config(size="small")
    data, other = made(5531, "avl"), made(20_000, "avl")
    signal(data)
    signal(other)
    norms = fit_norms(data, np.arange(4425))
    sides = Pool(data, np.arange(4425), norms), Pool(data, np.arange(4425, 4978), norms)
    pool = Pool(other, np.arange(20_000), fit_norms(other, np.arange(20_000)))
    began = clock()
    teach(config, LABELS, sides[0], pool)
    taught = clock() - began
    began = clock()
    fit(config.model_copy(update={"epochs": 1, "objective": "consistency"}), LABELS, *sides, pool)
    epoch = clock() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"teacher {taught:.0f} s, epoch {epoch:.1f} s, so a fold of {config.epochs} epochs "
        f"{taught + config.epochs * epoch:.0f} s; peak {peak:.2f} GiB"
    )


def main() -> None:
    """Run one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("step", "acoustic", "baselines", "memory", "balance", "semi"))
    parser.add_argument("--size", choices=("paper", "small"), default="paper", help="of the model of `balance`")
    parser.add_argument("--faces", type=int, default=18, help="unpadded faces of an utterance")
    parser.add_argument("--words", type=int, default=22, help="unpadded words of an utterance")
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.what == "step":
        step(make_config(), options.faces, options.words, CLOCKS[options.clock])
    elif options.what == "acoustic":
        acoustic(make_config(modalities=("a",)), CLOCKS[options.clock])
    elif options.what == "baselines":
        baselines(options.faces, options.words)
    elif options.what == "semi":
        semi(CLOCKS[options.clock])
    elif options.what == "balance":
        balance(make_config(size=options.size), CLOCKS[options.clock])
    else:
        memory(make_config())


if __name__ == "__main__":
    main()
