"""Checks of the stages of an extraction: each with its options, its weights, and one small item that it runs on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from mmpipe.core.errors import MmpipeError, Rejected
from mmpipe.extractors.contract import SAMPLING_RATE_HZ, Audio, Extractor, Frame
from mmpipe.extractors.faces.ferplus import CROP_SIZE
from mmpipe.pipeline.doctor.finding import Finding, State
from mmpipe.pipeline.doctor.models import check_model
from mmpipe.pipeline.extraction.stages import StageSpec

__all__ = ["check_stage", "stage_checks"]


def stage_checks(specs: Sequence[StageSpec]) -> dict[str, Callable[[], Finding]]:
    """A check for each stage, by name: of those with a model of a hub whether it is here, of others a small run."""
    from mmpipe.extractors.audio.speech_encoder import SpeechEncoderConfig
    from mmpipe.extractors.text.encoder import BertConfig

    checks: dict[str, Callable[[], Finding]] = {}
    for spec in specs:
        has_model = isinstance(spec.build().config, BertConfig | SpeechEncoderConfig)
        name = f"{spec.name} model" if has_model else f"stage {spec.name}"
        checks[name] = partial(check_model if has_model else check_stage, name, spec)
    return checks


def check_stage(name: str, spec: StageSpec) -> Finding:
    """Run a stage's extractor on a generated item: half a second of noise, a gray frame, a gray crop or a word."""
    try:
        extractor = _measured(spec).build()
        extractor.weights()
        extractor.prepare()
        (row,) = extractor.extract([_item(extractor)])
    except MmpipeError as error:
        remedy = f"correct the options of {spec.name}, or leave it out with --stages"
        return Finding(name, State.MISSING, str(error), remedy)
    except Exception as error:  # an extractor of another package raises anything
        remedy = f"reinstall what {spec.extractor} loads, or leave {spec.name} out with --stages"
        return Finding(name, State.MISSING, f"{spec.extractor} fails: {type(error).__name__}: {error}", remedy)
    if isinstance(row, Rejected):
        if row.status == "extractor_error":
            remedy = f"reinstall what {spec.extractor} loads, or leave {spec.name} out with --stages"
            return Finding(name, State.MISSING, f"{spec.extractor} fails: {row}", remedy)
        return Finding(name, State.OK, f"{spec.extractor} runs ({row.status} in a generated item)")
    features = row.get("features")
    shown = "" if features is None else f": {np.asarray(features).shape[-1]} values"
    if features is not None and not np.isfinite(np.asarray(features, np.float64)).all():
        remedy = "reinstall what it loads for this machine's processor"
        return Finding(name, State.MISSING, f"{spec.extractor} gives values that are not finite", remedy)
    return Finding(name, State.OK, f"{spec.extractor} runs{shown}")


def _measured(spec: StageSpec) -> StageSpec:
    """The stage with statistics of crops, which a run measures before it starts."""
    if spec.options.get("statistics") != "corpus":
        return spec
    return replace(spec, options={"mean": 128.0, "std": 64.0} | spec.options)


def _item(extractor: Extractor) -> Any:
    generator = np.random.default_rng(0)
    match extractor.input:
        case "audio":
            return Audio(generator.normal(0, 0.1, SAMPLING_RATE_HZ // 2).astype(np.float32))
        case "frames":
            return [Frame(np.full((120, 160, 3), 128, np.uint8), 0, 0.0, "generated")]
        case "crops":
            return np.full((1, CROP_SIZE, CROP_SIZE), 128, np.uint8)
        case "words":
            return ["word"]
