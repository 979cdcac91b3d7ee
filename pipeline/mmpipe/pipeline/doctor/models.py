"""Checks of models that come from a hub or a folder."""

from __future__ import annotations

from mmpipe.core.errors import MmpipeError
from mmpipe.pipeline.doctor.finding import Finding, State
from mmpipe.pipeline.extraction.stages import StageSpec

__all__ = ["check_model"]


def check_model(name: str, spec: StageSpec) -> Finding:
    """Whether the model that a stage's options name is on this machine, or the hub would give it; it is not loaded.

    Args:
        name: of the finding.
        spec: a stage whose extractor has the options `model` and `revision`.
    """
    from mmpipe.extractors.weights.checkpoints import (
        PACKAGED_MODEL,
        local_model,
        preprocessor_files,
        tokenizer_files,
        weight_files,
    )
    from mmpipe.extractors.weights.hub import hub_refusal

    extractor = spec.build()
    model, revision = (getattr(extractor.config, option, None) for option in ("model", "revision"))
    is_text = extractor.input == "words"
    needed = tokenizer_files if is_text else preprocessor_files
    packaged = f", or `--set {spec.name}.model={PACKAGED_MODEL}` (extra `demo`)" if is_text else ""
    remedy = (
        "fill the cache where there is a network (`hf download`, then HF_HOME names its folder), or name a folder with "
        f"`--set {spec.name}.model=FOLDER`{packaged}"
    )
    try:
        if (folder := local_model(str(model), revision, needed)) is not None:
            weight_files(folder), needed(folder)
            extractor.columns()
            return Finding(name, State.OK, f"{model}: {folder}")
    except MmpipeError as error:
        return Finding(name, State.MISSING, str(error), remedy)
    if (reason := hub_refusal(str(model), "config.json", revision)) is None:
        text = f"{model} is not in the cache; the first run downloads it"
        return Finding(name, State.WARNING, text, f"for a machine without a network: {remedy}")
    return Finding(name, State.MISSING, f"{model} is not in the cache, and the hub does not give it ({reason})", remedy)
