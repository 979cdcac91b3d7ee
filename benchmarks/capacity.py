"""What a corpus of so many hours takes: `python -m benchmarks.capacity` prints the tables of docs/scale.md.

They are computed from `benchmarks/capacity.json`. `--measure` makes that file again on this machine: it extracts crops
of a corpus like AMI stage by stage, hashes its media, and plans a store of a million rows. All times are processor
seconds of one core. Other programs on the machine raise them too, though less than seconds of a clock: take them as
good to perhaps a factor of two. `--json FILE` takes the measured figures of another file.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.ami_like import write_ami_like
from benchmarks.manifests import long_manifest
from benchmarks.rates import write_large_bert
from mmpipe.extractors.weights.checkpoints import PACKAGED_MODEL
from mmpipe.pipeline.extraction.stages import DEFAULT_STAGES, resolve_stages
from mmpipe.pipeline.media.content_hash import hash_media
from mmpipe.pipeline.store.plan import shard_size

__all__ = ["FIGURES", "crops_of", "files_of", "tables"]

FIGURES = Path(__file__).with_name("capacity.json")

_STAGES = ("audio", "faces", "expression", "text")
_CROP_SECONDS = 7.2
_SCALES = (100, 1_000, 100_000)
"""Hours of utterances."""
_CLUSTERS = ((1, 16), (8, 32), (64, 64))
"""Nodes, and cores of each."""
_NODE_GIB = 64
_LISTED = 1000
"""Objects in an answer of a listing of S3."""
_MEDIA = 500
_PLANNED_ROWS = 1_000_000


def crops_of(hours: float) -> int:
    """Crops of the paper's length in so many hours, without overlap.

    Example:
        >>> crops_of(1)
        500
    """
    return round(hours * 3600 / _CROP_SECONDS)


def files_of(hours: float) -> int:
    """Shard files of all stages.

    Example:
        >>> files_of(1_000)  # 500,000 crops, 256 a shard, four stages
        7816
    """
    rows = crops_of(hours)
    return len(_STAGES) * math.ceil(rows / shard_size(rows))


def tables(figures: Mapping[str, Any]) -> str:
    """The tables as Markdown."""
    return "\n\n".join([_costs(figures), _corpora(figures), _limits(figures)]) + "\n"


def _core_seconds(figures: Mapping[str, Any]) -> float:
    """Of an hour, all stages and the hashing of the media."""
    return float(sum(stage["core_seconds"] for stage in figures["stages"].values()) + figures["hash"]["core_seconds"])


def _gib_a_row(plan: Mapping[str, Any]) -> float:
    """Memory that a row of the manifest takes while a store is planned."""
    return float((plan["gib"] - plan["gib_before"]) / plan["rows"])


def _short(value: float) -> str:
    """A number with one digit after the point, or two where it is below 1."""
    return f"{value:,.{1 if value >= 1 else 2}f}"


def _costs(figures: Mapping[str, Any]) -> str:
    rows = [
        (name, f"{stage['core_seconds']:,.0f}", f"{stage['mb']:.1f}", f"{stage['gib']:.1f}")
        for name, stage in figures["stages"].items()
    ]
    rows.append(("hashing of the media", _short(figures["hash"]["core_seconds"]), "0", "-"))
    total = sum(stage["mb"] for stage in figures["stages"].values())
    rows.append(("all", f"{_core_seconds(figures):,.0f}", f"{total:.1f}", "-"))
    return _markdown(("per hour of utterances", "core-seconds", "MB written", "GiB of the largest process"), rows)


def _corpora(figures: Mapping[str, Any]) -> str:
    head = ["", *(f"{hours:,} h" for hours in _SCALES)]
    plan = figures["planning"]
    lines: list[tuple[str, Callable[[int], str]]] = [
        ("crops of 7.2 s", lambda h: f"{crops_of(h):,}"),
        ("core-hours", lambda h: f"{_core_seconds(figures) * h / 3600:,.0f}"),
        *(
            (
                f"hours on {nodes} node{'s' * (nodes > 1)} of {cores} cores",
                lambda h, n=nodes, c=cores: _short(_core_seconds(figures) * h / 3600 / n / c),
            )
            for nodes, cores in _CLUSTERS
        ),
        ("GB of the store", lambda h: f"{sum(s['mb'] for s in figures['stages'].values()) * h / 1e3:,.1f}"),
        ("GB of the media", lambda h: f"{figures['hash']['media_mb'] * h / 1e3:,.0f}"),
        ("shard files", lambda h: f"{files_of(h):,}"),
        ("seconds of a plan", lambda h: f"{plan['first_seconds'] * crops_of(h) / plan['rows']:,.0f}"),
        (
            "seconds of a plan where all is made",
            lambda h: f"{plan['resume_seconds'] * crops_of(h) / plan['rows']:,.0f}",
        ),
        ("GiB of a plan", lambda h: f"{plan['gib_before'] + _gib_a_row(plan) * crops_of(h):,.1f}"),
        ("answers of a listing of S3", lambda h: f"{len(_STAGES) * math.ceil(files_of(h) / len(_STAGES) / _LISTED):,}"),
    ]
    return _markdown(head, [(name, *(cell(hours) for hours in _SCALES)) for name, cell in lines])


def _limits(figures: Mapping[str, Any]) -> str:
    """Where something else than the stages limits an extraction: nothing of it depends on the hours but memory."""
    plan, stages = figures["planning"], _core_seconds(figures)
    plan_seconds = plan["first_seconds"] * crops_of(1) / plan["rows"]
    hours = (_NODE_GIB - plan["gib_before"]) / _gib_a_row(plan) / crops_of(1)
    rows = [
        (
            f"planning takes as long as the work of a slice of {cores} cores",
            f"{stages / plan_seconds / cores:,.0f} slices",
        )
        for cores in sorted({cores for _, cores in _CLUSTERS})
    ]
    rows.append((f"the plan fills {_NODE_GIB} GiB of memory", f"{hours:,.0f} h"))
    per_core = sum(stage["mb"] for stage in figures["stages"].values()) / stages
    media = figures["hash"]["media_mb"] / stages
    cores = 1e3 / (2 * media + per_core)  # MB/s of the disk by MB/s of a core
    rows.append(("a disk of 1 GB/s is busy: media are read twice, shards written", f"{cores:,.0f} cores"))
    return _markdown(("what limits", "from"), rows)


def _markdown(head: Any, rows: Any) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


_USED = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
"""
"""Runs a command from a small process: the peak of a child begins with the memory of the process that starts it."""


