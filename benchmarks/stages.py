"""Each stage on sample IEMOCAP against bare calls of what lies underneath: `python -m benchmarks.stages`.

One process, one thread, the same decoded inputs, in turn. "stage" is the extractor as the pipeline calls it; "bare" is
opensmile on each waveform, the MTCNN cascade on one frame at a time, the DenseNet on full batches of faces,
transformers on one sentence at a time. A ratio below 1 means that the stage is faster than the bare calls.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import opensmile
import torch
import transformers

from mmpipe.core.errors import Rejected
from mmpipe.extractors.contract import SAMPLING_RATE_HZ, Audio, Extractor, Frame, Row
from mmpipe.extractors.faces.crops import decode_crops
from mmpipe.extractors.faces.densenet import load_network
from mmpipe.extractors.faces.detectors.registry import DETECTORS
from mmpipe.extractors.faces.expression import CALL_SIZE
from mmpipe.extractors.faces.ferplus import FERPLUS_MEAN, FERPLUS_STD
from mmpipe.extractors.weights.bundled import FERPLUS_DENSENET, bundled
from mmpipe.extractors.weights.checkpoints import PACKAGED_MODEL, find_model
from mmpipe.manifests.prepare import prepare_corpus
from mmpipe.manifests.samples import sample_root
from mmpipe.pipeline.cli.console import console, table
from mmpipe.pipeline.extraction.inputs import Inputs, item_makers
from mmpipe.pipeline.extraction.stages import StageSpec


def seconds(call: Callable[[], Any], repeats: int) -> float:
    """The shortest of some runs."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)


def prepared(spec: StageSpec) -> Extractor:
    """The extractor of a stage with its model loaded."""
    extractor = spec.build()
    extractor.prepare()
    return extractor


def rows_of(extractor: Extractor, items: Iterable[Any]) -> list[Row]:
    """The rows of the items that have one."""
    return [row for row in extractor.extract(items) if not isinstance(row, Rejected)]


def bare_audio(waveforms: Sequence[Audio]) -> Callable[[], Any]:
    """The call of opensmile on every waveform."""
    smile = opensmile.Smile(opensmile.FeatureSet.IS10, opensmile.FeatureLevel.Functionals)
    return lambda: [smile.process_signal(audio.waveform, SAMPLING_RATE_HZ) for audio in waveforms]


def bare_faces(utterances: Sequence[Sequence[Frame]]) -> Callable[[], Any]:
    """The cascade on one frame at a time; it saves no crops."""
    kind = DETECTORS.load("mtcnn")
    detector = kind(kind.Config())
    detector.prepare()
    return lambda: [detector.detect([frame.image]) for frames in utterances for frame in frames]


def bare_expression(crops: Sequence[Any]) -> Callable[[], Any]:
    """The network on full batches of the stage's size, normalised beforehand."""
    network = load_network(bundled(FERPLUS_DENSENET)).to(memory_format=torch.channels_last)
    faces: torch.Tensor = torch.from_numpy(np.unique(np.concatenate(crops), axis=0)).float().unsqueeze(1)
    faces = ((faces - FERPLUS_MEAN) / FERPLUS_STD).to(memory_format=torch.channels_last)
    batches = [faces[start : start + CALL_SIZE] for start in range(0, len(faces), CALL_SIZE)]
    call = torch.inference_mode()(lambda: [network.embed(batch) for batch in batches])
    return call


def bare_text(sentences: Sequence[Sequence[str]]) -> Callable[[], Any]:
    """Tokenizer and network of transformers on one sentence at a time."""
    folder = find_model(PACKAGED_MODEL, None)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    network = transformers.AutoModel.from_pretrained(folder).eval()
    return torch.inference_mode()(
        lambda: [network(**tokenizer(" ".join(words), return_tensors="pt")) for words in sentences]
    )


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=24, help="of sample IEMOCAP (default: 24)")
    parser.add_argument("--repeats", type=int, default=3, help="the shortest of so many runs counts (default: 3)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    root = sample_root("iemocap")
    utterances = prepare_corpus("iemocap", root, {}).utterances[: options.utterances]
    stages: list[tuple[StageSpec, Callable[[Any], Callable[[], Any]]]] = [
        (StageSpec("audio", "is10"), bare_audio),
        (StageSpec("faces", "face-crops"), bare_faces),
        (StageSpec("expression", "densenet-ferplus"), bare_expression),
        (StageSpec("text", "bert", {"model": PACKAGED_MODEL}), bare_text),
    ]
    crops: list[Any] = []
    items: list[Any]
    rows = []
    for spec, bare in stages:
        if spec.input == "crops":
            items = crops
        else:
            inputs = Inputs(root, spec.every)
            items = [make().value for make in item_makers(spec, utterances, inputs)]
        if spec.input == "frames":
            items = [list(frames) for frames in items]
        fresh = [prepared(spec) for _ in range(options.repeats + 1)]  # what one detected, its cache would answer again
        made = rows_of(fresh.pop(), items)
        if spec.input == "frames":
            crops = [decode_crops(row["crops"]) for row in made]
        ours = seconds(partial(lambda pool, items: rows_of(pool.pop(), items), fresh, items), options.repeats)
        theirs = seconds(bare(items), options.repeats)
        rows.append((spec.name, len(items), f"{ours:.2f}", f"{theirs:.2f}", f"{ours / theirs:.2f}"))
    console.print(f"opensmile {opensmile.__version__}, torch {torch.__version__}, one thread")
    table("Seconds on sample IEMOCAP", ["stage", "utterances", "stage s", "bare s", "ratio"], rows)


if __name__ == "__main__":
    main()
