"""Stages: an extractor applied to the rows of one shard.

A stage is a name, an extractor and its config. What it reads follows from the extractor's input kind: `audio`, `frames`
and `words` come from the manifest and its media, `crops` from the rows of the stage `faces`.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import Field

from mmpipe.core.errors import UsageError, WeightsError
from mmpipe.core.options import Options, explain
from mmpipe.core.text import nearest, printable
from mmpipe.extractors.contract import Extractor, InputKind, Precision
from mmpipe.extractors.registry import EXTRACTORS
from mmpipe.extractors.weights.checkpoints import PACKAGED_MODEL
from mmpipe.pipeline.extraction.transcript_words import Source
from mmpipe.pipeline.media.versions import media_versions
from mmpipe.pipeline.store.provenance import StageProvenance, upstream_of

__all__ = [
    "DEFAULT_STAGES",
    "FACES",
    "MEDIA_COLUMNS",
    "StageSpec",
    "describe",
    "describe_all",
    "naming_remedies",
    "placed",
    "resolve_stages",
]

FACES = "faces"
"""The stage whose crops feed the stages of input kind `crops`."""

DEFAULT_STAGES: dict[str, str] = {
    "audio": "is10",
    FACES: "face-crops",
    "expression": "densenet-ferplus",
    "text": "bert",
}
"""The stages of the paper and their extractors, in the order of the flow."""

MEDIA_COLUMNS = {"audio": "audio", "frames": "video"}
"""The column that names the media of a stage, by the stage's input kind."""

_STAGE_NAME = re.compile(r"(?!logs$)[A-Za-z0-9][\w-]{0,99}", re.ASCII)

_EVERY_NTH_FRAME = 10
"""The paper's sampling of video (section 4.2)."""


class _Sampling(Options):
    """Options of a stage that reads frames, beside those of its extractor."""

    every: int = Field(default=_EVERY_NTH_FRAME, ge=1)


