"""Real text with real labels: a MELD CSV as a text-only corpus, against majority and logistic regression.

    python -m studies.meld_text --csv dev_sent_emo.csv

Takes the words and emotions of the CSV, makes a folder corpus of them in which every dialogue is a group (no dialogue
stands on two sides of a fold), runs `mmpipe extract --stages text` with the embedded checkpoint, and trains on words
alone with several seeds. All methods see the same folds. Exits with 1 if the model does not beat the majority by 10
points of weighted F1, or is below logistic regression.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from pathlib import Path

from mmpipe.extractors.weights.checkpoints import PACKAGED_MODEL
from mmpipe.pipeline.cli.console import console, table
from mmpipe.pipeline.cli.settings import parse_hyper_parameters
from mmpipe.pipeline.cli.train import show_training
from mmpipe.pipeline.extraction.corpus import ExtractRequest, extract_corpus
from mmpipe.pipeline.training.baselines import score_baselines
from mmpipe.pipeline.training.config import make_config
from mmpipe.pipeline.training.data.inputs import load_input
from mmpipe.pipeline.training.metrics import METRICS
from mmpipe.pipeline.training.requests import Sources, TrainRequest
from mmpipe.pipeline.training.results import read_run

TRAINING = {
    "modalities": ("l",),
    "protocol": "groups-5",
    "select": "weighted_f1",
    "size": "small",
    "batch_size": 16,
    "epochs": 25,
    "schedule": "linear",
    "dropout": 0.3,
    "classifier_dropout": 0.5,
}
"""Hyper-parameters for a thousand utterances."""


def make_corpus(source: Path, root: Path) -> None:
    """The CSV's words and emotions as the table of a folder corpus; a dialogue is a session."""
    with source.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    with (root / "utterances.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["utterance_id", "text", "label", "session"])
        for row in rows:
            name = f"dia{row['Dialogue_ID']}"
            writer.writerow([f"{name}_utt{row['Utterance_ID']}", row["Utterance"], row["Emotion"], name])


def main() -> None:
    """Extract, train, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, required=True, help="a MELD CSV, such as dev_sent_emo.csv")
    parser.add_argument("--out", type=Path, help="folder of store and runs; by default a temporary one")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], help="a hyper-parameter: NAME=VALUE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        out = options.out or Path(scratch)
        corpus, store = out / "meld-text", out / "features"
        corpus.mkdir(parents=True, exist_ok=True)
        make_corpus(options.csv, corpus)
        model, table_options = {"text": {"model": PACKAGED_MODEL}}, {"table": "utterances.csv"}
        extract_corpus(
            ExtractRequest("folder", corpus, store, corpus_options=table_options, stages=["text"], stage_options=model)
        )
        config = make_config(**(TRAINING | parse_hyper_parameters(options.set)))
        show_training(TrainRequest(config, Sources(store), out / "run", options.seeds))
        scores = score_baselines(config, load_input(config, store), options.seeds)
        scores["mmpipe train"] = read_run(out / "run").summary
    table(
        f"MELD text, {options.seeds} seeds, folds over dialogues (per cent, ± deviation over seeds)",
        ["method", *METRICS.values()],
        ((name, *(str(s[m]) for m in METRICS)) for name, s in scores.items()),
    )
    reached = {name: s["weighted_f1"].mean for name, s in scores.items()}
    ours, majority, logistic = (reached[name] for name in ("mmpipe train", "majority", "logistic"))
    good = ours >= majority + 0.10 and ours >= logistic
    console.print(f"{ours - majority:+.3f} over majority, {ours - logistic:+.3f} over logistic regression: {good=}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
