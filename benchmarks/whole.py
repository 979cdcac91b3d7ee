"""A whole extraction against its bare parts and against a plain script: `python -m benchmarks.whole`.

500 crops of 7.2 s (352x288, 25 frames/s) of a corpus like AMI in 32 shards, all four stages, by `mmpipe extract` with a
process for each core. The text model has BERT-large's size and random weights unless --text-model names another.

- bare: the processor time of what the stages must call, on every fifth crop, times five, one thread: opensmile on the
  waveforms, PyAV through the films, the detector's own calls, the network on full batches of faces, BERT on full
  batches of texts of similar length. Frames that crops share count for each, no model is loaded, nothing is written.
- plain: `benchmarks/plain_script.py` on every fifth crop, with as many torch threads as there are cores; its time
  for the clips counts five times, its loading once.
"""

from __future__ import annotations

import argparse
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import opensmile
import pyarrow.parquet as pq
import torch
import transformers

from benchmarks.ami_like import write_ami_like
from benchmarks.rates import write_large_bert
from benchmarks.stages import bare_audio, bare_expression, prepared, rows_of
from mmpipe.extractors.faces.crops import FaceCrops, decode_crops
from mmpipe.extractors.weights.checkpoints import find_model
from mmpipe.manifests.schema import Utterance, to_utterances
from mmpipe.pipeline.cli.console import console, table
from mmpipe.pipeline.extraction.inputs import Inputs
from mmpipe.pipeline.extraction.stages import StageSpec
from mmpipe.pipeline.hardware import available_cores

__all__ = ["Spent", "bare_seconds", "run_mmpipe", "run_plain"]

TEXT_BATCH = 32


class Spent(NamedTuple):
    """What a command took: seconds on the clock, and of the processors (fair on a busy machine too)."""

    wall: float
    processor: float


def processor_seconds(call: Callable[[], Any]) -> float:
    """The processor time of a call in this process."""
    began = time.process_time()
    call()
    return time.process_time() - began


def run_mmpipe(root: Path, store: Path, crops: int, model: str) -> Spent:
    """What it takes to run `mmpipe extract` from start to end."""
    config = store.with_suffix(".toml")
    config.write_text(f"[datasets.ami]\nnum_crops = {crops}\n", "utf-8")
    command = [str(Path(sys.executable).with_name("mmpipe")), "extract", "--dataset", "ami", "--root", str(root)]
    options = ["--out", str(store), "--config", str(config), "--set", f"text.model={model}"]
    return _timed([*command, *options])[0]


def run_plain(root: Path, store: Path, clips: int, threads: int, model: str) -> tuple[Spent, Spent]:
    """What the plain script takes for so many clips of the store's manifest: to start and load, and for the clips."""
    command = [sys.executable, "-m", "benchmarks.plain_script", str(store / "manifest.parquet"), str(root)]
    options = ["--clips", str(clips), "--threads", str(threads), "--text-model", model]
    total, said = _timed([*command, str(store.with_suffix(".pkl")), *options])
    wall, processor = map(float, re.findall(r"([\d.]+) s\b", said))
    return Spent(total.wall - wall, total.processor - processor), Spent(wall, processor)