@dataclass(frozen=True)
class StageSpec:
    """One stage of a run: picklable, so that any engine can carry it to its workers.

    Attributes:
        name: the folder of the stage in the store.
        extractor: a name in the registry of extractors.
        options: the extractor's config as plain values; stages that read frames also take `every`.
        device: `cpu` or `cuda`.
        precision: `float32` or `bf16`.
        transcode_fallback: repair media that cannot be decoded, with FFmpeg's own tool.
    """

    name: str
    extractor: str
    options: dict[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    precision: Precision = "float32"
    transcode_fallback: bool = False

    @property
    def kind(self) -> type[Extractor]:
        """The extractor's class."""
        return EXTRACTORS.load(self.extractor)

    @property
    def input(self) -> InputKind:
        """What the extractor reads: `audio`, `frames`, `crops` or `words`."""
        return self.kind.input

    @property
    def needs(self) -> str | None:
        """The earlier stage that this one reads, if any."""
        return upstream_of(self.input)

    @property
    def every(self) -> int:
        """Which frames are sampled: every n-th.

        Raises:
            UsageError: it is not a whole number from 1.
        """
        given = {name: value for name, value in self.options.items() if name == "every"}
        try:
            return _Sampling.model_validate(given).every
        except ValueError as error:
            raise UsageError(self._explain(error)) from error

    @property
    def source(self) -> Source:
        """Which words a stage of texts reads, if its extractor has this option; else those of the transcript."""
        source: Source = getattr(self.build().config, "source", "transcript") if self.input == "words" else "transcript"
        return source

    def build(self) -> Extractor:
        """The extractor with its validated config.

        Raises:
            UsageError: an option is unknown or out of range.
        """
        cls = self.kind
        options = {k: v for k, v in self.options.items() if not (k == "every" and cls.input == "frames")}
        try:
            config = cls.Config.model_validate(options)
        except ValueError as error:
            raise UsageError(self._explain(error)) from error
        if cls.input == "frames":
            _ = self.every
        return cls(config, device=self.device, precision=self.precision)

    def _explain(self, error: ValueError) -> str:
        valid = sorted({*self.kind.Config.model_fields, *(["every"] if self.input == "frames" else [])})
        return f"{explain(error, valid, f'{self.name}.')}; options of {self.name}: {', '.join(valid) or 'none'}"


def resolve_stages(names: Sequence[str], options: Mapping[str, Mapping[str, Any]]) -> list[StageSpec]:
    """The stages called `names`, with `options` from the configuration, in the order of the flow.

    A stage beside the default ones is defined by its option `extractor`.

    Raises:
        UsageError: a stage or an option does not exist, or a stage lacks the one it reads.
    """
    known = [*DEFAULT_STAGES, *(name for name in options if name not in DEFAULT_STAGES)]
    if unknown := [name for name in [*names, *options] if name not in known]:
        near = nearest(unknown[0], known)
        raise UsageError(f"stage {unknown[0]!r} does not exist{near}; stages: {', '.join(known)}")
    if unusable := [name for name in known if not _STAGE_NAME.fullmatch(name)]:
        raise UsageError(
            f"stage {printable(unusable[0])!r}: a stage is a folder of the store: use letters, digits, _ or -"
        )
    specs = []
    for name in sorted(dict.fromkeys(names), key=known.index):
        given = dict(options.get(name, {}))
        extractor = given.pop("extractor", DEFAULT_STAGES.get(name))
        if extractor is None:
            raise UsageError(
                f"stage {name!r} is not one of {', '.join(DEFAULT_STAGES)}{nearest(name, DEFAULT_STAGES)}: "
                f"name what it runs with {name}.extractor=NAME; extractors: {', '.join(sorted(EXTRACTORS.names()))}"
            )
        if not isinstance(extractor, str):
            raise UsageError(f"{name}.extractor: expected a name (got {printable(extractor)})")
        specs.append(StageSpec(name, extractor, given))
    return specs


def placed(specs: Sequence[StageSpec], device: str, precision: Precision) -> list[StageSpec]:
    """The stages on a device and in a precision; those whose extractor runs no model on the device stay as they are.

    Raises:
        UsageError: no stage can compute in this precision.
    """
    on_device = [spec for spec in specs if spec.kind.runs_on_device]
    able = [spec for spec in on_device if precision in spec.kind.precisions]
    if precision != "float32" and not able:
        names = ", ".join(spec.name for spec in specs)
        raise UsageError(f"--precision {precision}: none of the stages {names} computes in it; leave it out")
    return [
        replace(spec, device=device, precision=precision if spec in able else "float32") if spec in on_device else spec
        for spec in specs
    ]


def describe_all(specs: Sequence[StageSpec]) -> dict[str, StageProvenance]:
    """Everything that decides the values of these stages, by stage.

    Raises:
        UsageError: an option is wrong.
        WeightsError: weights are missing or altered; the message says how to go on without them.
    """
    described = {}
    for spec in specs:
        with naming_remedies(spec, specs):
            described[spec.name] = describe(spec)
    return described


@contextmanager
def naming_remedies(spec: StageSpec, specs: Sequence[StageSpec]) -> Iterator[None]:
    """Where the weights of a stage are missing, say how a run of these stages goes on without them."""
    try:
        yield
    except WeightsError as error:
        others = ",".join(s.name for s in specs if spec.name not in (s.name, s.needs))
        small = f" (--set {spec.name}.model={PACKAGED_MODEL})" if spec.input == "words" else ""
        without = f"; or leave the stage out with --stages {others}" if others else ""
        raise WeightsError(f"stage {spec.name}: {error}{small}{without}") from error


def describe(spec: StageSpec) -> StageProvenance:
    """Everything about a stage that decides its values.

    Raises:
        UsageError: an option is wrong.
        WeightsError: the weights are missing or altered.
    """
    extractor = spec.build()
    versions = {**extractor.versions(), "mmpipe.extractor": str(extractor.revision)}
    config = extractor.config.model_dump(mode="json")
    if spec.input in ("audio", "frames"):
        versions |= media_versions()
    if spec.input == "frames":
        config["every"] = spec.every
    versions["numpy"] = importlib.metadata.version("numpy")
    on_device = extractor.runs_on_device
    return StageProvenance(
        extractor=spec.extractor,
        input=spec.input,
        config=config,
        weights=extractor.weights(),
        versions=dict(sorted(versions.items())),
        device=spec.device if on_device else None,
        precision=spec.precision if on_device else None,
    )
