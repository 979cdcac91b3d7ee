"""Clips named by their paths become features, in this process and without a store that stays."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mmpipe.core.errors import UsageError
from mmpipe.core.text import printable
from mmpipe.extractors.contract import Precision
from mmpipe.manifests.contract import Problem
from mmpipe.manifests.corpora.folder import Folder, FolderOptions
from mmpipe.manifests.corpora.folder_clips import AUDIO_ENDINGS, VIDEO_ENDINGS
from mmpipe.manifests.io import unsafe_uri, write_manifest
from mmpipe.manifests.schema import MANIFEST_SCHEMA, MediaSpan, Utterance, to_table
from mmpipe.pipeline.extraction.corpus import extract_corpus
from mmpipe.pipeline.extraction.engines.serial import SerialEngine
from mmpipe.pipeline.extraction.material import split_by_material
from mmpipe.pipeline.extraction.request import ExtractListener, ExtractRequest
from mmpipe.pipeline.extraction.stages import StageSpec
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.store.joined import joined_shard

__all__ = ["Clips", "clip_store", "extract", "read_clips"]

_PathLike = str | os.PathLike[str]


class Clips(ExtractListener):
    """Utterances of clips, with what is odd with them.

    Attributes:
        root: the folder that all of their media are in.
        utterances: one a clip, in their order.
        problems: what is odd.
    """

    def __init__(self, root: Path, utterances: Sequence[Utterance], problems: Sequence[Problem]) -> None:
        self.root, self.utterances, self.problems = root, list(utterances), list(problems)

    def on_problems(self, problems: Sequence[Problem]) -> None:
        """Keep what an extraction finds."""
        self.problems += problems


def extract(
    clips: _PathLike | Sequence[_PathLike],
    text: str | Sequence[str | None] | None = None,
    *,
    stages: Sequence[str] = (),
    options: Mapping[str, Mapping[str, Any]] | None = None,
    device: str = "auto",
    precision: Precision = "float32",
    workers: int = 1,
    transcode_fallback: bool = False,
) -> pa.Table:
    """Features of clips, the same as `mmpipe extract` gives for a folder of them.

    Args:
        clips: video or audio files; each is one utterance, with its audio from the file itself.
        text: what is said in each clip; None, for all or for one, takes the transcript beside the clip (the same name
            with .vtt, .srt, .TextGrid or .txt).
        stages: names of the stages, all of which give columns; none takes those of audio, faces, expression and text
            that find something to read in a clip.
        options: options of the stages, by stage, such as `{"faces": {"every": 5}}`.
        device: `auto`, `cpu` or `cuda`, for the stages whose model runs on a device.
        precision: of those stages: `float32` or `bf16`.
        workers: 1 works in this process, where a decoder that crashes ends it. More start as many processes, which a
            script must guard with `if __name__ == "__main__":`.
        transcode_fallback: repair media that cannot be decoded, with FFmpeg's own tool.

    Returns:
        One row a clip, in their order: `utterance_id`, and of each stage its columns as STAGE_COLUMN, such as
        `audio_status`, `audio_error` and `audio_features`. A row that could not be made says why. What is odd with
        the transcripts becomes a UserWarning.

    Raises:
        UsageError: a clip does not exist, is named twice or has an ending that is not one of media; the number of
            texts is not that of the clips; a stage, an option or the device does not exist.
        StoreError: a stage lacks the one that it reads.
        WeightsError: weights are missing.

    Example:
        >>> extract(["clip.mp4"], stages=["audio"]).column("audio_features")  # doctest: +SKIP
    """
    paths = [Path(clips)] if isinstance(clips, str | os.PathLike) else [Path(clip) for clip in clips]
    texts = [text] if isinstance(text, str) else [None] * len(paths) if text is None else list(text)
    if len(texts) != len(paths):
        raise UsageError(f"{len(texts)} texts for {len(paths)} clips: give one text for each clip, or None")
    if odd := [one for one in texts if not (one is None or isinstance(one, str))]:
        raise UsageError(f"the text of a clip is {odd[0]!r}: give a str, or None for the transcript beside the clip")
    if workers < 1:
        raise UsageError(f"workers is {workers}: give 1 to work in this process, or a number of processes")
    found = read_clips(paths, texts)
    request = ExtractRequest(
        Folder.name,
        found.root,
        found.root,
        stages=(stages,) if isinstance(stages, str) else stages,
        stage_options=options or {},
        device=device,
        precision=precision,
        transcode_fallback=transcode_fallback,
    )
    specs = request.specs()
    if not stages:
        specs, _ = split_by_material(to_table(found.utterances), specs)
    with clip_store(found, specs, workers) as store:
        table = _joined(store, [spec.name for spec in specs], [u.utterance_id for u in found.utterances])
    for problem in found.problems:
        warnings.warn(f"{problem.where}: {problem.message}", UserWarning, stacklevel=2)
    return table


def read_clips(clips: Sequence[Path], texts: Sequence[str | None]) -> Clips:
    """The utterances of clips.

    Args:
        clips: media files.
        texts: what is said in each; None takes the transcript beside the clip.

    Raises:
        UsageError: there is no clip, or one cannot be used.
    """
    if not clips:
        raise UsageError("no clip is named: give the path of one media file or more")
    for clip in clips:
        _check(clip)
    given = [clip.parent.resolve() / clip.name for clip in clips]
    if len(set(given)) < len(given):
        twice = next(path for path in given if given.count(path) > 1)
        raise UsageError(f"the clip {twice} is named twice: name each once")
    root = _common(given)
    files = {path.relative_to(root).as_posix(): text for path, text in zip(given, texts, strict=True)}
    prepared = Folder(FolderOptions()).prepare_files(root, files)
    # The user names these files, so a link among them is followed: media are found where they really are.
    real = [path.resolve() for path in given]
    root = _common(real)
    uris = [path.relative_to(root).as_posix() for path in real]
    utterances = [_moved(row, uri) for row, uri in zip(prepared.utterances, uris, strict=True)]
    for uri in uris:
        if printable(uri) != uri or unsafe_uri(uri):
            raise UsageError(
                f"the clip {printable(root / uri)} has a name that a manifest cannot hold: rename the file"
            )
    return Clips(root, utterances, prepared.problems)


def _check(clip: Path) -> None:
    kind, endings = clip.suffix.lower(), VIDEO_ENDINGS + AUDIO_ENDINGS
    if not clip.is_file():
        raise UsageError(f"the clip {printable(clip)} does not exist")
    if kind not in endings:
        raise UsageError(f"the clip {printable(clip)} ends in {kind!r}: expected {' '.join(endings)}")


def _common(paths: Sequence[Path]) -> Path:
    return Path(os.path.commonpath([path.parent for path in paths]))


def _moved(utterance: Utterance, uri: str) -> Utterance:
    span = MediaSpan(uri)
    return replace(utterance, audio=span, video=span if utterance.video else None)


@contextmanager
def clip_store(clips: Clips, stages: Sequence[StageSpec], workers: int = 1) -> Iterator[FeatureStore]:
    """A feature store of clips, which is removed after the block.

    Args:
        clips: from `read_clips`; takes the problems.
        stages: what to run, in the order of the flow.
        workers: processes; 1 works in this one.

    Raises:
        MmpipeError: as `extract_corpus`.
    """
    with tempfile.TemporaryDirectory(prefix="mmpipe-clips-") as folder:
        manifest = Path(folder) / "clips.parquet"
        write_manifest(to_table(clips.utterances), manifest, {})
        request = ExtractRequest(Folder.name, clips.root, Path(folder) / "store", manifest, workers=workers)
        engine = SerialEngine() if workers == 1 else None
        yield FeatureStore(extract_corpus(request, engine, clips, stages).store)


def _joined(store: FeatureStore, stages: Sequence[str], ids: Sequence[str]) -> pa.Table:
    """The columns of the stages side by side, rows in the order of `ids`."""
    shards = [joined_shard(store, shard, stages) for shard in range(store.num_shards)]
    table = pa.concat_tables(shards)
    table = table.drop_columns([name for name in MANIFEST_SCHEMA.names if name != "utterance_id"])
    return table.take(pc.index_in(pa.array(ids), table.column("utterance_id").combine_chunks()))
