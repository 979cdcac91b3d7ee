"""Checks of what a run reads and writes elsewhere: the corpora, and places on object stores."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmpipe.core.environment import refused
from mmpipe.core.errors import CorpusError, UsageError
from mmpipe.core.files import is_local
from mmpipe.manifests.prepare import corpus_reader
from mmpipe.manifests.registry import CORPORA
from mmpipe.pipeline.doctor.finding import Finding, State

__all__ = ["NamedRoot", "check_corpora", "check_object_store"]

_PATIENCE_SECONDS = 3.0
"""What an object store is waited for."""


@dataclass(frozen=True)
class NamedRoot:
    """A corpus root that the environment or the configuration names.

    Attributes:
        dataset: the corpus.
        root: the folder that is named.
        where: what names it.
        options: of the corpus.
    """

    dataset: str
    root: Path
    where: str
    options: Mapping[str, Any] = field(default_factory=dict)


def check_corpora(roots: Sequence[NamedRoot]) -> list[Finding]:
    """Whether the corpus roots that are named look like their corpus; names of no corpus are listed."""
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
        return check_object_store(name, root, f"correct {where}")
    try:
        empty = next(root.expanduser().iterdir(), None) is None
    except OSError as error:
        remedy = f"correct {where}, or let this user ({os.getuid()}) read it; in a container, mount it"
        return Finding(name, State.MISSING, f"{root} cannot be read: {error.strerror}", remedy)
    if empty:
        return Finding(name, State.MISSING, f"{root} is empty", f"is it mounted? Else correct {where}")
    try:
        corpus_reader(named.dataset, named.options).check(root.expanduser())
    except (CorpusError, UsageError) as error:
        return Finding(name, State.MISSING, str(error), f"correct {where}")
    except OSError as error:
        return Finding(name, State.MISSING, f"{error.filename or root} cannot be read: {error.strerror}", where)
    return Finding(name, State.OK, str(root))


def check_object_store(name: str, path: Path, remedy: str) -> Finding:
    """Whether an object store answers, by one request about a place; it is waited for during three seconds.

    Args:
        name: of the finding.
        path: the place.
        remedy: what to do if nothing is there.
    """
    answers: list[Finding] = []

    def ask() -> None:
        remote: Any = path
        try:
            remote.fs.info(remote.path)
        except FileNotFoundError:
            answers.append(Finding(name, State.MISSING, f"nothing is at {path}, or the bucket does not exist", remedy))
        except ImportError as error:
            command = "`pip install 'mmpipe[s3]'`" if path.as_posix().startswith("s3") else "install it"
            answers.append(Finding(name, State.MISSING, f"{path} needs a package: {error}", command))
        except Exception as error:  # clients of object stores raise the errors of several libraries
            why = refused(error)
            text, todo = (why.reason, why.remedy) if why else (f"{type(error).__name__}: {error}", remedy)
            answers.append(Finding(name, State.MISSING, f"{path} cannot be read: {text}", todo))
        else:
            answers.append(Finding(name, State.OK, f"{path}: the object store answers"))

    asking = threading.Thread(target=ask, daemon=True)  # the client tries again for minutes
    asking.start()
    asking.join(_PATIENCE_SECONDS)
    if answers:
        return answers[0]
    text = f"{path}: the object store did not answer within {_PATIENCE_SECONDS:g} s"
    return Finding(name, State.WARNING, text, "check the network, the credentials and AWS_ENDPOINT_URL")
