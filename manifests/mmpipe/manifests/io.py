"""Manifests on disk: equal rows give equal bytes, reading checks the rules, and media are resolved inside the root."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mmpipe.core.errors import ManifestError, Rejected
from mmpipe.core.files import is_local
from mmpipe.core.parquet import read_parquet, write_parquet
from mmpipe.manifests.schema import MANIFEST_SCHEMA

__all__ = [
    "FOLLOW_LINKS",
    "check_held",
    "follows_links",
    "is_file",
    "lies_inside",
    "read_manifest",
    "refuse_links",
    "resolve_media",
    "unsafe_uri",
    "validate",
    "write_manifest",
]

# Read by Python and by Arrow (RE2). FFmpeg takes all of the first for protocols; `subfile` is the one with commas.
_UNSAFE = (
    (r"^$", "which is empty"),
    (r"^([A-Za-z][A-Za-z0-9+.-]*:|subfile,)", "a URL or protocol string"),
    (r"^[/\\]|(^|[/\\])\.\.([/\\]|$)", "a path that leaves the corpus root"),
    (r"\x00", "a path with a NUL character"),
)

FOLLOW_LINKS = "MMPIPE_FOLLOW_LINKS"
"""The environment variable that allows media to be links out of the corpus root, when it is 1."""

_FAR = 1e9
"""More seconds than any recording has: larger values and infinities are errors."""


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
        manifest = read_parquet(path, foreign=True).replace_schema_metadata(None)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ManifestError(f"the manifest {path} cannot be read: {error}") from error
    check_held(manifest, path)
    return manifest


def check_held(manifest: pa.Table, path: Path) -> None:
    """Check a manifest as a file held it: that its texts are UTF-8, then `validate`.

    Raises:
        ManifestError: they are not, or see `validate`.
    """
    try:
        manifest.validate(full=True)  # texts and names that are not UTF-8 would raise later, at their first use
        _ = manifest.column_names
    except (ValueError, pa.ArrowException) as error:
        raise ManifestError(f"the manifest {path} cannot be read: {error}") from error
    validate(manifest, path)


def validate(manifest: pa.Table, path: Path | str = "the manifest") -> None:
    """Check a manifest's schema and rules.

    Rules: unique utterance ids; times finite, not negative, not backwards; regions inside the frame; media named by
    plain relative paths.

    Args:
        manifest: the table.
        path: what messages call it.

    Raises:
        ManifestError: the first rule that is broken, with the utterance.
    """
    _check_schema(manifest, path)
    ids = manifest.column("utterance_id")
    if ids.null_count:
        raise ManifestError(f"{path}: row {pc.index(ids.is_null(), True).as_py()} has no utterance_id")
    if pc.count_distinct(ids).as_py() != len(ids):
        twice, times = Counter(ids.to_pylist()).most_common(1)[0]
        raise ManifestError(f"{path}: utterance_id {twice!r} stands {times} times; ids must be unique")
    for column in ("audio", "video"):
        spans = manifest.column(column)
        _check_spans(f"{path}: {{}}: {column}", ids.filter(spans.is_valid()), spans.drop_null())
    _check_words(path, manifest)


def _check_schema(manifest: pa.Table, path: Path | str) -> None:
    for field in MANIFEST_SCHEMA:
        if field.name not in manifest.column_names:
            raise ManifestError(
                f"{path}: column {field.name!r} is missing; expected {', '.join(MANIFEST_SCHEMA.names)}"
            )
        got = manifest.schema.field(field.name).type
        if got != field.type:
            raise ManifestError(f"{path}: column {field.name!r} has type {got}, expected {field.type}")


def _first(broken: Any) -> int | None:
    """The first row that breaks a rule; a null counts as broken."""
    row: int = pc.index(pc.fill_null(broken, True), True).as_py()
    return row if row >= 0 else None


def _outside(values: Any, low: float, high: float) -> Any:
    """Whether values are NaN or not in [low, high]; null where the value is."""
    return pc.invert(pc.and_(pc.greater_equal(values, low), pc.less_equal(values, high)))


def _check_spans(where: str, ids: pa.ChunkedArray, spans: pa.ChunkedArray) -> None:
    """Check spans, which are not null; `where` has a placeholder for the utterance's id."""
    uris, starts, ends = (pc.struct_field(spans, name) for name in ("uri", "start_seconds", "end_seconds"))
    for pattern, _ in _UNSAFE:
        if (row := _first(pc.match_substring_regex(uris, pattern))) is not None:
            uri = uris[row].as_py()
            which = f"{where.format(ids[row])} names {uri!r}, {unsafe_uri(uri)}"
            raise ManifestError(f"{which}; media are paths relative to the corpus root")
    if (row := _first(_outside(starts, 0, _FAR))) is not None:
        raise ManifestError(f"{where.format(ids[row])} starts at {starts[row]}; expected seconds of 0 or more")
    ended = pc.invert(pc.and_(pc.greater(ends, starts), pc.less_equal(ends, _FAR)))
    if (row := _first(pc.and_kleene(ends.is_valid(), ended))) is not None:
        times = f"from {starts[row]} to {ends[row]} s"
        raise ManifestError(f"{where.format(ids[row])} runs {times}; the end must be after the start")
    if spans.type.get_field_index("region") >= 0:
        regions = pc.struct_field(spans, "region")
        _check_regions(where, ids.filter(regions.is_valid()), regions.drop_null())


