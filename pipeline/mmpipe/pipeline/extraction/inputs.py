"""The items of an extractor: decoded from media, or taken from the rows of the faces stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from mmpipe.core.errors import Rejected
from mmpipe.extractors.contract import Frame
from mmpipe.manifests.io import resolve_media
from mmpipe.manifests.schema import MediaSpan, Utterance
from mmpipe.pipeline.extraction.stages import FACES, StageSpec
from mmpipe.pipeline.extraction.transcript_words import Source, transcript_words
from mmpipe.pipeline.media.readers import AudioReader, VideoReader
from mmpipe.pipeline.media.repair import Repair

__all__ = ["Inputs", "crop_makers", "item_makers"]


class Inputs:
    """Makes the items of an extractor from manifest rows; keeps decoders open between the rows of a shard."""

    def __init__(
        self, root: Path, every: int, *, transcode_fallback: bool = False, source: Source = "transcript"
    ) -> None:
        self._root, self._source = root, source
        self._audio, self._video = AudioReader(), VideoReader(every)
        self._repair = Repair() if transcode_fallback else None
        self._repaired_audio, self._repaired_video = AudioReader(), VideoReader(every)

    def audio(self, utterance: Utterance) -> Any:
        """The waveform of the utterance's audio span."""
        if utterance.audio is None:
            raise Rejected("no_audio", "the manifest names no audio for this utterance")
        path = resolve_media(self._root, utterance.audio.uri)
        try:
            return self._audio.read(path, utterance.audio)
        except Rejected as error:
            if self._repair is None or error.status != "media_error":
                raise
            return self._repaired_audio.read(self._repair(path, error), utterance.audio)

    def frames(self, utterance: Utterance) -> Iterator[Frame]:
        """The sampled frames of the utterance's video span, decoded as they are asked for."""
        if utterance.video is None:
            raise Rejected("no_video", "the manifest names no video for this utterance")
        return self._frames(resolve_media(self._root, utterance.video.uri), utterance.video)

    def _frames(self, path: Path, span: MediaSpan) -> Iterator[Frame]:
        last = -1
        try:
            for frame in self._video.frames(path, span):
                last = frame.index
                yield frame
        except Rejected as error:
            if self._repair is None or error.status != "media_error":
                raise
            for frame in self._repaired_video.frames(self._repair(path, error), span):
                if frame.index > last:
                    yield replace(frame, source=f"{path}:{frame.index}:{span.region}:repaired")

    def words(self, utterance: Utterance) -> list[str]:
        """The utterance's words: its transcript, aligned to the words with times where they cover it."""
        words = transcript_words(utterance.text, [word.text for word in utterance.words or ()], self._source)
        if not words:
            raise Rejected("no_text", "the transcript of this utterance is empty")
        return words


def item_makers(spec: StageSpec, utterances: Sequence[Utterance], root: Path) -> list[Callable[[], Any]]:
    """One call for each utterance that decodes its item, or raises `Rejected`; to be called in order."""
    inputs = Inputs(root, spec.every, transcode_fallback=spec.transcode_fallback, source=spec.source)
    make = getattr(inputs, spec.input)
    return [partial(make, utterance) for utterance in utterances]


def crop_makers(upstream: pa.Table) -> list[Callable[[], Any]]:
    """One call for each row of a shard of the faces stage that decodes its crops, or raises `Rejected`."""
    return [partial(_crops, row) for row in upstream.select(["status", "error", "crops"]).to_pylist()]


def _crops(row: dict[str, Any]) -> Any:
    from mmpipe.extractors.faces.crops import decode_crops

    if row["status"] != "ok":
        raise Rejected(row["status"], f"{FACES}: {row['error']}")
    return decode_crops(row["crops"])
