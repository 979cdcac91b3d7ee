"""What helps with few labels: objectives and baselines on a corpus that is assembled of real parts.

    python -m studies.assembled --voices emodb --faces ferplus --lines train_sent_emo.csv --out assembled

An utterance is a recorded voice, a face and a line of dialogue of the same emotion (anger, happiness, neutral,
sadness), drawn at random. Speakers, faces and lines of the training, validation and test parts are disjoint. A share
of the voices (`--blur`) is exchanged within its part, so that a voice may contradict its label, as in real dialogue;
without it the methods hardly differ. Of the training part 8, 20 or 40 utterances a class keep their label, the others
are the unlabelled pool. All methods of a seed see the same parts; the test part is scored once, with the epoch or the
setting that the validation part chose.

Voices are folders named by emotion whose files begin with two characters for the speaker (EMO-DB); faces are FERPlus;
lines are CSVs with MELD's columns. Features are those of `mmpipe extract`: openSMILE IS10, DenseNet-FERPlus, the
embedded text checkpoint. Written are assembled.csv (each run) and assembled.md (means, and differences to the
supervised default, paired by seed, with 95 % intervals over seeds by Student's t).
"""

from __future__ import annotations

import argparse
import csv
import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.stats
import torch

from mmpipe.extractors.faces.expression import Expression, ExpressionConfig
from mmpipe.extractors.faces.ferplus import FERPLUS_CLASSES
from mmpipe.extractors.weights.checkpoints import PACKAGED_MODEL
from mmpipe.pipeline.extraction.corpus import extract_corpus
from mmpipe.pipeline.extraction.request import ExtractRequest
from mmpipe.pipeline.face_training.ferplus import read_ferplus
from mmpipe.pipeline.hardware import available_cores
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.training.config import make_config
from mmpipe.pipeline.training.data.dataset import Dataset, Pool, Rows, fit_norms, load_dataset
from mmpipe.pipeline.training.late_fusion import SelfTraining, fit_late_fusion
from mmpipe.pipeline.training.loop import fit, predict
from mmpipe.pipeline.training.metrics import score
from mmpipe.pipeline.training.pooling import pooled_features
from mmpipe.pipeline.training.teacher import SHARES, TEACHER_STRENGTH
from studies.linear_probe import features

LABELS = ("anger", "happiness", "neutral", "sadness")
NAMES = {"angry": "anger", "happy": "happiness", "joy": "happiness", "sad": "sadness"}
"""Other names of the classes in the parts."""
WORDS, STEPS = 12, 8
"""Words of an utterance, and steps of its one face, padded: the convolutions want six at least."""
SPEAKERS = {"test": 3, "valid": 2}
"""Speakers of a part; all others train."""
SHARES_OF_PARTS = {"train": (0.0, 0.6), "valid": (0.6, 0.75), "test": (0.75, 1.0)}
"""Which faces and lines of a class a part may draw."""
COPIES = 3
"""Utterances that a training voice is used in, each with another face and line."""

NETWORKS: dict[str, dict[str, Any]] = {
    "cross-entropy alone": {"objective": "paper", "alpha": 0.0, "beta": 0.0, "batch_size": 16, "epochs": 30},
    "paper, supervised": {"objective": "paper", "batch_size": 16, "epochs": 30},
    "paper, semi-supervised": {"objective": "paper", "batch_size": 16, "epochs": 30},
    "supervised (default)": {},
    "self-train": {"objective": "self-train"},
    "consistency": {"objective": "consistency"},
    "self-train+consistency (default)": {},
}
"""Hyper-parameters by method, beside those of size `small`."""
SUPERVISED, DEFAULT = "supervised (default)", "self-train+consistency (default)"
FUSIONS: dict[str, dict[str, Any]] = {
    "late fusion": {},
    "late fusion, self-trained": {"self_training": SelfTraining(shares=SHARES)},
    "teacher": {"self_training": SelfTraining(shares=SHARES), "strengths": (TEACHER_STRENGTH,)},
}
"""How late fusions are fitted. The validation part chooses the strength of the penalties, but for the teacher."""
UNLABELED = {"paper, semi-supervised", "self-train", "consistency", DEFAULT}


@dataclass(frozen=True)
class Parts:
    """Real parts, by label: rows of voices, faces and lines.

    Attributes:
        voices: IS10 features [N, 1582].
        speakers: of the voices.
        faces: [N, 342].
        lines: word vectors [N, 12, D].
        keep: which words are not padding.
        labels: of voices, faces and lines.
    """

    voices: npt.NDArray[Any]
    speakers: npt.NDArray[np.str_]
    faces: npt.NDArray[Any]
    lines: npt.NDArray[Any]
    keep: npt.NDArray[np.bool_]
    labels: dict[str, npt.NDArray[np.str_]]


