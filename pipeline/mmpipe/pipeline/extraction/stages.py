"""Stages: an extractor applied to the rows of one shard.

A stage is a name, an extractor and its config. What it reads follows from the extractor's input kind: `audio`, `frames`
and `words` come from the manifest and its media, `crops` from the rows of the stage `faces`.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from mmpipe.core.errors import Rejected, UsageError
from mmpipe.extractors.contract import Extractor, Frame, Row
from mmpipe.extractors.registry import EXTRACTORS
from mmpipe.manifests.schema import MediaSpan, Utterance

__all__ = ["DEFAULT_STAGES", "FACES", "StageSpec", "describe", "item_makers", "resolve_stages", "run_stage"]

FACES = "faces"
"""The stage whose crops feed the stages of input kind `crops`."""

DEFAULT_STAGES: dict[str, str] = {
    "audio": "is10",
    FACES: "face-crops",
    "expression": "densenet-ferplus",
    "text": "bert",
}
"""The stages of the paper and their extractors, in the order of the flow."""

EVERY_NTH_FRAME = 10
"""The paper's sampling of video (section 4.2)."""


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
    precision: str = "float32"
    transcode_fallback: bool = False

    @property
    def input(self) -> str:
        """What the extractor reads: `audio`, `frames`, `crops` or `words`."""
        return EXTRACTORS.load(self.extractor).input

    @property
    def needs(self) -> str | None:
        """The earlier stage that this one reads, if any."""
        return FACES if self.input == "crops" else None

    @property
    def every(self) -> int:
        """Which frames are sampled: every n-th."""
        return int(self.options.get("every", EVERY_NTH_FRAME))

    def build(self) -> Extractor:
        """The extractor with its validated config.

        Raises:
            UsageError: an option is unknown or out of range.
        """
        cls = EXTRACTORS.load(self.extractor)
        options = {k: v for k, v in self.options.items() if not (k == "every" and cls.input == "frames")}
        try:
            config = cls.Config.model_validate(options)
        except ValueError as error:
            raise UsageError(_explain(self.name, cls, error)) from error
        return cls(config, device=self.device, precision=self.precision)


def _explain(stage: str, cls: type[Extractor], error: ValueError) -> str:
    problems = []
    for detail in getattr(error, "errors", list)():
        where = ".".join(str(part) for part in detail["loc"])
        problems.append(f"{stage}.{where}: {detail['msg']} (got {detail['input']!r})")
    valid = sorted({*cls.Config.model_fields, *(["every"] if cls.input == "frames" else [])})
    return f"{'; '.join(problems) or error}; options of {stage}: {', '.join(valid) or 'none'}"


def resolve_stages(
    names: Sequence[str],
    options: dict[str, dict[str, Any]],
    *,
    device: str = "cpu",
    precision: str = "float32",
) -> list[StageSpec]:
    """The stages called `names`, with `options` from the configuration, in the order of the flow.

    A stage beside the default ones is defined by its option `extractor`.

    Raises:
        UsageError: a stage or an option does not exist, or a stage lacks the one it reads.
    """
    known = [*DEFAULT_STAGES, *(name for name in options if name not in DEFAULT_STAGES)]
    if unknown := [name for name in [*names, *options] if name not in known]:
        raise UsageError(f"stage {unknown[0]!r} does not exist; stages: {', '.join(known)}")
    specs = []
    for name in sorted(names, key=known.index):
        given = dict(options.get(name, {}))
        extractor = given.pop("extractor", DEFAULT_STAGES.get(name))
        if extractor is None:
            raise UsageError(
                f"stage {name!r} is not one of {', '.join(DEFAULT_STAGES)}: name what it runs with "
                f"{name}.extractor=NAME; extractors: {', '.join(sorted(EXTRACTORS.names()))}"
            )
        specs.append(StageSpec(name, extractor, given, device, precision))
    return specs


def describe(spec: StageSpec) -> dict[str, Any]:
    """Everything about a stage that decides its values, as JSON: it goes into store.json and every footer.

    Raises:
        UsageError: an option is wrong.
        WeightsError: the weights are missing or altered.
    """
    from mmpipe.pipeline.media.readers import media_versions
    from mmpipe.pipeline.media.repair import repair_versions

    extractor = spec.build()
    versions = {**extractor.versions(), "mmpipe.extractor": str(extractor.revision)}
    config = extractor.config.model_dump(mode="json")
    if spec.input in ("audio", "frames"):
        versions |= media_versions()
        if spec.transcode_fallback:
            versions |= repair_versions()
            config["transcode_fallback"] = True
    if spec.input == "frames":
        config["every"] = spec.every
    versions["numpy"] = importlib.metadata.version("numpy")
    return {
        "extractor": spec.extractor,
        "input": spec.input,
        "config": config,
        "weights": extractor.weights(),
        "versions": dict(sorted(versions.items())),
        "device": spec.device,
        "precision": spec.precision,
    }


