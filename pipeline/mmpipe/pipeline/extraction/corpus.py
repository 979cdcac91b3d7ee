"""Extraction of a whole corpus: its manifest, the plan, the run, the statistics that some stages ask for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mmpipe.core.errors import CorpusError
from mmpipe.core.files import is_local
from mmpipe.core.locks import Hold
from mmpipe.manifests.io import read_manifest, refuse_links
from mmpipe.manifests.prepare import prepare_corpus
from mmpipe.manifests.schema import to_table
from mmpipe.pipeline.extraction.crop_statistics import (
    measure_crops,
    measured_before,
    needs_statistics,
    with_statistics,
)
from mmpipe.pipeline.extraction.drop import drop_missing, finish_drop
from mmpipe.pipeline.extraction.engines.registry import ENGINES
from mmpipe.pipeline.extraction.estimate import Estimate, estimate
from mmpipe.pipeline.extraction.material import split_by_material
from mmpipe.pipeline.extraction.recovery import known_store
from mmpipe.pipeline.extraction.request import ExtractListener, ExtractRequest
from mmpipe.pipeline.extraction.run import (
    NO_SHARD,
    Engine,
    ExtractPlan,
    ExtractResult,
    commit_plan,
    plan_extraction,
    run_plan,
)
from mmpipe.pipeline.extraction.source import Source, read_source, record_source, refuse_linked
from mmpipe.pipeline.extraction.stages import (
    StageSpec,
    describe,
)
from mmpipe.pipeline.extraction.tasks import TaskResult
from mmpipe.pipeline.extraction.text_check import case_problems
from mmpipe.pipeline.extraction.watch import refusing_failures
from mmpipe.pipeline.extraction.writer import options_print, writing
from mmpipe.pipeline.hardware import available_cores
from mmpipe.pipeline.store.exclusions import Exclusions, read_exclusions
from mmpipe.pipeline.store.feature_store import FeatureStore

__all__ = ["estimate_corpus", "extract_corpus", "plan_corpus"]

_MOST_THREADS = 32
"""So many files this process reads at once while it plans, however many workers a cluster has."""

_Rows = tuple[pa.Table, Exclusions | None]
"""Rows of a manifest, and what a list left out of them."""


def extract_corpus(
    request: ExtractRequest,
    engine: Engine | None = None,
    listener: ExtractListener | None = None,
    stages: Sequence[StageSpec] | None = None,
) -> ExtractResult:
    """Extract a corpus into a feature store; shards that are up to date are left alone.

    Args:
        request: what to extract.
        engine: an engine to share between extractions; None makes one for this call.
        listener: hears what happens.
        stages: resolved stages, all of which run; None takes those that the request names.

    Returns:
        What the run did, and the statuses of the store.

    Raises:
        UsageError: an option is wrong, or the device does not exist.
        BusyError: a run with other options is writing the store.
        ClusterError: the cluster cannot be used, or a worker of it differs from this machine.
        CorpusError: the root does not look like the corpus, or media that were there are gone, see `plan_extraction`.
        ManifestError: a media file is a link that leaves the root.
        ResourceError: memory, file handles or disk are used up, or storage does not answer.
        StoreError: the store belongs to another corpus, holds utterances that the manifest lacks, or has a link out of
            it.
        StorageError: the store cannot be written.
        WeightsError: weights are missing.
    """
    hears = listener or ExtractListener()
    with (
        _writing(request, hears, stages) as (rows, specs, held),
        nullcontext(engine) if engine else _engine(request, specs) as pool,
    ):
        return _extract(request, rows, specs, pool, hears, held)


def plan_corpus(request: ExtractRequest, listener: ExtractListener | None = None) -> ExtractPlan:
    """Write the plan of a store, its manifest and its record, so that the slices of a job array need not make it.

    No media are read, no shard is made and no device is needed. The slices take `manifest.parquet` of the store as
    their manifest.

    Raises:
        MmpipeError: as `extract_corpus`.
    """
    with _writing(request, listener or ExtractListener(), elsewhere=True) as (rows, specs, _):
        specs = [s for s in _with_known_statistics(request.out, specs) if not needs_statistics(s)]
        planned = _plan(replace(request, part=NO_SHARD), rows, specs, threads=1)
        record_source(request.out, request.source())
        commit_plan(planned)
        return planned


@contextmanager
def _writing(
    request: ExtractRequest,
    hears: ExtractListener,
    stages: Sequence[StageSpec] | None = None,
    *,
    elsewhere: bool = False,
) -> Iterator[tuple[_Rows, Sequence[StageSpec], Hold]]:
    """Be the writer of the store while the block runs; the rows of the manifest and the stages."""
    refuse_linked(request.out)
    rows, specs = _rows_and_specs(request, hears, stages, elsewhere=elsewhere)
    decides = {
        "corpus": request.dataset,
        "root": str(request.root.resolve() if is_local(request.root) else request.root),
        "retry_failed": request.retry_failed,
        "accept_missing": request.accept_missing,
        "drop_missing": request.drop_missing,
    }
    options = options_print(decides, rows[0], specs)
    with (
        refusing_failures(f"the extraction into {request.out}"),
        writing(request.out, options, request.part, hears.on_wait) as held,
    ):
        finish_drop(request.out)
        if request.drop_missing and (dropped := drop_missing(request.out, rows[0])):
            hears.on_dropped(dropped)
        yield rows, specs, held


def _engine(request: ExtractRequest, specs: Sequence[StageSpec]) -> AbstractContextManager[Engine]:
    """The engine that a request names."""
    kind: Any = ENGINES.load(request.engine)
    made: AbstractContextManager[Engine] = kind(
        request.workers, _asked_for(request.out, specs), **request.engine_options
    )
    return made


def _extract(
    request: ExtractRequest,
    rows: _Rows,
    specs: Sequence[StageSpec],
    pool: Engine,
    hears: ExtractListener,
    held: Hold,
) -> ExtractResult:
    """Plan and run the stages, those that ask for statistics of the corpus after the others."""
    plan_for = partial(_plan, request, rows, threads=min(pool.workers, _MOST_THREADS))
    specs = _with_known_statistics(request.out, specs)
    planned = plan_for([s for s in specs if not needs_statistics(s)])
    hears.on_plan(planned, request.root, pool.workers)
    if request.select is None:
        record_source(request.out, _source(request))
    result = _run(planned, pool, hears, held)
    if any(map(needs_statistics, specs)):
        numbers = measure_crops(request.out)
        hears.on_statistics(*numbers)
        specs = [with_statistics(spec, *numbers) if needs_statistics(spec) else spec for spec in specs]
        before, planned = result, plan_for(specs)
        hears.on_plan(planned, request.root, pool.workers)
        result = _run(planned, pool, hears, held)
        result.seconds += before.seconds
        for name, made in before.shards.items():
            result.shards[name] += made
    return result


def _source(request: ExtractRequest) -> Source:
    """What to write down of an extraction: slices that read the plan of the store say no more than who planned it."""
    source, before = request.source(), read_source(request.out)
    if before is None or request.part == (1, 1) or not request.follows_plan:
        return source
    return replace(source, manifest=before.manifest, corpus_options=before.corpus_options)


def estimate_corpus(request: ExtractRequest, listener: ExtractListener | None = None) -> list[Estimate]:
    """What the stages of an extraction would take, from a handful of utterances; empty where nothing is due.

    Nothing is written.

    Raises:
        MmpipeError: as `extract_corpus`.
    """
    hears = listener or ExtractListener()
    rows, specs = _rows_and_specs(request, hears)
    specs = [s for s in _with_known_statistics(request.out, specs) if not needs_statistics(s)]
    workers = request.workers or available_cores()
    planned = _plan(request, rows, specs, threads=workers, only_known=True)
    hears.on_plan(planned, request.root, workers)
    return estimate(planned) if planned.tasks else []


def _rows_and_specs(
    request: ExtractRequest,
    hears: ExtractListener,
    stages: Sequence[StageSpec] | None = None,
    *,
    elsewhere: bool = False,
) -> tuple[_Rows, list[StageSpec]]:
    """The rows of the manifest, and the stages that find something to read in them; given stages all stay.

    Args:
        request: what is asked for.
        hears: hears of idle stages and odd texts.
        stages: see above; None takes those of the request.
        elsewhere: see `ExtractRequest.specs`.

    Raises:
        CorpusError: no stage does.
    """
    # A wrong option is refused before the corpus is read.
    asked = request.specs(elsewhere=elsewhere) if stages is None else list(stages)
    rows, excluded = _rows(request, hears)
    specs, idle = split_by_material(rows, asked) if stages is None else (asked, {})
    if idle:
        hears.on_idle_stages(idle)
    if rows.num_rows and not specs:
        why = "; ".join(f"{name}: {reason}" for name, reason in idle.items())
        raise CorpusError(f"none of the stages finds anything to read in {request.root} ({why})")
    hears.on_problems(case_problems(rows, specs))
    return (rows, excluded), specs


def _rows(request: ExtractRequest, hears: ExtractListener) -> _Rows:
    """The rows of the manifest, and what a list left out of them."""
    if request.manifest is not None:
        rows = read_manifest(request.manifest)
    else:
        prepared = prepare_corpus(request.dataset, request.root, request.corpus_options)
        hears.on_problems(prepared.problems)
        rows = to_table(prepared.utterances)
    refuse_links(rows, request.root)
    rows = request.select(rows) if request.select else rows
    if request.exclude is None:
        return rows, None
    listed, ids = read_exclusions(request.exclude), rows.column("utterance_id")
    if request.follows_plan:  # whoever made the plan has left them out
        recorded = FeatureStore(request.out).info.get("excluded")
        return rows, None if recorded is None else Exclusions(**recorded)
    excluded = replace(listed.among(ids.to_pylist()), labels={})  # labels are a matter of training
    hears.on_excluded(excluded, listed.unknown(ids.to_pylist(), f"the corpus {request.dataset}"))
    kept = rows.filter(pc.invert(excluded.is_bad(ids)))
    if rows.num_rows and not kept.num_rows:
        raise CorpusError(f"{request.exclude} marks every utterance of {request.dataset} as bad: nothing is left")
    return kept, excluded


def _plan(
    request: ExtractRequest,
    rows: _Rows,
    specs: Sequence[StageSpec],
    *,
    threads: int,
    only_known: bool = False,
) -> ExtractPlan:
    return plan_extraction(
        rows[0],
        request.dataset,
        request.root,
        request.out,
        specs,
        threads=threads,
        part=request.part,
        retry_failed=request.retry_failed,
        only_known=only_known,
        accept_missing=request.accept_missing,
        cache=request.media_cache,
        excluded=rows[1],
    )


def _run(planned: ExtractPlan, engine: Engine, hears: ExtractListener, held: Hold) -> ExtractResult:
    def on_task(done: TaskResult) -> None:
        held.check()
        hears.on_task(done)

    held.check()
    hears.on_run_start(planned)
    try:
        return run_plan(planned, engine, on_task)
    finally:
        hears.on_run_end()


def _asked_for(store: Path, specs: Sequence[StageSpec]) -> list[str]:
    """The extractors to get ready for while the run is planned: none where all stages are as the store has them."""
    if (held := known_store(store)) is None:
        return [spec.extractor for spec in specs]
    known = held.described
    fresh = [s for s in specs if not needs_statistics(s) and known.get(s.name) != describe(s)]
    return [spec.extractor for spec in fresh]


def _with_known_statistics(store: Path, specs: Sequence[StageSpec]) -> list[StageSpec]:
    """The stages, with the statistics of the corpus where an earlier run measured them."""
    known = {s.name: measured_before(store, s, specs) for s in specs if needs_statistics(s)}
    return [with_statistics(s, *numbers) if (numbers := known.get(s.name)) else s for s in specs]