def read_parts(voices: Path, faces: Path, lines: Iterable[Path], out: Path) -> Parts:
    """Extract the features of all parts, into stores below `out` that are used again."""
    corpus = out / "lines"
    corpus.mkdir(parents=True, exist_ok=True)
    write_lines(lines, corpus / "utterances.csv")
    text: dict[str, Any] = {"text": {"model": PACKAGED_MODEL}}
    table = {"table": "utterances.csv"}
    extract_corpus(
        ExtractRequest("folder", corpus, out / "text", corpus_options=table, stages=["text"], stage_options=text)
    )
    extract_corpus(ExtractRequest("folder", voices, out / "audio", stages=["audio"]))
    heard = load_dataset(FeatureStore(out / "audio"), make_config(modalities=("a",)))
    read = load_dataset(FeatureStore(out / "text"), make_config(modalities=("l",), words=WORDS))
    expression = Expression(ExpressionConfig())
    expression.prepare()
    part = read_ferplus(faces, "valid")
    seen, _ = features(expression, part)
    named = [FERPLUS_CLASSES[k] for k in part.labels]
    labels = {
        "voices": np.array([class_of(Path(i).parts[-2]) for i in heard.ids]),
        "faces": np.array([class_of(label) for label in named]),
        "lines": np.array([class_of(label) for label in read.labels]),
    }
    speakers = np.array([Path(i).name[:2] for i in heard.ids])
    return Parts(heard.features["a"], speakers, seen, read.features["l"], read.keep["l"], labels)


def write_lines(sources: Iterable[Path], target: Path) -> None:
    """The lines of the four emotions as the table of a folder corpus."""
    with target.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["utterance_id", "text", "label"])
        for number, source in enumerate(sources):
            with source.open(encoding="utf-8-sig", newline="") as opened:
                for row in csv.DictReader(opened):
                    if class_of(row["Emotion"]) in LABELS:
                        name = f"part{number}_dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"
                        writer.writerow([name, row["Utterance"], row["Emotion"]])


def class_of(label: str | None) -> str:
    """The class that a part's own label means."""
    name = str(label).lower()
    return NAMES.get(name, name)


@dataclass(frozen=True)
class Corpus:
    """An assembled corpus.

    Attributes:
        dataset: all utterances.
        rows: by part, `pool` included.
    """

    dataset: Dataset
    rows: dict[str, Rows]

    def pools(self) -> dict[str, Pool]:
        """Rows with their normalisation: the labelled ones' training rows, the unlabelled pool by its own."""
        own = fit_norms(self.dataset, self.rows["train"])
        pools = {side: Pool(self.dataset, self.rows[side], own) for side in ("train", "valid", "test")}
        return pools | {"pool": Pool(self.dataset, self.rows["pool"], fit_norms(self.dataset, self.rows["pool"]))}


def assemble(parts: Parts, seed: int, labelled: int, modalities: str, blur: float) -> Corpus:
    """Draw an assembled corpus; the parts of a seed are the same for all methods and numbers of labels."""
    generator = np.random.default_rng([seed, 7])
    order = generator.permutation(np.unique(parts.speakers))
    side_of = dict(
        zip(
            order, [*["test"] * SPEAKERS["test"], *["valid"] * SPEAKERS["valid"], *["train"] * len(order)], strict=False
        )
    )
    sides = np.array([side_of[speaker] for speaker in parts.speakers])
    drawn: list[tuple[str, str, int, int, int]] = []
    for side, label in itertools.product(("train", "valid", "test"), LABELS):
        of_label = {
            name: generator.permutation(_within(np.flatnonzero(parts.labels[name] == label), SHARES_OF_PARTS[side]))
            for name in ("faces", "lines")
        }
        voices = np.flatnonzero((parts.labels["voices"] == label) & (sides == side))
        used = [generator.permutation(voices) for _ in range(COPIES if side == "train" else 1)]
        for number, voice in enumerate(np.concatenate(used)):
            face, line = (int(found[number % len(found)]) for found in of_label.values())
            drawn.append((side, label, int(voice), face, line))
    labels, where = np.array([row[1] for row in drawn]), np.array([row[0] for row in drawn])
    voices, faces, lines = (np.array([row[k] for row in drawn]) for k in (2, 3, 4))
    for side in ("train", "valid", "test"):
        exchanged = np.flatnonzero((where == side) & (generator.random(len(where)) < blur))
        voices[exchanged] = voices[generator.permutation(exchanged)]
    seen = np.zeros((len(drawn), STEPS, parts.faces.shape[1]), np.float32)
    seen[:, 0] = parts.faces[faces]
    first = np.zeros((len(drawn), STEPS), np.bool_)
    first[:, 0] = True
    held: dict[str, Any] = {"a": parts.voices[voices], "v": seen, "l": parts.lines[lines]}
    masks = {"v": first, "l": parts.keep[lines]}
    dataset = Dataset(
        tuple(map(str, range(len(drawn)))),
        tuple(labels.tolist()),
        {name: held[name] for name in modalities},
        {name: masks[name] for name in modalities if name in masks},
        {},
        {},
        "assembled",
    )
    training = np.flatnonzero(where == "train")
    known = np.concatenate([training[labels[training] == label][:labelled] for label in LABELS])
    rows = {"train": known, "pool": np.setdiff1d(training, known)}
    return Corpus(dataset, rows | {side: np.flatnonzero(where == side) for side in ("valid", "test")})


