"""Speed and memory of manifests: `python -m benchmarks.manifests`.

First AMI at the size of the release (171 meetings, 687 words files, 1,147,783 `w` elements, written by the generator
of the tests) becomes a manifest of 25,000 crops; then a manifest of a million rows is written, read again and
summarised by `mmpipe inspect`. Each step runs in a process of its own; its peak of memory is that process's.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tests.manifests.generators.ami import write_ami

from mmpipe.manifests.io import write_manifest
from mmpipe.manifests.registry import CORPORA
from mmpipe.manifests.schema import MANIFEST_SCHEMA, to_table
from mmpipe.pipeline.cli.console import console, table
from mmpipe.pipeline.cli.inspect import run_inspect

WORDS = 12
"""Words with times of each row of the long manifest."""


def read_ami(root: Path) -> float:
    """Parse the annotations, draw 25,000 crops, write the manifest; the seconds of that."""
    began = time.perf_counter()
    corpus = CORPORA.load("ami")
    prepared = corpus(corpus.Options()).prepare(root)
    write_manifest(to_table(prepared.utterances), root / "ami.parquet", {"corpus": "ami"})
    assert len(prepared.utterances) == 25_000 and prepared.counts["words files"] == 687
    return time.perf_counter() - began


def long_manifest(rows: int) -> pa.Table:
    """A manifest of `rows` different utterances in clips of their own."""
    number = np.arange(rows)
    names = [f"corpus/speaker{n % 997:03d}/clip{n:07d}" for n in range(rows)]
    starts = pa.array(np.tile(np.arange(WORDS) * 0.5, rows))
    ends = pa.array(np.tile(np.arange(WORDS) * 0.5 + 0.4, rows))
    said = pa.array([f"word{n}" for n in range(500)]).take(pa.array(np.arange(rows * WORDS) % 500))
    words = pa.StructArray.from_arrays(
        [said, starts, ends], fields=list(MANIFEST_SCHEMA.field("words").type.value_type)
    )
    uris, zeros = pa.array([f"{name}.mp4" for name in names]), pa.array(np.zeros(rows))
    lengths = pa.array(2 + (number % 700) / 100)
    region = pa.nulls(rows, MANIFEST_SCHEMA.field("video").type.field("region").type)
    columns = {
        "utterance_id": pa.array(names),
        "corpus": pa.repeat("corpus", rows),
        "split": pa.array(["train", "dev", "test"]).take(pa.array(number % 3)),
        "speaker": pa.array([f"speaker{n}" for n in range(997)]).take(pa.array(number % 997)),
        "audio": pa.StructArray.from_arrays([uris, zeros, lengths], fields=list(MANIFEST_SCHEMA.field("audio").type)),
        "video": pa.StructArray.from_arrays(
            [uris, zeros, lengths, region], fields=list(MANIFEST_SCHEMA.field("video").type)
        ),
        "text": pa.repeat("some words of one utterance that somebody said", rows),
        "words": pa.ListArray.from_arrays(pa.array(np.arange(rows + 1, dtype=np.int32) * WORDS), words),
        "label": pa.array(["anger", "joy", "neutral", None]).take(pa.array(number % 4)),
    }
    arrays = [columns[f.name].cast(f.type) if f.name in columns else pa.nulls(rows, f.type) for f in MANIFEST_SCHEMA]
    return pa.Table.from_arrays(arrays, schema=MANIFEST_SCHEMA)


def write_long(path: Path, rows: int) -> float:
    """Write the long manifest; the seconds of checking and writing it."""
    manifest = long_manifest(rows)
    began = time.perf_counter()
    write_manifest(manifest, path, {"corpus": "corpus"})
    return time.perf_counter() - began


def inspect_long(path: Path) -> float:
    """Read, check and summarise it as `mmpipe inspect` does."""
    began = time.perf_counter()
    run_inspect(path, None, None)
    return time.perf_counter() - began


def _measured(call: Callable[..., float], arguments: Sequence[Any], answer: Any) -> None:
    seconds = call(*arguments)
    answer.send((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 2**30))


def measure(call: Callable[..., float], *arguments: Any) -> tuple[float, float]:
    """Seconds that `call` tells, and the peak of memory in GiB of the process that ran it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_measured, args=(call, arguments, theirs))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{call.__name__} ended with exit code {process.exitcode}")
    seconds, memory = ours.recv()
    return float(seconds), float(memory)


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the long manifest (default: a million)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root, path = Path(folder, "ami"), Path(folder, "long.parquet")
        write_ami(root)
        rows = [
            ("AMI parsed, 25,000 crops drawn and written", *measure(read_ami, root)),
            (f"{options.rows} rows checked and written", *measure(write_long, path, options.rows)),
            (f"{options.rows} rows read, checked and summarised", *measure(inspect_long, path)),
        ]
    console.print(f"pyarrow {pa.__version__}")
    table("Manifests", ["what", "seconds", "GiB"], ((what, f"{s:.1f}", f"{m:.2f}") for what, s, m in rows))


if __name__ == "__main__":
    main()
