"""What store.json may hold: a store may come from somebody else, or from a disk that lost half of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from mmpipe.core.parquet import glance
from mmpipe.core.text import is_safe_name, printable

__all__ = ["check_described"]

_FEW_SHARDS = 10_000
"""Up to which their number is believed without a look at the manifest."""

_Count = Annotated[int, Field(ge=0, lt=1 << 31, strict=True)]


class _Manifest(BaseModel):
    rows: _Count
    shards: _Count
    sha256: str | None = None


class _Stage(BaseModel):
    extractor: str = "?"
    input: str = "?"
    config: dict[str, Any] = {}
    weights: dict[str, str] = {}
    versions: dict[str, str] = {}
    device: str | None = None
    precision: str | None = None


class _Described(BaseModel):
    corpus: str
    manifest: _Manifest
    stages: dict[str, _Stage]
    mmpipe: str
    dropping: list[str] = []
    excluded: dict[str, Any] = {}


def check_described(info: dict[str, Any], manifest: Path) -> str | None:
    """What is wrong with what a store.json holds, or None.

    Args:
        info: what it holds.
        manifest: the store's manifest, whose rows are counted where the number of shards is large.
    """
    try:
        described = _Described.model_validate(info)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(printable(part)[:80] for part in first["loc"])
        return f"{where}: {first['msg']}"
    if unsafe := [name for name in described.stages if not is_safe_name(name)]:
        return f"the stage {unsafe[0][:80]!r} has a name that is not one of a folder"
    shards = described.manifest.shards
    if shards > described.manifest.rows:
        return f"it has {shards} shards for {described.manifest.rows} utterances"
    if shards > _FEW_SHARDS:
        try:
            rows = glance(manifest).rows
        except (OSError, ValueError) as error:
            return f"its manifest cannot be read: {error}"
        if shards > rows:
            return f"it has {shards} shards, its manifest {rows} utterances"
    return None