def _within(rows: npt.NDArray[np.int64], share: tuple[float, float]) -> npt.NDArray[np.int64]:
    shuffled = np.random.default_rng(0).permutation(rows)
    return shuffled[int(share[0] * len(rows)) : int(share[1] * len(rows))]


def network(name: str, corpus: Corpus, seed: int) -> list[str]:
    """Answers to the test part of a network."""
    modalities = tuple(corpus.dataset.features)
    shape = {"modalities": modalities, "size": "small", "words": WORDS, "faces": STEPS, "seed": seed}
    config, pools = make_config(**(shape | NETWORKS[name])), corpus.pools()
    unlabeled = pools["pool"] if name in UNLABELED else None
    trained = fit(config, LABELS, pools["train"], pools["valid"], unlabeled)
    return [LABELS[k] for k in predict(trained.model, pools["test"]).argmax(axis=1)]


def fusion(name: str, corpus: Corpus, seed: int) -> list[str]:
    """Answers to the test part of a late fusion of logistic regressions."""
    config, pools = make_config(size="small", modalities=tuple(corpus.dataset.features)), corpus.pools()
    truth = {side: [str(corpus.dataset.labels[row]) for row in corpus.rows[side]] for side in ("train", "valid")}
    x = {side: pooled_features(pool, config.clip) for side, pool in pools.items()}
    how = FUSIONS[name]
    fitted = fit_late_fusion(
        x["train"],
        truth["train"],
        x["valid"],
        truth["valid"],
        LABELS,
        unlabeled=x["pool"] if "self_training" in how else None,
        **how,
    )
    return fitted.answer(x["test"])


METHODS: dict[str, Callable[[str, Corpus, int], list[str]]] = {
    **dict.fromkeys(FUSIONS, fusion),
    **dict.fromkeys(NETWORKS, network),
}


def run(parts: Parts, blur: float, task: tuple[str, int, int, str]) -> tuple[tuple[str, int, int, str], float]:
    """The UA of a method, in per cent; a task is modalities, labels a class, seed and method."""
    torch.set_num_threads(1)
    modalities, labelled, seed, name = task
    corpus = assemble(parts, seed, labelled, modalities, blur)
    truth = [str(corpus.dataset.labels[row]) for row in corpus.rows["test"]]
    return task, 100 * score(truth, METHODS[name](name, corpus, seed), LABELS).ua


def report(figures: Mapping[tuple[str, int, str], list[float]]) -> str:
    """Means and paired differences as Markdown."""
    lines: list[str] = []
    for modalities, labelled in sorted({key[:2] for key in figures}):
        lines += [
            f"### {'+'.join(modalities.upper())}, {labelled} labels a class",
            "",
            "| method | UA | minus supervised (default) |",
            "| --- | --- | --- |",
        ]
        base = figures[modalities, labelled, SUPERVISED]
        for name in METHODS:
            if (values := figures.get((modalities, labelled, name))) is None:
                continue
            lines.append(
                f"| {name} | {np.mean(values):.1f} ± {np.std(values, ddof=1):.1f} | {difference(values, base)} |"
            )
        lines.append("")
    return "\n".join(lines)


def difference(values: list[float], base: list[float]) -> str:
    """Mean of the differences by seed, and its 95 % interval by Student's t."""
    gaps = np.subtract(values, base)
    if not gaps.any():
        return "0"
    half = scipy.stats.t.ppf(0.975, len(gaps) - 1) * gaps.std(ddof=1) / math.sqrt(len(gaps))
    return f"{gaps.mean():+.1f} [{gaps.mean() - half:+.1f}, {gaps.mean() + half:+.1f}]"


def main() -> None:
    """Assemble, train, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voices", type=Path, required=True, help="folders of recordings, named by emotion")
    parser.add_argument("--faces", type=Path, required=True, help="folder of FERPlus; its valid part is used")
    parser.add_argument("--lines", type=Path, nargs="+", required=True, help="CSVs with MELD's columns")
    parser.add_argument("--out", type=Path, required=True, help="folder of features and figures")
    parser.add_argument("--labels", type=int, nargs="+", default=[8, 20, 40], help="labelled utterances a class")
    parser.add_argument("--modalities", nargs="+", default=["avl", "al"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--blur", type=float, default=0.3, help="share of the voices that are exchanged")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    options = parser.parse_args()
    parts = read_parts(options.voices, options.faces, options.lines, options.out)
    tasks = list(itertools.product(options.modalities, options.labels, range(options.seeds), options.methods))
    figures: dict[tuple[str, int, str], list[float]] = defaultdict(list)
    with (
        ProcessPoolExecutor(available_cores(), mp_context=get_context("spawn")) as pool,
        (options.out / "assembled.csv").open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow(["modalities", "labels", "seed", "method", "ua"])
        for task, ua in pool.map(partial(run, parts, options.blur), tasks):
            modalities, labelled, _, name = task
            figures[modalities, labelled, name].append(ua)
            writer.writerow([*task, f"{ua:.2f}"])
            stream.flush()
    text = report(figures)
    (options.out / "assembled.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
