"""The card of an exported dataset: its splits, and extractor, config, weights, versions and licence of every stage."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmpipe.core.errors import UsageError
from mmpipe.extractors.registry import EXTRACTORS
from mmpipe.manifests.registry import CORPORA

__all__ = ["dataset_card", "licences"]

_UNKNOWN = "Not named: ask those who made it."


def licences(corpus: str, extractors: Iterable[str]) -> dict[str, str]:
    """What is known of the licences of a corpus and of extractors, by `corpus NAME` and `extractor NAME`."""
    found = {f"corpus {corpus}": _licence_of(CORPORA, corpus)}
    return found | {f"extractor {name}": _licence_of(EXTRACTORS, name) for name in sorted(set(extractors))}


def _licence_of(registry: Any, name: str) -> str:
    try:
        return str(registry.load(name, named=True).licence or _UNKNOWN)
    except UsageError:  # the package that has it is not installed here
        return _UNKNOWN


def dataset_card(
    corpus: str,
    splits: Mapping[str, int],
    stages: Mapping[str, Sequence[Mapping[str, Any]]],
    personal: Sequence[str],
) -> str:
    """The README.md of a `datasets` folder.

    Args:
        corpus: the corpus's name.
        splits: utterances by split.
        stages: by stage, what made it; several where its shards were made with different options.
        personal: columns of transcripts and faces that the export holds.
    """
    files = "".join(f"  - split: {split}\n    path: data/{split}-*.parquet\n" for split in sorted(splits))
    known = licences(corpus, (str(made["extractor"]) for ways in stages.values() for made in ways))
    terms = "".join(f"- {what}: {terms}\n" for what, terms in known.items())
    holds = (
        f"The columns {', '.join(personal)} hold transcripts or faces of the corpus: its licence may not allow to "
        "share them."
        if personal
        else "Transcripts and pictures of faces of the corpus are left out."
    )
    return (
        f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n\n"
        f"# Features of {corpus}\n\n"
        f"{sum(splits.values())} utterances, one row each, written by `mmpipe export`. A row that failed in a stage "
        f"has null in that stage's columns and the reason in STAGE_error. {holds}\n\n"
        f"## Licences\n\n{terms}\n## Stages\n{''.join(_stage(name, ways) for name, ways in stages.items())}"
    )


def _stage(name: str, ways: Sequence[Mapping[str, Any]]) -> str:
    lines = [f"\n### {name}\n"]
    for number, made in enumerate(ways):
        if len(ways) > 1:
            lines.append(f"\nSome shards, {number + 1} of {len(ways)} kinds:\n")
        weights = "".join(f"\n  - {file}: SHA-256 `{sha}`" for file, sha in made["weights"].items()) or " none"
        lines += [
            f"\n- extractor: {made['extractor']}",
            f"\n- config: `{json.dumps(made['config'], sort_keys=True)}`",
            f"\n- weights:{weights}",
            f"\n- versions: {', '.join(f'{library} {version}' for library, version in made['versions'].items())}",
            *(f"\n- {key}: {made[key]}" for key in ("device", "precision") if key in made),
            "\n",
        ]
    return "".join(lines)
