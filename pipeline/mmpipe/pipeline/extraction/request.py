"""What to extract, and what hears of it: the arguments of `extract_corpus`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from mmpipe.core.errors import UsageError
from mmpipe.core.files import location
from mmpipe.core.locks import Holder
from mmpipe.core.object_cache import ObjectCache
from mmpipe.extractors.contract import Precision
from mmpipe.manifests.contract import Problem
from mmpipe.manifests.io import follows_links
from mmpipe.manifests.registry import CORPORA
from mmpipe.pipeline.extraction.engines.registry import ENGINES
from mmpipe.pipeline.extraction.run import ExtractPlan
from mmpipe.pipeline.extraction.source import Source, absolute
from mmpipe.pipeline.extraction.stages import DEFAULT_STAGES, MEDIA_COLUMNS, StageSpec, placed, resolve_stages
from mmpipe.pipeline.extraction.tasks import TaskResult
from mmpipe.pipeline.hardware import pick_device
from mmpipe.pipeline.store.exclusions import Exclusions

__all__ = ["ExtractListener", "ExtractRequest"]


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