def _extract(root: Path, store: Path, config: Path, stage: str, model: str) -> tuple[float, float]:
    """Processor seconds of `mmpipe extract` of one stage, and the GiB of its largest process."""
    command = [str(Path(sys.executable).with_name("mmpipe")), "extract", "--dataset", "ami", "--root", str(root)]
    options = ["--out", str(store), "--config", str(config), "--stages", stage, "--workers", "1", "--device", "cpu"]
    options += ["--set", f"text.model={model}"] if stage == "text" else []
    done = subprocess.run(
        [sys.executable, "-c", _USED, *command, *options], check=True, stdout=subprocess.PIPE, text=True
    )
    seconds, kilobytes = map(float, done.stdout.split())
    return seconds, kilobytes / 2**20


def _measure_stages(folder: Path, crops: int) -> dict[str, Any]:
    """Cost of an hour of crops, by stage: the processor time beyond that of a run that has nothing to do.

    The loading of the models is part of it, so few crops give too high a figure.
    """
    root, store, config = write_ami_like(folder / "ami"), folder / "capacity-store", folder / "capacity.toml"
    shutil.rmtree(store, ignore_errors=True)
    config.write_text(f"[datasets.ami]\nnum_crops = {crops}\n", "utf-8")
    model, hours, stages = str(write_large_bert(folder / "bert-large")), crops * _CROP_SECONDS / 3600, {}
    idle = 0.0
    for stage in _STAGES:
        seconds, gib = _extract(root, store, config, stage, model)
        idle = idle or _extract(root, store, config, stage, model)[0]
        size = sum(file.stat().st_size for file in (store / stage).iterdir())
        stages[stage] = {
            "core_seconds": round((seconds - idle) / hours, 1),
            "mb": round(size / 1e6 / hours, 2),
            "gib": round(gib, 2),
        }
    return {"crops": crops, "stages": stages, "hash": _measure_hash(root, folder / "no-cache")}