def _timed(command: Sequence[str]) -> tuple[Spent, str]:
    """What a command takes, and its output."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Spent(time.perf_counter() - began, processor), said


def bare_seconds(root: Path, utterances: Sequence[Utterance], model: str) -> dict[str, float]:
    """The processor time of the bare calls for these utterances, by stage."""
    torch.set_num_threads(1)
    inputs = Inputs(root, every=10)
    waveforms = [inputs.audio(utterance) for utterance in utterances]
    seconds = {"audio": processor_seconds(bare_audio(waveforms))}
    frames: list[list[Any]] = []
    filmed = [utterance for utterance in utterances if utterance.video is not None]
    seconds["decoding"] = processor_seconds(lambda: frames.extend(list(inputs.frames(u)) for u in filmed))
    extractor = prepared(StageSpec("faces", "face-crops"))
    assert isinstance(extractor, FaceCrops)
    spent = _count_time(extractor._detector, ["detect", "detect_near"])
    crops = [decode_crops(row["crops"]) for row in rows_of(extractor, frames)]
    seconds["detection"] = sum(spent)
    seconds["expression"] = processor_seconds(bare_expression(crops))
    seconds["text"] = processor_seconds(_bare_text([inputs.words(utterance) for utterance in utterances], model))
    return seconds


def _count_time(detector: Any, methods: Sequence[str]) -> list[float]:
    """Let the methods of an object note the processor time of their calls in the list that is returned."""
    spent: list[float] = []
    for name in methods:
        method = getattr(detector, name)

        def timed(*given: Any, method: Any = method) -> Any:
            began = time.process_time()
            answer = method(*given)
            spent.append(time.process_time() - began)
            return answer

        setattr(detector, name, timed)
    return spent


def _bare_text(texts: Sequence[list[str]], model: str) -> Callable[[], Any]:
    """Tokenizer and network of transformers on padded batches of texts of similar length."""
    folder = find_model(model, None)
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)
    network: Any = transformers.AutoModel.from_pretrained(folder).eval()
    ordered = sorted(texts, key=len)
    batches = [ordered[start : start + TEXT_BATCH] for start in range(0, len(ordered), TEXT_BATCH)]
    options: dict[str, Any] = {"is_split_into_words": True, "padding": True, "return_tensors": "pt"}
    return torch.inference_mode()(lambda: [network(**tokenizer(batch, **options)) for batch in batches])


def _compared(what: str, ours: Spent, theirs: Spent) -> tuple[str, ...]:
    """A line of the table."""
    numbers = [(theirs.wall, ours.wall / theirs.wall), (theirs.processor, ours.processor / theirs.processor)]
    return what, *(text for seconds, ratio in numbers for text in (f"{seconds:.1f}", f"{ratio:.2f} times"))


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crops", type=int, default=500, help="crops of 7.2 s (default: 500)")
    parser.add_argument("--every", type=int, default=5, help="bare parts and plain script take every n-th (default: 5)")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "mmpipe-bench", help="to work in")
    parser.add_argument("--threads", type=int, default=available_cores(), help="of the plain script (default: cores)")
    parser.add_argument("--text-model", help="a folder or a model's name (default: BERT-large's size, random weights)")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    model = options.text_model or str(write_large_bert(options.folder / "bert-large"))
    root = write_ami_like(options.folder / "ami")
    store = options.folder / "store"
    shutil.rmtree(store, ignore_errors=True)
    whole = run_mmpipe(root, store, options.crops, model)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    manifest = pq.read_table(store / "manifest.parquet")
    utterances = to_utterances(manifest)[:: options.every]
    share = len(manifest) / len(utterances)
    bare = bare_seconds(root, utterances, model)
    loading, clips = run_plain(root, store, len(utterances), options.threads, model)
    plain = Spent(loading.wall + clips.wall * share, loading.processor + clips.processor * share)
    needed = sum(bare.values()) * share
    floor = needed / available_cores()
    shards = len(list((store / "audio").glob("*.parquet")))
    parts = ", ".join(f"{name} {seconds * share:.0f}" for name, seconds in bare.items())
    table(
        f"{len(manifest)} crops of 7.2 s in {shards} shards, {available_cores()} cores",
        ["", "seconds", "mmpipe takes", "processor seconds", "mmpipe takes"],
        [
            ("mmpipe extract, from start to end", f"{whole.wall:.1f}", "", f"{whole.processor:.1f}", ""),
            _compared("bare parts, on all cores", whole, Spent(floor, needed)),
            _compared("plain script", whole, plain),
        ],
    )
    console.print(f"bare processor seconds: {parts}")
    console.print(f"largest process of mmpipe extract: {peak:.2f} GiB; torch {torch.__version__}, ", end="")
    console.print(f"opensmile {opensmile.__version__}, numpy {np.__version__}")


if __name__ == "__main__":
    main()
