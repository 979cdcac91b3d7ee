"""`mmpipe extract`: a corpus becomes a feature store."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmpipe.core.errors import UsageError
from mmpipe.pipeline.cli.command import end_incomplete, only_checked
from mmpipe.pipeline.cli.console import console, next_command, styled
from mmpipe.pipeline.cli.console import result as show
from mmpipe.pipeline.cli.corpus_options import (
    refuse_foreign,
    refuse_ignored_options,
    split_exclude,
    takes_corpus_options,
)
from mmpipe.pipeline.cli.idle_options import name_idle, refuse_idle
from mmpipe.pipeline.cli.modes import one_mode, refuse_ignored
from mmpipe.pipeline.cli.options import (
    Config,
    Device,
    FollowLinks,
    Precision,
    Preset,
    Root,
    Sample,
    Set,
    Stages,
    Workers,
    allow_links,
    located,
    names,
    parse_slice,
)
from mmpipe.pipeline.cli.presets import SAMPLE_CORPUS_OPTIONS, SAMPLE_STAGE_OPTIONS, store_path

if TYPE_CHECKING:
    import pyarrow as pa

    from mmpipe.pipeline.extraction.engines.local import LocalEngine
    from mmpipe.pipeline.extraction.request import ExtractRequest
    from mmpipe.pipeline.extraction.run import ExtractResult

__all__ = ["extract", "sample_request", "show_extraction"]


@takes_corpus_options
def extract(
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", "-d", help="ami, iemocap, meld or folder. Default: what --out was extracted from."),
    ] = None,
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
    preset: Annotated[
        Preset | None,
        typer.Option(
            help="paper: IS10, SeetaFace, DenseNet and BERT-large. --set comes before it, mmpipe.toml after it."
        ),
    ] = None,
    set_: Set = [],  # noqa: B006
    workers: Workers = None,
    engine: Annotated[
        str | None, typer.Option(help="local: processes of this machine; ray: a Ray cluster. Default: local.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="The head of the Ray cluster, or auto. Default: one on this machine."),
    ] = None,
    gpu_share: Annotated[
        float | None, typer.Option(help="Part of a GPU that a worker on a Ray cluster takes. Default: 1.")
    ] = None,
    device: Annotated[
        Device | None, typer.Option(help="Where the models of expression and text run. Default: auto.")
    ] = None,
    precision: Annotated[Precision | None, typer.Option(help="Of those models. Default: float32.")] = None,
    max_failures: Annotated[
        int | None, typer.Option(min=0, help="Exit with 3 if more utterances than this failed.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 3 if an utterance failed, or a stage has no usable row.")
    ] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Make the rows that failed again.")] = False,
    slice_: Annotated[str, typer.Option("--slice", help="I/N: the I-th of N jobs that share the store.")] = "1/1",
    transcode_fallback: Annotated[
        bool, typer.Option("--transcode-fallback", help="Repair media that cannot be decoded, with FFmpeg's own tool.")
    ] = False,
    accept_missing: Annotated[
        bool,
        typer.Option("--accept-missing", help="Replace finished rows whose media are gone; else they are kept."),
    ] = False,
    media_cache: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Keep media of an object store on a disk, such as 50GB of them.")
    ] = None,
    media_cache_folder: Annotated[
        Path | None, typer.Option(help="Where. Default: mmpipe/media in XDG_CACHE_HOME or ~/.cache.")
    ] = None,
    corpus: Mapping[str, Any] = {},
    follow_links: FollowLinks = False,
    drop_missing: Annotated[
        bool, typer.Option("--drop-missing", help="Drop the rows of the store whose clips the corpus no longer has.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Estimate time and disk; write nothing.")] = False,
    plan_only: Annotated[
        bool, typer.Option("--plan-only", help="Write the manifest and the plan of the store; make no shard.")
    ] = False,
    config: Config = None,
) -> None:
    """Extract features into a store of Parquet shards. Run it again to go on where it stopped.

    A store knows what it was extracted from: `mmpipe extract --out STORE` goes on with the same corpus and options.
    """
    from mmpipe.core.files import is_local
    from mmpipe.core.object_cache import media_cache_of
    from mmpipe.pipeline.cli.extract_view import ExtractView, show_estimate
    from mmpipe.pipeline.cli.settings import corpus_options, load_settings, merged, parse_assignments, stage_options
    from mmpipe.pipeline.cli.store_source import find_root, known_list, known_manifest, known_source, note_other_options
    from mmpipe.pipeline.extraction.corpus import estimate_corpus
    from mmpipe.pipeline.extraction.request import ExtractRequest
    from mmpipe.pipeline.hardware import available_cores

    one_mode({"--max-failures": max_failures, "--strict": strict})
    one_mode({"--dry-run": dry_run, "--plan-only": plan_only})
    if dry_run:
        refuse_ignored("with --dry-run", {"--max-failures": max_failures, "--strict": strict, "--engine": engine})
    if plan_only:
        of_runs: dict[str, Any] = {"--workers": workers, "--slice": None if slice_ == "1/1" else slice_}
        of_runs |= {"--retry-failed": retry_failed, "--accept-missing": accept_missing, "--engine": engine}
        of_runs |= {"--media-cache": media_cache, "--media-cache-folder": media_cache_folder}
        of_runs |= {"--max-failures": max_failures, "--strict": strict}
        refuse_ignored("with --plan-only", of_runs)
    engine_options = _engine_options(engine or "local", {"address": address, "gpu_share": gpu_share})
    assigned = parse_assignments(set_)
    if dry_run and drop_missing:
        raise UsageError("--dry-run writes nothing: leave out --drop-missing (the refusal names what it would drop)")
    corpus, exclude = split_exclude(corpus)
    known, settings = known_source(dataset, out, assigned), load_settings(config)
    refuse_foreign(known.dataset, corpus)
    if manifest is not None and corpus:
        raise UsageError(f"--manifest lists the utterances, so {', '.join(corpus)} would have no effect: leave it out")
    options = {**known.corpus_options, **corpus_options(known.dataset, settings, sample=sample), **corpus}
    refuse_ignored_options(known.dataset, corpus, options)
    allow_links(follow_links or known.follow_links)
    folder = find_root(known, root, settings, sample=sample)
    if media_cache is None:
        refuse_ignored("without --media-cache", {"--media-cache-folder": media_cache_folder})
    elif is_local(folder):
        refuse_ignored("with a corpus on a disk of this machine", {"--media-cache": media_cache})
    request = ExtractRequest(
        known.dataset,
        folder,
        out or store_path(known.dataset, folder, sample=sample),
        manifest=manifest or (None if corpus else known_manifest(known, out)),
        corpus_options=options,
        stages=names(stages) or known.stages,
        stage_options=merged(known.stage_options, stage_options(settings, assigned, sample=sample, preset=preset)),
        device=device.value if device else known.device,
        precision=precision.value if precision else known.precision,
        engine=engine or "local",
        engine_options=engine_options,
        workers=workers,
        part=parse_slice(slice_),
        retry_failed=retry_failed,
        transcode_fallback=transcode_fallback or known.transcode_fallback,
        accept_missing=accept_missing,
        drop_missing=drop_missing,
        media_cache=None if media_cache is None else media_cache_of(media_cache, media_cache_folder),
        exclude=exclude or known_list(known),
    )
    specs = request.specs(elsewhere=plan_only)
    refuse_idle(specs, assigned)
    name_idle(specs, settings.stages, device=device, precision=precision, repair=transcode_fallback)
    note_other_options(request)
    if only_checked(request):
        return
    if plan_only:
        _plan(request)
        return
    if dry_run:
        show_estimate(estimate_corpus(request, ExtractView()), workers or available_cores())
        return
    result = show_extraction(request)
    next_command(f"mmpipe inspect {result.store}")
    if max_failures is not None and result.failed > max_failures:
        end_incomplete(f"{result.failed} utterances failed, --max-failures allows {max_failures}")
    if strict and (empty := _empty_stages(result, [spec.name for spec in specs])):
        end_incomplete(f"No usable row in {', '.join(empty)}: --strict")
    if strict and result.failed:
        end_incomplete(f"{result.failed} utterances failed: --strict")


def _engine_options(engine: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the engine that are given; those of another one are refused."""
    from mmpipe.pipeline.extraction.engines.registry import ENGINES

    taken = getattr(ENGINES.load(engine), "options", ())
    refuse_ignored(
        f"with --engine {engine}",
        {f"--{name.replace('_', '-')}": value for name, value in options.items() if name not in taken},
    )
    return {name: value for name, value in options.items() if value is not None}


