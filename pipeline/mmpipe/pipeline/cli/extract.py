"""`mmpipe extract`: a corpus becomes a feature store."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmpipe.core.errors import UsageError
from mmpipe.pipeline.cli.console import console, next_command, styled
from mmpipe.pipeline.cli.options import (
    Config,
    Dataset,
    Device,
    FollowLinks,
    Precision,
    Root,
    Sample,
    Set,
    Stages,
    Workers,
    allow_links,
    located,
    names,
)
from mmpipe.pipeline.cli.presets import SAMPLE_CORPUS_OPTIONS, SAMPLE_STAGE_OPTIONS, store_path

if TYPE_CHECKING:
    import pyarrow as pa

    from mmpipe.pipeline.extraction.corpus import ExtractRequest
    from mmpipe.pipeline.extraction.engines.local import LocalEngine
    from mmpipe.pipeline.extraction.run import ExtractResult

__all__ = ["extract", "parse_slice", "sample_request", "show_extraction"]

_TOO_MANY_FAILURES = 3
"""Exit code: done, but more utterances failed than --max-failures allows."""


def extract(
    dataset: Dataset,
    root: Root = None,
    out: Annotated[
        Path | None,
        typer.Option(parser=located, metavar="PATH", help="The feature store. Default: features/DATASET."),
    ] = None,
    sample: Sample = False,
    manifest: Annotated[
        Path | None, typer.Option(parser=located, metavar="PATH", help="A manifest made before. Default: a new one.")
    ] = None,
    stages: Stages = "",
    set_: Set = [],  # noqa: B006
    workers: Workers = None,
    device: Annotated[Device, typer.Option(help="Where the models of expression and text run.")] = Device.AUTO,
    precision: Annotated[Precision, typer.Option(help="Of those models.")] = Precision.FLOAT32,
    max_failures: Annotated[
        int | None, typer.Option(min=0, help="Exit with 3 if more utterances than this failed.")
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Make the rows that failed again.")] = False,
    slice_: Annotated[str, typer.Option("--slice", help="I/N: the I-th of N jobs that share the store.")] = "1/1",
    transcode_fallback: Annotated[
        bool, typer.Option("--transcode-fallback", help="Repair media that cannot be decoded, with FFmpeg's own tool.")
    ] = False,
    follow_links: FollowLinks = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Estimate time and disk; write nothing.")] = False,
    config: Config = None,
) -> None:
    """Extract features into a store of Parquet shards. Run it again to go on where it stopped."""
    from mmpipe.pipeline.cli.extract_view import ExtractView, show_estimate
    from mmpipe.pipeline.cli.settings import (
        corpus_options,
        dataset_root,
        load_settings,
        parse_assignments,
        stage_options,
    )
    from mmpipe.pipeline.extraction.corpus import ExtractRequest, estimate_corpus
    from mmpipe.pipeline.hardware import available_cores

    if dry_run and max_failures is not None:
        raise UsageError("--dry-run extracts nothing that could fail: leave out --max-failures")
    allow_links(follow_links)
    settings = load_settings(config)
    folder = dataset_root(dataset, root, settings, sample=sample)
    given = stage_options(settings, parse_assignments(set_), sample=sample)
    request = ExtractRequest(
        dataset,
        folder,
        out or store_path(dataset, folder, sample=sample),
        manifest=manifest,
        corpus_options=corpus_options(dataset, settings, sample=sample),
        stages=names(stages),
        stage_options=given,
        device=device.value,
        precision=precision.value,
        workers=workers,
        part=parse_slice(slice_),
        retry_failed=retry_failed,
        transcode_fallback=transcode_fallback,
    )
    if dry_run:
        show_estimate(estimate_corpus(request, ExtractView()), workers or available_cores())
        return
    result = show_extraction(request)
    next_command(f"mmpipe inspect {result.store}")
    if max_failures is not None and result.failed > max_failures:
        raise typer.Exit(_TOO_MANY_FAILURES)


def sample_request(dataset: str, out: Path, select: Callable[[pa.Table], pa.Table] | None = None) -> ExtractRequest:
    """The extraction of a bundled sample corpus, with the options of sample runs."""
    from mmpipe.manifests.samples import sample_root
    from mmpipe.pipeline.extraction.corpus import ExtractRequest

    return ExtractRequest(
        dataset,
        sample_root(dataset),
        out,
        corpus_options=SAMPLE_CORPUS_OPTIONS.get(dataset, {}),
        stage_options=SAMPLE_STAGE_OPTIONS,
        select=select,
    )


def _show_processor() -> None:
    """Print one line where the processor makes models slow."""
    from mmpipe.pipeline.doctor.finding import State
    from mmpipe.pipeline.doctor.machine import check_processor, read_or_empty

    found = check_processor(read_or_empty("/proc/cpuinfo"), platform.machine())
    if found.state is not State.OK:
        console.print(styled("[yellow]{}[/]: {}", found.text, found.remedy))


def show_extraction(request: ExtractRequest, engine: LocalEngine | None = None) -> ExtractResult:
    """Extract a corpus, show what is due, progress and what came out."""
    from mmpipe.pipeline.cli.extract_view import ExtractView, show_result
    from mmpipe.pipeline.extraction.corpus import extract_corpus

    _show_processor()
    result = extract_corpus(request, engine, ExtractView())
    show_result(result)
    return result


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
