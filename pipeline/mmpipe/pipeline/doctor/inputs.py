"""Checks of what a run reads: the text model and the corpora."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmpipe.core.errors import MmpipeError
from mmpipe.core.files import is_local
from mmpipe.manifests.registry import CORPORA
from mmpipe.pipeline.doctor.finding import Finding, State

__all__ = ["NamedRoot", "check_corpora", "check_text_model"]


def check_text_model(options: Mapping[str, Any]) -> Finding:
    """Whether the text model is on this machine, or the hub would give it.

    Args:
        options: of the stage `text`.
    """
    from mmpipe.extractors.text.encoder import BertConfig
    from mmpipe.extractors.weights.checkpoints import PACKAGED_MODEL, local_model, weight_files
    from mmpipe.extractors.weights.hub import hub_refusal

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
    if (reason := hub_refusal(config.model, "config.json", config.revision)) is None:
        text = f"{config.model} is not in the cache; the first run downloads it"
        return Finding("text model", State.WARNING, text, f"for a machine without a network: {remedy}")
    text = f"{config.model} is not in the cache, and the hub does not give it ({reason})"
    return Finding("text model", State.MISSING, text, remedy)


@dataclass(frozen=True)
class NamedRoot:
    """A corpus root that the environment or the configuration names.

    Attributes:
        dataset: the corpus.
        root: the folder that is named.
        where: what names it.
    """

    dataset: str
    root: Path
    where: str


def check_corpora(roots: Sequence[NamedRoot]) -> list[Finding]:
    """Whether the corpus roots that are named can be read; names of no corpus are listed."""
    known = CORPORA.names()
    findings = [_check_root(named) for named in roots if named.dataset in known]
    if unknown := [named.where for named in roots if named.dataset not in known]:
        text = f"{', '.join(unknown)}: no corpus has that name"
        findings.append(Finding("corpora", State.WARNING, text, f"valid names: {', '.join(known)}"))
    if not findings:
        text = "no root is named: give --root FOLDER, or set MMPIPE_AMI_ROOT, when you extract your own"
        findings.append(Finding("corpora", State.OK, text))
    return findings


def _check_root(named: NamedRoot) -> Finding:
    name, root, where = f"corpus {named.dataset}", named.root, named.where
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
