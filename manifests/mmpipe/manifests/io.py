"""Manifests on disk: same rows, same bytes; checked when read; media resolved inside the root."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmpipe.manifests.errors import ManifestError, Rejected
from mmpipe.manifests.files import write_parquet
from mmpipe.manifests.schema import MANIFEST_SCHEMA

__all__ = ["read_manifest", "resolve_media", "unsafe_uri", "validate", "write_manifest"]

_PROTOCOL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:")


def write_manifest(manifest: pa.Table, path: Path, metadata: Mapping[str, Any]) -> None:
    """Write a manifest, checked, atomically; `metadata` goes into the footer.

    Raises:
        ManifestError: see `validate`.
    """
    validate(manifest)
    write_parquet(path, manifest.replace_schema_metadata(None), metadata)


def read_manifest(path: Path) -> pa.Table:
    """Read a manifest and check it.

    Raises:
        ManifestError: the file cannot be read, or see `validate`.
    """
    try:
        manifest = pq.read_table(path).replace_schema_metadata(None)
    except (OSError, pa.ArrowInvalid) as error:
        raise ManifestError(f"the manifest {path} cannot be read: {error}") from error
    validate(manifest, path)
    return manifest


def validate(manifest: pa.Table, path: Path | str = "the manifest") -> None:
    """Check a manifest's schema and rules.

    Rules: unique utterance ids; times finite, not negative, not backwards; media named by plain relative paths.

    Args:
        manifest: the table.
        path: what messages call it.

    Raises:
        ManifestError: the first rule that is broken, with the utterance.
    """
    _check_schema(manifest, path)
    ids = manifest.column("utterance_id").to_pylist()
    if len(set(ids)) != len(ids):
        twice, times = Counter(ids).most_common(1)[0]
        raise ManifestError(f"{path}: utterance_id {twice!r} stands {times} times; ids must be unique")
    for column in ("audio", "video"):
        for utterance_id, span in zip(ids, manifest.column(column).to_pylist(), strict=True):
            if span is not None:
                _check_span(path, utterance_id, column, span)


def _check_schema(manifest: pa.Table, path: Path | str) -> None:
    for field in MANIFEST_SCHEMA:
        if field.name not in manifest.column_names:
            raise ManifestError(
                f"{path}: column {field.name!r} is missing; expected {', '.join(MANIFEST_SCHEMA.names)}"
            )
        got = manifest.schema.field(field.name).type
        if got != field.type:
            raise ManifestError(f"{path}: column {field.name!r} has type {got}, expected {field.type}")


def _check_span(path: Path | str, utterance_id: str, column: str, span: Mapping[str, Any]) -> None:
    where = f"{path}: {utterance_id}: {column}"
    uri, start, end = span["uri"], span["start_seconds"], span["end_seconds"]
    if reason := unsafe_uri(uri):
        raise ManifestError(f"{where} names {uri!r}, {reason}; media are paths relative to the corpus root")
    if start is None or not math.isfinite(start) or start < 0:
        raise ManifestError(f"{where} starts at {start}; expected seconds of 0 or more")
    if end is not None and not (math.isfinite(end) and end > start):
        raise ManifestError(f"{where} runs from {start} to {end} s; the end must lie behind the start")


def unsafe_uri(uri: str | None) -> str | None:
    """Why a media uri is refused, or None."""
    if not uri:
        return "which is empty"
    if _PROTOCOL.match(uri):
        return "a URL or protocol string"
    if uri.startswith(("/", "\\")) or ".." in PurePosixPath(uri).parts:
        return "a path that leaves the corpus root"
    return None


def resolve_media(root: Path, uri: str) -> Path:
    """The file of a media uri, inside the corpus root.

    Raises:
        Rejected: the uri, or the link that it names, leaves the root (`media_error`).
    """
    reason = unsafe_uri(uri)
    path = root / uri
    try:
        if reason is None and not path.resolve().is_relative_to(root.resolve()):
            reason = "a link that leaves the corpus root"
    except (OSError, RuntimeError, ValueError) as error:  # a circle of links, a null byte
        reason = f"no usable path ({error})"
    if reason is not None:
        raise Rejected("media_error", f"{uri!r} is {reason}: it is not opened")
    return path