def _measure_hash(root: Path, cache: Path) -> dict[str, float]:
    """Size of an hour of one video and one audio file, and what it takes to hash them."""
    lengths = {path.parts[-3]: _hours(path) for path in root.glob("*/audio/*.wav")}
    size = 0.0
    media = [path for path in root.rglob("*") if path.suffix in (".avi", ".wav")]
    for suffix in (".avi", ".wav"):
        files = [path for path in media if path.suffix == suffix]
        size += sum(path.stat().st_size for path in files) / 1e6 / sum(lengths[path.parts[-3]] for path in files)
    began = time.process_time()
    hash_media(root, [path.relative_to(root).as_posix() for path in media], cache, 1)
    seconds, hashed = time.process_time() - began, sum(path.stat().st_size for path in media) / 1e6
    return {"core_seconds": round(seconds / hashed * size, 2), "media_mb": round(size, 1)}


def _hours(path: Path) -> float:
    with wave.open(str(path)) as sound:
        return float(sound.getnframes() / sound.getframerate() / 3600)


_PLANNING = """
import json, re, sys, time
from pathlib import Path
from benchmarks.capacity import stages_of
from mmpipe.pipeline.extraction.run import plan_extraction
from mmpipe.pipeline.store.shards import shard_schema, write_shard
import pyarrow as pa
root = Path(sys.argv[1])
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 2**20
stages, before = stages_of(), peak()
manifest = pa.ipc.open_file(str(root / "manifest.arrow")).read_all()
began = time.process_time()
planned = plan_extraction(manifest, "ami", root, root / "store", stages)
first = time.process_time() - began
after = peak()
shards = len(planned.tasks)
for task in planned.tasks:
    ids = task.rows.column("utterance_id").combine_chunks()
    columns = [ids, pa.array(["ok"] * len(ids)), pa.nulls(len(ids), pa.string())]
    write_shard(task.path, pa.table(columns, schema=shard_schema([])), task.provenance)
began = time.process_time()
again = plan_extraction(manifest, "ami", root, root / "store", stages)
assert not again.tasks
print(json.dumps({"rows": manifest.num_rows, "shards": shards, "first_seconds": round(first, 1),
    "resume_seconds": round(time.process_time() - began, 1), "gib_before": round(before, 2), "gib": round(after, 2)}))
"""


def _meetings(rows: int) -> pa.Table:
    """The long manifest of `benchmarks.manifests` as crops of a few hundred meetings."""
    manifest = long_manifest(rows)
    uris = pa.array([f"m{number}.avi" for number in range(_MEDIA)]).take(pa.array([n % _MEDIA for n in range(rows)]))
    starts = pa.array([float(n // _MEDIA) for n in range(rows)])
    ends = pa.array([n // _MEDIA + _CROP_SECONDS for n in range(rows)])
    for name in ("audio", "video"):
        field = manifest.schema.field(name)
        parts = [uris, starts, ends, *(pa.nulls(rows, part.type) for part in list(field.type)[3:])]
        span = pa.StructArray.from_arrays(parts, fields=list(field.type))
        manifest = manifest.set_column(manifest.schema.get_field_index(name), field, span)
    return manifest


def stages_of() -> list[Any]:
    """The four stages with the packaged text model."""
    return resolve_stages(list(DEFAULT_STAGES), {"text": {"model": PACKAGED_MODEL}})


def _measure_planning(rows: int) -> dict[str, Any]:
    """Processor seconds and memory of planning an empty and a complete store, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        manifest = _meetings(rows)
        with pa.ipc.new_file(str(Path(folder, "manifest.arrow")), manifest.schema) as writer:
            writer.write_table(manifest)
        for number in range(_MEDIA):
            Path(folder, f"m{number}.avi").write_bytes(b"%d" % number)
        said = subprocess.run(
            [sys.executable, "-c", _PLANNING, folder], check=True, stdout=subprocess.PIPE, text=True
        ).stdout
    planned: dict[str, Any] = json.loads(said)
    return planned


def main() -> None:
    """Measure, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="measure on this machine and write the figures")
    parser.add_argument("--json", type=Path, default=FIGURES, help="the figures (default: those of the repository)")
    parser.add_argument("--crops", type=int, default=160, help="crops that are extracted (default: 160)")
    parser.add_argument("--rows", type=int, default=_PLANNED_ROWS, help="rows that are planned (default: a million)")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "mmpipe-bench", help="to work in")
    options = parser.parse_args()
    if options.measure:
        options.folder.mkdir(parents=True, exist_ok=True)
        figures = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
            **_measure_stages(options.folder, options.crops),
            "planning": _measure_planning(options.rows),
        }
        options.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    sys.stdout.write(tables(json.loads(options.json.read_text("utf-8"))))


if __name__ == "__main__":
    main()
