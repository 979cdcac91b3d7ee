"""What made the features of a stage: extractor, config, weights, library versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

__all__ = ["StageProvenance", "made_by", "upstream_of"]

_OF_ROWS = ("rows", "media", "upstream", "stage", "repair")
"""The entries of a shard's provenance that differ from one shard to the next."""


_UPSTREAM = {"crops": "faces"}
"""The stage whose shards an extractor reads, by its input kind; other kinds come from the manifest and its media."""


def upstream_of(kind: str | None) -> str | None:
    """The stage that a stage of this input kind reads, if it reads one."""
    return _UPSTREAM.get(kind or "")


def made_by(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """What a shard's provenance says of all shards of its stage: extractor, config, weights, versions, device."""
    return {name: value for name, value in provenance.items() if name not in _OF_ROWS}


@dataclass(frozen=True)
class StageProvenance:
    """Everything about a stage that decides its values. It is in store.json and in the footer of every shard.

    Attributes:
        extractor: its name in the registry.
        input: the kind of item that it reads.
        config: its config as plain values.
        weights: name -> SHA-256 of each weight file.
        versions: name -> version of the libraries that change the values.
        device: `cpu` or `cuda` for an extractor whose model runs on the chosen device, else None.
        precision: `float32` or `bf16` for such an extractor, else None.
    """

    extractor: str
    input: str
    config: dict[str, Any]
    weights: dict[str, str]
    versions: dict[str, str]
    device: str | None = None
    precision: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain values; what is None is left out."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> StageProvenance:
        """From plain values; what a store of another version does not say is empty."""
        empty: dict[str, Any] = {"extractor": "?", "input": "?", "config": {}, "weights": {}, "versions": {}}
        known = {field.name for field in fields(cls)}
        return cls(**empty | {name: entry for name, entry in value.items() if name in known})
