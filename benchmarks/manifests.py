"""Speed and memory of manifests: `python -m benchmarks.manifests`.

First AMI at the size of the release (171 meetings, 687 words files, 1,147,783 `w` elements, written by the generator
of the tests) becomes a manifest of 25,000 crops; then a manifest of a million rows is written, read again and
summarised as `mmpipe inspect` does. Each step runs in a process of its own; its peak of memory is that process's.
With --lengths, the lengths of 700 WAV and 700 AVI files are read by their headers and by PyAV, and nothing else runs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
import wave
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
from tests.manifests.generators.ami import write_ami

from mmpipe.manifests.formats.riff import riff_seconds
from mmpipe.manifests.io import write_manifest
from mmpipe.manifests.registry import CORPORA
from mmpipe.manifests.schema import MANIFEST_SCHEMA, to_table
from mmpipe.pipeline.cli.console import console, table
from mmpipe.pipeline.store.summary import inspect_store

WORDS = 12
"""Words with times of each row of the long manifest."""

RECORDINGS = 700
"""Files of each kind whose lengths are read."""


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
    inspect_store(path)
    return time.perf_counter() - began


def write_recording(path: Path, seconds: int) -> None:
    """A WAV at 16 kHz, or an AVI of MPEG-4 frames without B-frames, 25 a second, as DivX wrote them."""
    if path.suffix == ".wav":
        with wave.open(str(path), "wb") as stream:
            stream.setparams((1, 2, 16_000, 0, "NONE", ""))
            stream.writeframes(np.random.default_rng(0).integers(-1000, 1000, 16_000 * seconds, np.int16).tobytes())
        return
    with av.open(str(path), "w", format="avi") as container:
        frames = container.add_stream("mpeg4", rate=25)
        frames.width, frames.height, frames.pix_fmt, frames.codec_context.max_b_frames = 352, 288, "yuv420p", 0
        pattern = np.random.default_rng(0).integers(0, 255, (36, 44, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        image = av.VideoFrame.from_ndarray(pattern, format="rgb24").reformat(format="yuv420p")
        for _ in range(25 * seconds):
            image.pts = None
            container.mux(frames.encode(image))
        container.mux(frames.encode(None))


def av_seconds(path: Path, options: dict[str, str]) -> float:
    """Length of a media file by PyAV."""
    with av.open(str(path), options=options) as container:
        return float(container.duration or 0) / av.time_base


def read_lengths(folder: Path) -> list[tuple[str, ...]]:
    """Seconds of reading the lengths of files that are links to one recording: a row a kind of file and a way."""
    ways: dict[str, Callable[[Path], float | None]] = {
        "header": riff_seconds,
        "PyAV": lambda path: av_seconds(path, {}),
        "PyAV, least probing": lambda path: av_seconds(path, {"probesize": "32", "analyzeduration": "0"}),
    }
    rows: list[tuple[str, ...]] = []
    for seconds in (10, 1800):
        for kind in ("wav", "avi"):
            first = folder / f"{seconds}.{kind}"
            write_recording(first, seconds)
            files = [folder / f"{seconds}-{number}.{kind}" for number in range(RECORDINGS)]
            for file in files:
                os.link(first, file)
            for name, way in ways.items():
                best = 1e9
                for _ in range(3):
                    began = time.perf_counter()
                    assert all(abs((way(file) or 0) - seconds) < 0.1 for file in files)
                    best = min(best, time.perf_counter() - began)
                rows.append((f"{RECORDINGS} {kind.upper()} of {seconds} s", name, f"{best:.2f}"))
    return rows


def _measured(call: Callable[..., float], arguments: Sequence[Any], answer: Any) -> None:
    seconds = call(*arguments)
    answer.send((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 2**30))


def measure(call: Callable[..., float], *arguments: Any) -> tuple[float, float]:
    """Seconds that `call` reports, and the peak of memory in GiB of the process that ran it."""
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
    parser.add_argument("--lengths", action="store_true", help="time the reading of the lengths of recordings instead")
    options = parser.parse_args()
    if options.lengths:
        with tempfile.TemporaryDirectory() as folder:
            table("Lengths of recordings", ["files", "read by", "seconds"], read_lengths(Path(folder)))
        return
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
