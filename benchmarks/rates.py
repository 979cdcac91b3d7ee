"""How much of a library's own rate the stages reach: `python -m benchmarks.rates`.

- audio: `mmpipe extract` of IS10 with two workers against one process of bare opensmile calls on the same clips
  (decoded beforehand), and the stage in one process against those calls.
- text: a network of BERT-large's size with random weights; multiplications of real tokens only, against the float32
  rate of one large matrix product on the same threads.
- expression: the stage against the bare network on full batches of faces.

The sides take turns, and the shortest time of each counts: seconds on the clock for two workers, processor seconds
where one thread is compared with one thread, which holds on a busy machine too.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import BertConfig as Architecture
from transformers import BertModel

from benchmarks.ami_like import write_ami_like
from benchmarks.stages import bare_audio, bare_expression, prepared, rows_of
from mmpipe.extractors.weights.checkpoints import PACKAGED_MODEL, find_model
from mmpipe.manifests.prepare import prepare_corpus
from mmpipe.manifests.schema import Utterance, to_table
from mmpipe.pipeline.cli.console import table
from mmpipe.pipeline.extraction.engines.local import LocalEngine
from mmpipe.pipeline.extraction.engines.worker import Worker
from mmpipe.pipeline.extraction.inputs import Inputs
from mmpipe.pipeline.extraction.run import plan_extraction, run_plan
from mmpipe.pipeline.extraction.stages import StageSpec

IS10 = StageSpec("audio", "is10")


def in_turn(
    calls: Sequence[Callable[[], Any]], repeats: int, clock: Callable[[], float] = time.process_time
) -> list[float]:
    """The shortest time of each call, in seconds of `clock`; the calls take turns."""
    times = [[float("inf")] for _ in calls]
    for _ in range(repeats):
        for own, call in zip(times, calls, strict=True):
            began = clock()
            call()
            own.append(clock() - began)
    return [min(own) for own in times]


def audio_rates(root: Path, utterances: Sequence[Utterance], repeats: int) -> list[float]:
    """Seconds of bare opensmile and of an extraction with two workers; processor seconds of opensmile and the stage."""
    inputs = Inputs(root, every=10)
    waveforms = [inputs.audio(utterance) for utterance in utterances]
    extractor = prepared(IS10)
    manifest = to_table(utterances)
    with tempfile.TemporaryDirectory() as folder, LocalEngine(2) as engine:
        number = iter(range(10**6))

        def two_workers() -> None:
            store = Path(folder) / str(next(number))
            run_plan(plan_extraction(manifest, "ami", root, store, [IS10]), engine)

        two_workers()  # the workers load their libraries
        bare = bare_audio(waveforms)
        seconds = in_turn([bare, two_workers], repeats, time.perf_counter)
        return [*seconds, *in_turn([bare, lambda: rows_of(extractor, waveforms)], repeats)]


def write_large_bert(folder: Path) -> Path:
    """A checkpoint of BERT-large's size with random weights and the tokenizer of the packaged model."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(find_model(PACKAGED_MODEL, None))
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    size: dict[str, Any] = {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
    }
    BertModel(Architecture(vocab_size=len(tokenizer), **size), add_pooling_layer=False).save_pretrained(folder)
    return folder


def multiplications(lengths: Sequence[int], width: int = 1024, layers: int = 24) -> float:
    """Floating point operations of BERT on rows of these lengths: products with weights and attention."""
    weights = sum(lengths) * 12 * width * width
    attention = sum(length * length for length in lengths) * 2 * width
    return 2.0 * layers * (weights + attention)


def text_rate(texts: Sequence[list[str]], repeats: int) -> tuple[float, float]:
    """Operations a second of the stage at BERT-large's size, and of a matrix product of 1,024 x 1,024 x 4,096."""
    with tempfile.TemporaryDirectory() as folder:
        extractor = prepared(StageSpec("text", "bert", {"model": str(write_large_bert(Path(folder)))}))
        lengths = [len(row["tokens"]) + 2 for row in rows_of(extractor, texts)]
        tokens, weights = torch.randn(1024, 1024), torch.randn(4096, 1024)
        product = torch.inference_mode()(lambda: [torch.nn.functional.linear(tokens, weights) for _ in range(50)])
        ours, theirs = in_turn([lambda: rows_of(extractor, texts), product], repeats)
    return multiplications(lengths) / ours, 50 * 2.0 * 1024 * 1024 * 4096 / theirs


def expression_rates(faces: int, repeats: int) -> tuple[float, float]:
    """Seconds of the stage and of the bare network on random crops, 18 an utterance."""
    generator = np.random.default_rng(0)
    crops = [generator.integers(0, 256, (18, 64, 64), np.uint8) for _ in range(faces // 18)]
    extractor = prepared(StageSpec("expression", "densenet-ferplus"))
    ours, bare = in_turn([lambda: rows_of(extractor, crops), bare_expression(crops)], repeats)
    return ours, bare


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=256, help="crops of 7.2 s for audio and text (default: 256)")
    parser.add_argument("--repeats", type=int, default=3, help="the shortest of so many runs counts (default: 3)")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "mmpipe-bench", help="to work in")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    root = write_ami_like(options.folder / "ami")
    utterances = prepare_corpus("ami", root, {"num_crops": options.clips}).utterances
    bare, both, bare_cpu, stage = audio_rates(root, utterances, options.repeats)
    torch.set_num_threads(1)
    ours, network = expression_rates(18 * 64, options.repeats)
    worker = Worker()  # the stage's own surroundings: its threads, its memory allocation
    texts = [Inputs(root, every=10).words(utterance) for utterance in utterances]
    rate, product = worker.call(partial(text_rate, texts, options.repeats))
    worker.stop()
    table(
        "Stages against their libraries",
        ["what", "mmpipe", "bare", "ratio"],
        [
            ("IS10, two workers, against one process: s", f"{both:.2f}", f"{bare:.2f}", f"{bare / both:.2f} x"),
            (
                "IS10, one process: processor s",
                f"{stage:.2f}",
                f"{bare_cpu:.2f}",
                f"{100 * (stage / bare_cpu - 1):+.1f} %",
            ),
            ("expression, one thread: processor s", f"{ours:.2f}", f"{network:.2f}", f"{100 * network / ours:.0f} %"),
            (
                "BERT-large, one thread: GFLOP a processor second",
                f"{rate / 1e9:.0f}",
                f"{product / 1e9:.0f}",
                f"{100 * rate / product:.0f} %",
            ),
        ],
    )


if __name__ == "__main__":
    main()
