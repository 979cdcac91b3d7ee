"""Is a stage of a store what its footers, its upstream stage and store.json say that it is?

The footers are read, not the rows: readers check the bytes of every shard that they read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from mmpipe.core.files import canonical_json, forget_listings
from mmpipe.core.parquet import Footer, glance
from mmpipe.pipeline.store.provenance import made_by, upstream_of
from mmpipe.pipeline.store.shards import MAKE_AGAIN, misplaced, shard_path

__all__ = ["StageCheck", "check_stage", "extra_files", "ranges", "remedy"]

_EXTRA = "is not a shard of this store"


@dataclass(frozen=True)
class StageCheck:
    """What a look at the footers of a stage found.

    Attributes:
        footers: of the shards that are there and can be read, by number.
        problems: by path relative to the store, what is wrong with a file.
        ways: what made the shards: each set of extractor, config, weights and versions, with the numbers of its shards.
    """

    footers: dict[int, Footer] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    ways: list[tuple[dict[str, Any], list[int]]] = field(default_factory=list)

    def difference(self, planned: Mapping[str, Any]) -> str | None:
        """How the shards differ from each other, or from what store.json says; None if they do not."""
        every = [*self.ways, *([(dict(planned), list[int]())] if self.ways else [])]
        leaves = [dict(_leaves(way)) for way, _ in every]
        keys = sorted({key for leaf in leaves for key in leaf if any(leaf.get(key) != o.get(key) for o in leaves)})
        if not keys:
            return None
        return "; ".join(
            f"{'shards ' + ranges(numbers) if numbers else 'store.json'} with "
            + ", ".join(f"{key} = {leaf.get(key)}" for key in keys[:3])
            for leaf, (_, numbers) in zip(leaves, every, strict=True)
        )


def check_stage(store: Path, stage: str, shards: int) -> StageCheck:
    """Look at the footers of all shards of a stage that are there.

    Args:
        store: the store's folder.
        stage: the stage.
        shards: how many the store has of each stage.
    """
    found = StageCheck(problems=dict.fromkeys(extra_files(store, stage, shards), _EXTRA))
    ways: dict[str, tuple[dict[str, Any], list[int]]] = {}
    for number in range(shards):
        path = shard_path(store, stage, number)
        try:
            footer = glance(path)
            made = made_by(footer.metadata["provenance"])
            problem = misplaced(path, footer) or _of_other_upstream(store, number, footer)
            if not isinstance(footer.metadata["fingerprint"], str):
                problem = "has a footer that does not say what made it"
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            problem = f"cannot be read ({type(error).__name__}: {error})"
        if problem:
            found.problems[f"{stage}/{path.name}"] = problem
            continue
        found.footers[number] = footer
        ways.setdefault(canonical_json(made), (made, []))[1].append(number)
    found.ways.extend(ways.values())
    return found


def _of_other_upstream(store: Path, number: int, footer: Footer) -> str | None:
    """Whether a shard was made from another shard of the stage before it than the one that is there now."""
    provenance = footer.metadata["provenance"]
    if "upstream" not in provenance or (stage := upstream_of(provenance.get("input"))) is None:
        return None
    try:
        now = glance(shard_path(store, stage, number))
    except (OSError, ValueError):  # removed to save room, or damaged, which its own readers find
        return None
    made_from = footer.metadata.get("upstream", now.seal)  # earlier versions name the fingerprint only
    if provenance["upstream"] == now.metadata.get("fingerprint") and made_from == now.seal:
        return None
    return f"was made from another shard of stage {stage!r} than the one that is there"


def extra_files(store: Path, stage: str, shards: int) -> list[str]:
    """Files in the folder of a stage that are not shards of the store, by their path relative to the store.

    Names that begin with a dot are left out: shards that are being written have them.
    """
    folder, known = store / stage, {shard_path(store, stage, number).name for number in range(shards)}
    forget_listings(folder)
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    forget_listings(folder)
    return sorted(f"{stage}/{name}" for name in names if not name.startswith(".") and name not in known)


def remedy(problem: str) -> str:
    """What to do about a problem of `check_stage`."""
    return "remove it" if problem == _EXTRA else MAKE_AGAIN


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else key)
    else:
        yield name, value


def ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers, runs of them as ranges.

    Example:
        >>> ranges([0, 3, 4, 5, 9])
        '0, 3-5, 9'
    """
    runs = [[number for _, number in run] for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)
