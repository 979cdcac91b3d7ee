"""The items of an extractor: decoded from media, or taken from the rows of the faces stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from mmpipe.core.errors import Rejected, ResourceError
from mmpipe.core.files import is_local
from mmpipe.core.object_cache import Held, ObjectCache
from mmpipe.extractors.contract import Audio, Frame
from mmpipe.manifests.io import resolve_media
from mmpipe.manifests.schema import MediaSpan, Utterance
from mmpipe.pipeline.extraction.stages import FACES, StageSpec
from mmpipe.pipeline.extraction.transcript_words import Source, transcript_words
from mmpipe.pipeline.media.notes import Note
from mmpipe.pipeline.media.readers import AudioReader, VideoReader
from mmpipe.pipeline.media.repair import Repair

__all__ = ["Inputs", "Item", "crop_makers", "item_makers"]


@dataclass(slots=True)
class Item:
    """What an extractor reads of one utterance, and what is odd with its media.

    Attributes:
        value: an `Audio`, an iterable of `Frame`, crops or words.
        notes: filled while the value is made, or while its frames are read.
    """

    value: Any
    notes: list[Note] = field(default_factory=list)


class Inputs:
    """Makes the items of an extractor from manifest rows; keeps decoders open between the rows of a shard."""

    def __init__(
        self,
        root: Path,
        every: int,
        *,
        transcode_fallback: bool = False,
        source: Source = "transcript",
        cache: ObjectCache | None = None,
    ) -> None:
        self._root, self._source, self._cache = root, source, cache
        self._held: dict[str, tuple[Path, Held]] = {}
        self._audio, self._video = AudioReader(), VideoReader(every)
        self._repair = Repair() if transcode_fallback else None
        self._repaired_audio, self._repaired_video = AudioReader(), VideoReader(every)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files that are open, and remove repaired copies."""
        for reader in (self._audio, self._video, self._repaired_audio, self._repaired_video):
            reader.close()
        if self._repair is not None:
            self._repair.close()
        for _, held in self._held.values():
            held.release()
        self._held.clear()

    def _file(self, kind: str, uri: str) -> Path:
        """The media file of a uri; that of an object store as a local file, until another of its kind is asked for.

        Raises:
            Rejected: it is not to be opened, or the object store refuses (`media_error`).
        """
        path = resolve_media(self._root, uri)
        if self._cache is None or is_local(path):
            return path
        before = self._held.get(kind)
        if before is None or before[0] != path:
            try:
                self._held[kind] = path, self._cache.hold(path)
            except ResourceError as error:
                raise Rejected("media_error", f"{path.name}: {error}") from error
            if before is not None:
                before[1].release()
        return self._held[kind][1].path

    def item(self, kind: str, utterance: Utterance) -> Item:
        """The item of a kind (`audio`, `frames` or `words`) of an utterance.

        Raises:
            Rejected: there is none; that of frames may also be raised while they are read.
        """
        item = Item(None)
        if kind == "audio":
            item.value = self.audio(utterance, item.notes)
        elif kind == "frames":
            item.value = self.frames(utterance, item.notes)
        else:
            item.value = self.words(utterance)
        return item

    def audio(self, utterance: Utterance, notes: list[Note] | None = None) -> Audio:
        """The waveform of the utterance's audio span."""
        if utterance.audio is None:
            raise Rejected("no_audio", "the manifest names no audio for this utterance")
        path = self._file("audio", utterance.audio.uri)
        try:
            return self._audio.read(path, utterance.audio, notes)
        except Rejected as error:
            if self._repair is None or error.status != "media_error":
                raise
            return self._repaired_audio.read(self._repair(path, error), utterance.audio, notes)

    def frames(self, utterance: Utterance, notes: list[Note] | None = None) -> _Frames:
        """The sampled frames of the utterance's video span, decoded while they are read; they can be read again."""
        if utterance.video is None:
            raise Rejected("no_video", "the manifest names no video for this utterance")
        resolve_media(self._root, utterance.video.uri)  # a wrong one is refused at once
        return _Frames(partial(self._frames, utterance.video, notes))

    def _frames(self, span: MediaSpan, notes: list[Note] | None) -> Iterator[Frame]:
        last, path = -1, self._file("frames", span.uri)
        try:
            for frame in self._video.frames(path, span, notes):
                last = frame.index
                yield frame
        except Rejected as error:
            if self._repair is None or error.status != "media_error":
                raise
            for frame in self._repaired_video.frames(self._repair(path, error), span, notes):
                if frame.index > last:
                    yield replace(frame, source=f"{path}:{frame.index}:{span.region}:repaired")

    def words(self, utterance: Utterance) -> list[str]:
        """The utterance's words: its transcript, aligned to the words with times where they cover it."""
        words = transcript_words(utterance.text, [word.text for word in utterance.words or ()], self._source)
        if not words:
            raise Rejected("no_text", "the transcript of this utterance is empty")
        return words


class _Frames:
    """The frames of one utterance: each iteration reads them from the file again."""

    def __init__(self, read: Callable[[], Iterator[Frame]]) -> None:
        self._read = read

    def __iter__(self) -> Iterator[Frame]:
        return self._read()


def item_makers(spec: StageSpec, utterances: Sequence[Utterance], inputs: Inputs) -> list[Callable[[], Item]]:
    """One call for each utterance that makes its item, or raises `Rejected`; to be called in order."""
    return [partial(inputs.item, spec.input, utterance) for utterance in utterances]


def crop_makers(upstream: pa.Table) -> list[Callable[[], Item]]:
    """One call for each row of a shard of the faces stage that decodes its crops, or raises `Rejected`."""
    return [partial(_crops, row) for row in upstream.select(["status", "error", "crops"]).to_pylist()]


def _crops(row: dict[str, Any]) -> Item:
    from mmpipe.extractors.faces.crops import decode_crops

    if row["status"] != "ok":
        raise Rejected(row["status"], f"{FACES}: {row['error']}")
    return Item(decode_crops(row["crops"]))
