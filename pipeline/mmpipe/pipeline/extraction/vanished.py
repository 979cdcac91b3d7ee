"""Media that are gone: what is finished is not replaced because of them, and a lost disk stops the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mmpipe.core.errors import CorpusError
from mmpipe.core.files import is_local
from mmpipe.manifests.io import is_file
from mmpipe.pipeline.extraction.stages import MEDIA_COLUMNS, StageSpec
from mmpipe.pipeline.media.content_hash import MediaHashes, is_hash
from mmpipe.pipeline.store.shards import read_statuses

__all__ = ["NONE_KEPT", "Census", "Kept", "find_kept", "media_of", "refuse_lost_root", "uris_of"]

_REMEDY = "mount the disk or restore the files, or name the right --root; --accept-missing goes on without them"


@dataclass(frozen=True)
class Kept:
    """Rows of a shard that keep their features though their media are gone.

    Attributes:
        places: of all rows that read these media.
        media: the hashes of these media, from the shard's footer.
        ids: the utterances that have features.
    """

    places: tuple[int, ...]
    media: Mapping[str, str]
    ids: tuple[str, ...]


NONE_KEPT = Kept((), {}, ())


def media_of(rows: pa.Table, stages: Sequence[StageSpec]) -> set[str]:
    """The media that these stages read for these rows of a manifest."""
    columns = {MEDIA_COLUMNS[spec.input] for spec in stages if spec.input in MEDIA_COLUMNS}
    return {uri for column in columns for uri in uris_of(rows, column)}


def uris_of(rows: pa.Table, column: str) -> list[str]:
    """The media that a column of a manifest names, each once."""
    return list(pc.unique(pc.struct_field(rows.column(column), "uri").drop_null()).to_pylist())


def refuse_lost_root(root: Path, manifest: pa.Table, media: MediaHashes, stages: Sequence[StageSpec]) -> None:
    """Stop where the root, or every media file of the manifest, is not there.

    Raises:
        CorpusError: so it is.
    """
    if is_local(root) and not root.is_dir():
        raise CorpusError(f"the corpus root {root} is not there: {_REMEDY}")
    if not media.by_uri or any(value != "missing" for value in media.by_uri.values()):
        return
    others = media_of(manifest, stages) - media.by_uri.keys()  # of other slices
    if not any(is_file(root / uri) for uri in sorted(others)):
        first = min(media.by_uri)
        number = len(media.by_uri) + len(others)
        raise CorpusError(f"none of the {number} media files of the manifest is in {root} (first: {first}): {_REMEDY}")


def find_kept(path: Path, rows: pa.Table, column: str, before: Mapping[str, Any], now: Mapping[str, str]) -> Kept:
    """The rows of a finished shard that are `ok` and whose media are gone.

    Args:
        path: the shard.
        rows: its rows of the manifest.
        column: the column of the manifest that names the media.
        before: content hashes of the media, from the shard's footer.
        now: content hashes of the media today.

    Raises:
        StoreError: the shard cannot be read.
    """
    gone = {uri for uri, value in before.items() if is_hash(value) and _is_gone(now.get(uri))}
    if not gone:
        return NONE_KEPT
    table = read_statuses(path, ["utterance_id", "status"])
    status = dict(zip(*(table.column(name).to_pylist() for name in table.column_names), strict=True))
    ids = rows.column("utterance_id").to_pylist()
    uris = pc.struct_field(rows.column(column), "uri").to_pylist()
    kept = {uri for i, uri in zip(ids, uris, strict=True) if uri in gone and status.get(i) == "ok"}
    places = [place for place, uri in enumerate(uris) if uri in kept]
    return Kept(
        tuple(places),
        {uri: str(before[uri]) for uri in sorted(kept)},
        tuple(ids[place] for place in places if status.get(ids[place]) == "ok"),
    )


def _is_gone(value: str | None) -> bool:
    return value in ("missing", "unreadable")


class Census:
    """Counts the media of a stage's finished shards, and those of them that are gone."""

    def __init__(self) -> None:
        self._had: dict[str, set[str]] = {}
        self._gone: dict[str, set[str]] = {}
        self._blocked: list[tuple[str, int, str, Kept]] = []

    def count(self, stage: str, before: Mapping[str, Any], now: Mapping[str, str]) -> None:
        """Count the media of a shard, by the hashes of its footer and those of today."""
        had = {uri for uri, value in before.items() if is_hash(value) and uri in now}
        self._had.setdefault(stage, set()).update(had)
        self._gone.setdefault(stage, set()).update(uri for uri in had if _is_gone(now[uri]))

    def block(self, stage: str, shard: int, reason: str, kept: Kept) -> None:
        """Note a shard that must be made again, and cannot be."""
        self._blocked.append((stage, shard, reason, kept))

    def refuse_loss(self, root: Path) -> None:
        """Stop where most media of a stage are gone, or a shard that must be made again needs media that are.

        Raises:
            CorpusError: so it is.
        """
        for stage, had in self._had.items():
            if 2 * len(gone := self._gone[stage]) > len(had):
                raise CorpusError(
                    f"{len(gone)} of the {len(had)} media files that the finished shards of stage {stage} were made "
                    f"from are not in {root} or cannot be read (first: {min(gone)}): {_REMEDY}"
                )
        for stage, shard, reason, kept in self._blocked:
            raise CorpusError(
                f"shard {shard} of stage {stage} must be made again ({reason}), but the media of {len(kept.ids)} of "
                f"its finished rows are gone (first: {next(iter(kept.media))}): restore them to {root}; "
                "--accept-missing replaces these rows by rows without features"
            )
