"""Extraction of a whole corpus: its manifest, the plan, the run, the statistics that some stages ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mmpipe.core.errors import CorpusError, UsageError
from mmpipe.core.files import is_local, location
from mmpipe.core.locks import Hold, Holder
from mmpipe.core.object_cache import ObjectCache
from mmpipe.extractors.contract import Precision
from mmpipe.manifests.contract import Problem
from mmpipe.manifests.io import follows_links, read_manifest, refuse_links
from mmpipe.manifests.prepare import prepare_corpus
from mmpipe.manifests.registry import CORPORA
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
from mmpipe.pipeline.extraction.run import (
    NO_SHARD,
    Engine,
    ExtractPlan,
    ExtractResult,
    commit_plan,
    plan_extraction,
    run_plan,
)
from mmpipe.pipeline.extraction.source import Source, absolute, read_source, record_source, refuse_linked
from mmpipe.pipeline.extraction.stages import (
    DEFAULT_STAGES,
    MEDIA_COLUMNS,
    StageSpec,
    describe,
    placed,
    resolve_stages,
)
from mmpipe.pipeline.extraction.tasks import TaskResult
from mmpipe.pipeline.extraction.text_check import case_problems
from mmpipe.pipeline.extraction.watch import refusing_failures
from mmpipe.pipeline.extraction.writer import options_print, writing
from mmpipe.pipeline.hardware import available_cores, pick_device
from mmpipe.pipeline.store.exclusions import Exclusions, read_exclusions
from mmpipe.pipeline.store.feature_store import FeatureStore

__all__ = ["ExtractListener", "ExtractRequest", "estimate_corpus", "extract_corpus", "plan_corpus"]

_MOST_THREADS = 32
"""So many files this process reads at once while it plans, however many workers a cluster has."""

_Rows = tuple[pa.Table, Exclusions | None]
"""Rows of a manifest, and what a list left out of them."""


@dataclass(frozen=True)
class ExtractRequest:
    """What to extract from which corpus into which store.

    Attributes:
        dataset: a name of the registry of corpora, such as `ami` or `folder`.
        root: the corpus root.
        out: the feature store's folder.
        manifest: a manifest made before; None makes one.
        corpus_options: options of the corpus, by name.
        stages: names of the stages; empty takes those of the corpus.
        stage_options: options of the stages, by stage.
        device: `auto`, `cpu` or `cuda`, for the stages whose model runs on a device.
        precision: of those stages: `float32` or `bf16`.
        engine: a name of the registry of engines: `local` or `ray`.
        engine_options: options of the engine, by name.
        workers: processes; None takes the cores that this process may use, or the CPUs of the cluster.
        part: the slice to work on: number from 1, and number of slices.
        retry_failed: make the rows that failed again.
        transcode_fallback: repair media that cannot be decoded, with FFmpeg's own tool.
        drop_missing: drop the rows of the store whose utterances the corpus no longer has.
        accept_missing: media that are gone are meant to be: finished rows are replaced because of them.
        media_cache: keeps the media of an object store on a local disk; None reads them by ranges.
        select: picks rows of the manifest.
        exclude: a list of marks: the utterances that it marks as bad are left out.
    """

    dataset: str
    root: Path
    out: Path
    manifest: Path | None = None
    corpus_options: Mapping[str, Any] = field(default_factory=dict)
    stages: Sequence[str] = ()
    stage_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    device: str = "auto"
    precision: Precision = "float32"
    engine: str = "local"
    engine_options: Mapping[str, Any] = field(default_factory=dict)
    workers: int | None = None
    part: tuple[int, int] = (1, 1)
    retry_failed: bool = False
    transcode_fallback: bool = False
    drop_missing: bool = False
    accept_missing: bool = False
    media_cache: ObjectCache | None = None
    select: Callable[[pa.Table], pa.Table] | None = None
    exclude: Path | None = None

    def __post_init__(self) -> None:
        if self.drop_missing and self.part != (1, 1):
            raise UsageError("--drop-missing changes the whole store: run it once without --slice")
        for name in ("root", "out", "manifest"):
            if (given := getattr(self, name)) is not None:
                object.__setattr__(self, name, location(given))

    @property
    def follows_plan(self) -> bool:
        """Whether the manifest is that of the store itself: somebody else has planned it, for slices."""
        return self.manifest == self.out / "manifest.parquet"

    def specs(self, *, elsewhere: bool = False) -> list[StageSpec]:
        """The stages that this request names, on its device.

        Args:
            elsewhere: no model runs on this machine, so its device is not looked for here.

        Raises:
            UsageError: the dataset, a stage, an option or the device does not exist.
        """
        names = list(self.stages or CORPORA.load(self.dataset).stages)
        names += [name for name in self.stage_options if name not in DEFAULT_STAGES and name not in names]
        elsewhere = elsewhere or getattr(ENGINES.load(self.engine), "is_remote", False)
        device = self.device if elsewhere and self.device == "cuda" else pick_device(self.device)
        specs = placed(resolve_stages(names, self.stage_options), device, self.precision)
        specs = [replace(s, transcode_fallback=self.transcode_fallback and s.input in MEDIA_COLUMNS) for s in specs]
        idle = [name for name in self.stage_options if name not in names]
        for spec in [*specs, *resolve_stages(idle, self.stage_options)]:
            spec.build()  # a wrong option is refused before the corpus is read, that of an idle stage too
        return specs

    def source(self) -> Source:
        """What the store is extracted from, for its record."""
        return Source(
            self.dataset,
            absolute(self.root),
            None if self.manifest is None else absolute(self.manifest),
            dict(self.corpus_options),
            tuple(self.stages),
            {name: dict(options) for name, options in self.stage_options.items()},
            self.device,
            self.precision,
            self.transcode_fallback,
            follows_links(),
            None if self.exclude is None else absolute(self.exclude),
        )


class ExtractListener:
    """Hears what an extraction finds and does; a subclass shows it. Every method does nothing here."""

    def on_problems(self, problems: Sequence[Problem]) -> None:
        """What the corpus lacks or holds that is odd, before the plan."""

    def on_idle_stages(self, reasons: Mapping[str, str]) -> None:
        """Stages that are left out because no row has what they read: why, by stage."""

    def on_excluded(self, excluded: Exclusions, unknown: str | None) -> None:
        """Utterances are left out because of a list; a sentence names those of the list that the corpus lacks."""

    def on_dropped(self, ids: Sequence[str]) -> None:
        """The rows of these utterances, which the corpus no longer has, were dropped from the store."""

    def on_plan(self, planned: ExtractPlan, root: Path, workers: int) -> None:
        """What is due, before anything is written."""

    def on_wait(self, other: Holder) -> None:
        """An equal run works on the same shards; this one waits for its end."""

    def on_run_start(self, planned: ExtractPlan) -> None:
        """The tasks of a plan start."""

    def on_task(self, done: TaskResult) -> None:
        """A shard is made."""

    def on_run_end(self) -> None:
        """The tasks of a plan are done, or the run was stopped."""

    def on_statistics(self, mean: float, std: float) -> None:
        """Mean and deviation of the corpus's crops were measured."""


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
