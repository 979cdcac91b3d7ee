"""Whether a worker of another machine makes what the run has planned: same versions, weights, store and media."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmpipe.core.files import explained, is_local, location
from mmpipe.core.scratch import scratch_beside
from mmpipe.pipeline.extraction.source import absolute
from mmpipe.pipeline.extraction.stages import StageSpec, describe
from mmpipe.pipeline.extraction.tasks import Task
from mmpipe.pipeline.media.content_hash import MISSING, UNREADABLE, is_hash, media_state
from mmpipe.pipeline.media.versions import repair_versions
from mmpipe.pipeline.store.provenance import made_by

__all__ = ["disagreement", "marked", "terms_of"]

_LISTED = 5
_NOT_THERE = (MISSING, UNREADABLE)


@dataclass(frozen=True)
class _Terms:
    """What a worker must have to run the tasks of a lane.

    Attributes:
        stages: the stages, each with what decides its values on the machine that has planned the run.
        root: the corpus root, absolute.
        store: the feature store's folder, absolute.
        mark: a file that lies in a local store during the run.
        media: a media file that the stages read, relative to the root; None where they read none.
    """

    stages: tuple[tuple[StageSpec, Mapping[str, Any]], ...]
    root: Path
    store: Path
    mark: Path | None
    media: str | None


@contextmanager
def marked(store: Path) -> Iterator[Path | None]:
    """A file in the store while the block runs: who sees it sees this store, not another folder of its name.

    The URL of an object store means the same place for everyone, so there it is None.
    """
    if not is_local(store):
        yield None
        return
    with explained(store), scratch_beside(store / "logs" / "seen") as mark:
        mark.touch()
        yield mark


def terms_of(tasks: Sequence[Task], mark: Path | None) -> _Terms:
    """The terms of some tasks of a run; `mark` is from `marked`."""
    by_stage = {task.stage.name: task for task in reversed(tasks)}
    stages = tuple((task.stage, made_by(task.provenance) | _repair(task)) for task in by_stage.values())
    media = next((uri for task in tasks for uri, value in task.provenance["media"].items() if is_hash(value)), None)
    first = tasks[0]
    seen = None if mark is None else location(absolute(mark))
    return _Terms(stages, location(absolute(first.root)), location(absolute(first.store)), seen, media)


def _repair(task: Task) -> dict[str, Any]:
    return {"repair": task.provenance["repair"]} if "repair" in task.provenance else {}


def disagreement(terms: _Terms) -> str | None:
    """What this process lacks of some terms, or has otherwise, in words; None if it agrees to all of them."""
    if problem := _place_problem(terms):
        return problem
    for spec, planned in terms.stages:
        try:
            here = describe(spec).to_json() | ({"repair": repair_versions()} if "repair" in planned else {})
        except Exception as error:  # a library that is missing may fail in any way
            return f"cannot run stage {spec.name!r} ({error})"
        if differences := [*_differences(here, planned)]:
            more = f" and {len(differences) - _LISTED} more" if len(differences) > _LISTED else ""
            return f"makes other values in stage {spec.name!r}: {'; '.join(differences[:_LISTED])}{more}"
    return None


def _place_problem(terms: _Terms) -> str | None:
    try:
        (terms.store / "store.json").read_bytes()
    except Exception as error:  # the client of an object store may raise errors of its own, or not be installed
        return f"does not see the store {terms.store} ({error})"
    if terms.mark is not None and not terms.mark.exists():
        return f"sees another folder at {terms.store} than the machine that started the run"
    if terms.media is None:
        return None
    try:
        state = media_state(terms.root, terms.media)
    except Exception as error:
        return f"cannot read the corpus root {terms.root} ({error})"
    return f"does not see the corpus root {terms.root} ({terms.media}: {state})" if state in _NOT_THERE else None


def _differences(here: Mapping[str, Any], planned: Mapping[str, Any]) -> list[str]:
    """What differs, each as `numpy 1.26.4 (planned with 2.1.0)`."""
    found = []
    for kind in sorted(here.keys() | planned.keys()):
        ours, theirs = here.get(kind), planned.get(kind)
        if isinstance(ours, dict) and isinstance(theirs, dict):
            names = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
            what = "" if kind in ("versions", "repair") else f"{kind} "
            found += [f"{what}{name} {ours.get(name)} (planned with {theirs.get(name)})" for name in names]
        elif ours != theirs:
            found.append(f"{kind} {ours} (planned with {theirs})")
    return found