def _plan(request: ExtractRequest) -> None:
    """Plan a store and say what the slices of a job array are then started with."""
    from mmpipe.pipeline.cli.extract_view import ExtractView
    from mmpipe.pipeline.extraction.corpus import plan_corpus

    planned = plan_corpus(request, ExtractView())
    shards = 1 + max(planned.manifest.column("shard").to_pylist())
    stages = ", ".join(spec.name for spec in planned.stages)
    show(f"{planned.store}: {planned.manifest.num_rows} utterances in {shards} shards planned for the stages {stages}")


def _empty_stages(result: ExtractResult, asked: Sequence[str]) -> list[str]:
    """The stages that were asked for and have no row that is `ok`, those that were left out among them."""
    return [name for name in asked if not result.statuses.get(name, {}).get("ok")]


def sample_request(dataset: str, out: Path, select: Callable[[pa.Table], pa.Table] | None = None) -> ExtractRequest:
    """The extraction of a bundled sample corpus, with the options of sample runs."""
    from mmpipe.manifests.samples import sample_root
    from mmpipe.pipeline.extraction.request import ExtractRequest

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


def show_extraction(
    request: ExtractRequest, engine: LocalEngine | None = None, *, is_last: bool = True
) -> ExtractResult:
    """Extract a corpus, show what is due, progress and what came out; `is_last`: nothing follows in this command."""
    from mmpipe.pipeline.cli.extract_view import ExtractView, show_result
    from mmpipe.pipeline.extraction.corpus import extract_corpus

    _show_processor()
    result = extract_corpus(request, engine, ExtractView())
    show_result(result, is_last=is_last)
    return result
