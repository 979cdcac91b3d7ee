"""Real text with real labels: MELD's CSVs as a text-only corpus, against the baselines.

    python -m studies.meld_text --train train_sent_emo.csv --test dev_sent_emo.csv

Takes the words and emotions of the CSVs; every tenth dialogue of the training CSV, by number, validates.
Runs `mmpipe extract --stages text` with the embedded checkpoint, and trains size `small` on words alone with several
seeds. All methods see the same parts. Exits with 1 if the model is below the best baseline in weighted F1.
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
from mmpipe.pipeline.cli.train_view import show_training
from mmpipe.pipeline.extraction.corpus import extract_corpus
from mmpipe.pipeline.extraction.request import ExtractRequest
from mmpipe.pipeline.training.baselines import score_baselines
from mmpipe.pipeline.training.config import make_config
from mmpipe.pipeline.training.data.inputs import load_input
from mmpipe.pipeline.training.metrics import METRICS
from mmpipe.pipeline.training.requests import Sources, TrainRequest
from mmpipe.pipeline.training.run_folder import read_run

TRAINING = {"modalities": ("l",), "protocol": "corpus", "select": "weighted_f1", "size": "small", "words": 12}
"""Hyper-parameters beside the defaults of size `small`."""
_VALIDATES = 10
"""One dialogue of so many of the training CSV."""


def make_corpus(train: Path, test: Path, root: Path) -> None:
    """The words and emotions of both CSVs as the table of a folder corpus; a dialogue is a session."""
    with (root / "utterances.csv").open("w", encoding="utf-8", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(["utterance_id", "text", "label", "session", "split"])
        for part, source in (("train", train), ("test", test)):
            with source.open(encoding="utf-8-sig", newline="") as stream:
                for row in csv.DictReader(stream):
                    validates = part == "train" and int(row["Dialogue_ID"]) % _VALIDATES == 0
                    name = f"{part}_dia{row['Dialogue_ID']}"
                    writer.writerow(
                        [
                            f"{name}_utt{row['Utterance_ID']}",
                            row["Utterance"],
                            row["Emotion"],
                            name,
                            "dev" if validates else part,
                        ]
                    )


def main() -> None:
    """Extract, train, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True, help="MELD's train_sent_emo.csv")
    parser.add_argument("--test", type=Path, required=True, help="another CSV of MELD")
    parser.add_argument("--out", type=Path, help="folder of store and runs; by default a temporary one")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], help="a hyper-parameter: NAME=VALUE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        out = options.out or Path(scratch)
        corpus, store = out / "meld-text", out / "features"
        corpus.mkdir(parents=True, exist_ok=True)
        make_corpus(options.train, options.test, corpus)
        model, table_options = {"text": {"model": PACKAGED_MODEL}}, {"table": "utterances.csv"}
        extract_corpus(
            ExtractRequest("folder", corpus, store, corpus_options=table_options, stages=["text"], stage_options=model)
        )
        config = make_config(**(TRAINING | parse_hyper_parameters(options.set)))
        show_training(TrainRequest(config, Sources(store), out / "run", options.seeds))
        scores = score_baselines(config, load_input(config, store), options.seeds)
        scores["mmpipe train"] = read_run(out / "run").summary
    table(
        f"MELD text, {options.seeds} seeds (per cent, ± deviation over seeds)",
        ["method", *METRICS.values()],
        ((name, *(str(s[m]) for m in METRICS)) for name, s in scores.items()),
    )
    reached = {name: s["weighted_f1"].mean for name, s in scores.items()}
    ours = reached.pop("mmpipe train")
    best = max(reached, key=reached.__getitem__)
    console.print(f"{100 * (ours - reached[best]):+.1f} weighted F1 over {best}, the best baseline")
    sys.exit(0 if ours >= reached[best] else 1)


if __name__ == "__main__":
    main()
