"""Checks of what a run reads: the text model and the corpora."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmpipe.manifests.errors import MmpipeError
from mmpipe.manifests.files import is_local, location
from mmpipe.manifests.registry import CORPORA
from mmpipe.pipeline.config import Settings, root_variable
from mmpipe.pipeline.doctor.finding import Finding, State

__all__ = ["check_corpora", "check_text_model"]


def check_text_model(options: Mapping[str, Any]) -> Finding:
    """Whether the text model lies on this machine, or the hub would give it.

    Args:
        options: of the stage `text`.
    """
    from mmpipe.extractors.bert import BertConfig
    from mmpipe.extractors.checkpoints import PACKAGED_MODEL, hub_refusal, local_model, weight_files

    given = {name: options[name] for name in ("model", "revision") if name in options}
    config = BertConfig.model_validate(given)
    remedy = (
        "fill the cache where there is a network (`hf download`, then HF_HOME names its folder), name a folder with "
        f"`--set text.model=FOLDER`, or `--set text.model={PACKAGED_MODEL}` (extra `demo`)"
    )
    try:
        if (folder := local_model(config.model, config.revision)) is not None:
            weight_files(folder)
            return Finding("text model", State.OK, f"{config.model}: {folder}")
    except MmpipeError as error:
        return Finding("text model", State.MISSING, str(error), remedy)
    if (reason := hub_refusal(config.model, config.revision)) is None:
        text = f"{config.model} is not in the cache; the first run downloads it"
        return Finding("text model", State.WARNING, text, f"for a machine without a network: {remedy}")
    text = f"{config.model} is not in the cache, and the hub does not give it ({reason})"
    return Finding("text model", State.MISSING, text, remedy)


def check_corpora(settings: Settings, environment: Mapping[str, str]) -> list[Finding]:
    """The corpus roots that the environment or mmpipe.toml names, each with whether it can be read."""
    findings = []
    for dataset in CORPORA:
        variable = root_variable(dataset)
        named = environment.get(variable) or settings.datasets.get(dataset, {}).get("root")
        if named:
            findings.append(_check_root(dataset, location(str(named)), f"{variable} or [datasets.{dataset}]"))
    known = {root_variable(dataset) for dataset in CORPORA}
    unknown = sorted(n for n in environment if n.startswith("MMPIPE_") and n.endswith("_ROOT") and n not in known)
    unknown += [f"[datasets.{name}]" for name in settings.datasets if name not in CORPORA]
    if unknown:
        text = f"{', '.join(unknown)}: no corpus has that name"
        findings.append(Finding("corpora", State.WARNING, text, f"valid names: {', '.join(CORPORA)}"))
    if not findings:
        remedy = f"give --root FOLDER, or set {root_variable('ami')}"
        findings.append(Finding("corpora", State.OK, f"no root is named: {remedy}, when you extract your own"))
    return findings


def _check_root(dataset: str, root: Path, where: str) -> Finding:
    name = f"corpus {dataset}"
    if not is_local(root):
        return Finding(name, State.OK, f"{root} (on an object store: not looked at)")
    try:
        empty = next(root.expanduser().iterdir(), None) is None
    except OSError as error:
        remedy = f"correct {where}, or let this user ({os.getuid()}) read it; in a container, mount it"
        return Finding(name, State.MISSING, f"{root} cannot be read: {error.strerror}", remedy)
    if empty:
        return Finding(name, State.MISSING, f"{root} is empty", f"is it mounted? Else correct {where}")
    return Finding(name, State.OK, str(root))