def _check_regions(where: str, ids: pa.ChunkedArray, regions: pa.ChunkedArray) -> None:
    for place, size in (("x", "width"), ("y", "height")):
        first, length = pc.struct_field(regions, place), pc.struct_field(regions, size)
        broken = pc.or_kleene(_outside(first, 0, 1), _outside(pc.add(first, length), 0, 1 + 1e-9))
        if (row := _first(pc.or_kleene(broken, pc.invert(pc.greater(length, 0))))) is not None:
            raise ManifestError(f"{where.format(ids[row])} has the region {regions[row].as_py()}: not inside the frame")


def _check_words(path: Path | str, manifest: pa.Table) -> None:
    for name in ("start_seconds", "end_seconds"):
        times = pc.struct_field(pc.list_flatten(manifest.column("words")), name)
        if (word := _first(pc.and_kleene(times.is_valid(), _outside(times, -_FAR, _FAR)))) is not None:
            row = pc.list_parent_indices(manifest.column("words"))[word].as_py()
            which = manifest.column("utterance_id")[row]
            raise ManifestError(f"{path}: {which}: a word has the {name} {times[word]}; expected seconds, or null")


def unsafe_uri(uri: str | None) -> str | None:
    """Why a media uri is refused, or None.

    Example:
        >>> unsafe_uri("a/b.wav"), unsafe_uri("concat:a.wav|b.wav")
        (None, 'a URL or protocol string')
    """
    # Python's `$` also matches before a newline at the end, Arrow's does not.
    return next((why for pattern, why in _UNSAFE if re.search(pattern.replace("$", r"\Z"), uri or "")), None)


def is_file(path: Path) -> bool:
    """Whether a file is there; a path that the system cannot look up (too long, a circle of links) names none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def lies_inside(path: Path, root: Path) -> bool:
    """Whether a path lies in `root` once its links are followed; a path that cannot be followed lies nowhere."""
    try:
        return path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError):  # a circle of links, a NUL character
        return False


def follows_links() -> bool:
    """Whether the user allows media to be links out of the corpus root (`--follow-links`)."""
    return os.environ.get(FOLLOW_LINKS) == "1"


def refuse_links(manifest: pa.Table, root: Path) -> None:
    """Check that no media file of a manifest is a link out of `root`, or is in a linked folder outside of it.

    Raises:
        ManifestError: one does, and the user does not allow it.
    """
    if follows_links() or not is_local(root):  # an object store has none
        return
    spans = (pc.struct_field(manifest.column(column).drop_null(), "uri").unique() for column in ("audio", "video"))
    uris = sorted({uri for column in spans for uri in column.to_pylist()})
    folders: dict[str, bool] = {}
    for uri in uris:
        folder, path = uri.rpartition("/")[0], root / uri
        if folder not in folders:
            folders[folder] = lies_inside(path.parent, root)
        if not folders[folder] or (_is_link(path) and not lies_inside(path, root)):
            raise ManifestError(
                f"{uri!r} is a link that leaves the corpus root {root}: it points to {os.path.realpath(path)}. "
                "Give the folder that really holds the media as --root, or allow links with --follow-links"
            )


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except (OSError, ValueError):
        return False


def resolve_media(root: Path, uri: str) -> Path:
    """The file of a media uri, inside the corpus root.

    Raises:
        Rejected: the uri, or a link that the user does not allow, leaves the root (`media_error`).
    """
    reason = unsafe_uri(uri)
    path = root / uri
    try:
        if reason is None and not follows_links() and not path.resolve().is_relative_to(root.resolve()):
            reason = "a link that leaves the corpus root (--follow-links allows it)"
    except (OSError, RuntimeError, ValueError) as error:  # a circle of links, a null byte
        reason = f"not a usable path ({error})"
    if reason is not None:
        raise Rejected("media_error", f"{uri!r} is {reason}: it is not opened")
    return path