class Inputs:
    """Makes the items of an extractor from manifest rows; keeps decoders open between the rows of a shard."""

    def __init__(self, root: Path, every: int, *, transcode_fallback: bool = False) -> None:
        from mmpipe.pipeline.media.readers import AudioReader, VideoReader
        from mmpipe.pipeline.media.repair import Repair

        self._root = root
        self._audio, self._video = AudioReader(), VideoReader(every)
        self._repair = Repair() if transcode_fallback else None
        self._repaired_audio, self._repaired_video = AudioReader(), VideoReader(every)

    def audio(self, utterance: Utterance) -> Any:
        """The waveform of the utterance's audio span."""
        from mmpipe.manifests.io import resolve_media

        if utterance.audio is None:
            raise Rejected("no_audio", "the manifest names no audio for this utterance")
        path = resolve_media(self._root, utterance.audio.uri)
        try:
            return self._audio.read(path, utterance.audio)
        except Rejected as error:
            if self._repair is None or error.status != "media_error":
                raise
            return self._repaired_audio.read(self._repair(path, error), utterance.audio)

    def frames(self, utterance: Utterance) -> Iterator[Frame]:
        """The sampled frames of the utterance's video span, decoded as they are asked for."""
        from mmpipe.manifests.io import resolve_media

        if utterance.video is None:
            raise Rejected("no_video", "the manifest names no video for this utterance")
        return self._frames(resolve_media(self._root, utterance.video.uri), utterance.video)

    def _frames(self, path: Path, span: MediaSpan) -> Iterator[Frame]:
        last = -1
        try:
            for frame in self._video.frames(path, span):
                last = frame.index
                yield frame
        except Rejected as error:
            if self._repair is None or error.status != "media_error":
                raise
            for frame in self._repaired_video.frames(self._repair(path, error), span):
                if frame.index > last:
                    yield replace(frame, source=f"{path}:{frame.index}:{span.region}:repaired")

    @staticmethod
    def words(utterance: Utterance) -> list[str]:
        """The utterance's words; where the manifest has no word list, its text cut at white space."""
        if utterance.words:
            return [word.text for word in utterance.words]
        words = (utterance.text or "").split()
        if not words:
            raise Rejected("no_text", "the transcript of this utterance is empty")
        return words


def _crops(row: dict[str, Any]) -> Any:
    from mmpipe.extractors.faces.crops import decode_crops

    if row["status"] != "ok":
        raise Rejected(row["status"], f"{FACES}: {row['error']}")
    return decode_crops(row["crops"])


def run_stage(
    spec: StageSpec,
    extractor: Extractor,
    utterances: Sequence[Utterance],
    root: Path,
    upstream: pa.Table | None,
) -> list[Row | Rejected]:
    """The rows of one shard, in order: an error of any kind costs its own row only.

    Args:
        spec: the stage.
        extractor: its extractor, prepared.
        utterances: the shard's rows of the manifest.
        root: the corpus root.
        upstream: the same shard of the stage that this one needs, if it needs one.
    """
    if upstream is None:
        return _answer(extractor, item_makers(spec, utterances, root))
    rows = upstream.select(["utterance_id", "status", "error", "crops"]).to_pylist()
    assert [row["utterance_id"] for row in rows] == [u.utterance_id for u in utterances]
    return _answer(extractor, [partial(_crops, row) for row in rows])


def item_makers(spec: StageSpec, utterances: Sequence[Utterance], root: Path) -> list[Callable[[], Any]]:
    """One call for each utterance that decodes its item, or raises `Rejected`; to be called in order."""
    make = getattr(Inputs(root, spec.every, transcode_fallback=spec.transcode_fallback), spec.input)
    return [partial(make, utterance) for utterance in utterances]


def _answer(extractor: Extractor, makers: Sequence[Callable[[], Any]]) -> list[Row | Rejected]:
    answers: list[Row | Rejected | None] = [None] * len(makers)
    places: list[int] = []

    def items() -> Iterable[Any]:
        for place, make in enumerate(makers):
            try:
                item = make()
            except Rejected as rejected:
                answers[place] = rejected
            else:
                places.append(place)
                yield item

    try:
        good = list(extractor.extract(items()))
    except Exception as error:  # an extractor failed on a batch: find the item that it fails on
        if len(makers) == 1:
            return [Rejected("extractor_error", f"{type(extractor).__name__}: {type(error).__name__}: {error}")]
        return [answer for make in makers for answer in _answer(extractor, [make])]
    for place, answer in zip(places, good, strict=True):
        answers[place] = answer
    assert all(answer is not None for answer in answers)
    return [answer for answer in answers if answer is not None]
