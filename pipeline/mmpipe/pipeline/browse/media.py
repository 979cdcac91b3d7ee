"""Clips of utterances in formats that every browser plays: WAV, and MP4 with H.264 and AAC.

Audio and frames are read as the stages read them, so a clip lets one hear and see what the extractors got: 16 kHz mono,
and frames cut to the region of the speaker.
"""

from __future__ import annotations

import tempfile
import threading
import wave
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal, Self

import av
import numpy as np
import numpy.typing as npt

from mmpipe.core.errors import Rejected
from mmpipe.core.text import safe_name
from mmpipe.extractors.contract import SAMPLING_RATE_HZ, Frame
from mmpipe.manifests.io import resolve_media
from mmpipe.manifests.schema import MediaSpan, Utterance
from mmpipe.pipeline.media.containers import decoding
from mmpipe.pipeline.media.readers import AudioReader, VideoReader

__all__ = ["CLIP_SECONDS", "Clips", "Kind", "media_problem"]

Kind = Literal["audio", "video"]

CLIP_SECONDS = 120.0
"""A longer utterance is cut off here."""

_MOST_BYTES = 512 << 20
"""Of the clips that are kept."""

_KEPT_CLIPS = 4
"""The newest clips are kept whatever their size: one of them may be playing."""

_MOST_PIXELS = 640
"""Width and height of a clip's frames at most."""

_TICKS = 90_000
"""Of the clock of a clip in a second."""

_SUFFIXES = {"audio": ".wav", "video": ".mp4"}


class Clips:
    """Clips in a temporary folder, the oldest of which are removed where they take more than a limit.

    Args:
        most_bytes: the limit.
    """

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="mmpipe-browse-")
        self._most = most_bytes
        self._lock = threading.Lock()
        self._sizes: OrderedDict[Path, int] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove all clips."""
        self._folder.cleanup()

    def clip(self, store: str, utterance: Utterance, root: Path, kind: Kind) -> Path:
        """The clip of an utterance; it is cut where it is not there yet.

        Args:
            store: what distinguishes utterances of one id.
            utterance: a row of a manifest.
            root: the corpus root.
            kind: `video` has the audio too, where that can be read.

        Raises:
            Rejected: the utterance has no such media, or they cannot be read.
        """
        name = safe_name(f"{kind}-{store}-{utterance.utterance_id}") + _SUFFIXES[kind]
        path = Path(self._folder.name) / name
        with self._lock:
            if path not in self._sizes:
                part = path.with_name(f"part-{path.name}")
                try:
                    _WRITERS[kind](utterance, root, part)
                    part.replace(path)
                finally:
                    part.unlink(missing_ok=True)  # what a clip that failed half-way left
                self._sizes[path] = path.stat().st_size
            self._sizes.move_to_end(path)
            while sum(self._sizes.values()) > self._most and len(self._sizes) > _KEPT_CLIPS:
                oldest, _ = self._sizes.popitem(last=False)
                oldest.unlink(missing_ok=True)
        return path


def media_problem(span: MediaSpan | None, root: Path | None, kind: Kind) -> str | None:
    """Why a span cannot be played, as far as that shows without decoding it; None where nothing is known against it."""
    if span is None:
        return f"the utterance has no {kind}"
    if root is None:
        return "the corpus root is not known"
    try:
        path = resolve_media(root, span.uri)
    except Rejected as error:
        return str(error)
    return None if path.is_file() else f"{span.uri} does not exist below {root}"


def _limited(span: MediaSpan) -> MediaSpan:
    """The span, cut off after `CLIP_SECONDS` where its end is known."""
    if span.end_seconds is None:
        return span
    return replace(span, end_seconds=min(span.end_seconds, span.start_seconds + CLIP_SECONDS))


def _samples(span: MediaSpan | None, root: Path) -> npt.NDArray[np.int16]:
    """Audio int16 [T], 16 kHz mono.

    Raises:
        Rejected: there is none, or it cannot be read.
    """
    if span is None:
        raise Rejected("no_audio", "the utterance has no audio")
    with AudioReader() as reader:
        waveform = reader.read(resolve_media(root, span.uri), _limited(span)).waveform
    scaled = np.round(waveform[: round(CLIP_SECONDS * SAMPLING_RATE_HZ)] * 32768)
    return np.clip(scaled, -32768, 32767).astype(np.int16)


def _write_wav(utterance: Utterance, root: Path, out: Path) -> None:
    samples = _samples(utterance.audio, root)
    with wave.open(str(out), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(SAMPLING_RATE_HZ)
        stream.writeframes(samples.tobytes())


def _write_mp4(utterance: Utterance, root: Path, out: Path) -> None:
    if utterance.video is None:
        raise Rejected("no_video", "the utterance has no video")
    try:
        samples = _samples(utterance.audio, root)
    except Rejected:  # the page has a player for the audio alone, which says what is wrong
        samples = None
    path, span = resolve_media(root, utterance.video.uri), _limited(utterance.video)
    with VideoReader(every=1) as reader:
        frames = takewhile(lambda frame: frame.time_seconds < CLIP_SECONDS, reader.frames(path, span))
        if (first := next(frames, None)) is None:
            raise Rejected("too_short", f"{path.name}: no frame lies in the utterance's span")
        with decoding(path), av.open(str(out), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            video, sound = _streams(container, first, with_sound=samples is not None)
            if sound is not None:
                _encode_audio(container, sound, samples)
            for frame in (first, *frames):
                _encode_frame(container, video, frame)
            container.mux(video.encode(None))


def _streams(container: Any, first: Frame, *, with_sound: bool) -> tuple[Any, Any]:
    """The video stream and the audio stream, of which the latter may be None."""
    height, width = first.image.shape[:2]
    scale = min(1.0, _MOST_PIXELS / max(height, width))
    video = container.add_stream("libx264", rate=Fraction(30), options={"preset": "veryfast", "crf": "23"})
    video.width, video.height = (max(2, round(side * scale / 2) * 2) for side in (width, height))
    video.pix_fmt, video.codec_context.time_base = "yuv420p", Fraction(1, _TICKS)
    return video, container.add_stream("aac", rate=SAMPLING_RATE_HZ, layout="mono") if with_sound else None


def _encode_frame(container: Any, video: Any, frame: Frame) -> None:
    image = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.image), format="rgb24")
    image = image.reformat(video.width, video.height, "yuv420p")
    image.pts, image.time_base = round(frame.time_seconds * _TICKS), Fraction(1, _TICKS)
    container.mux(video.encode(image))


def _encode_audio(container: Any, sound: Any, samples: Any) -> None:
    frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts = SAMPLING_RATE_HZ, 0
    container.mux(sound.encode(frame))
    container.mux(sound.encode(None))


_WRITERS: dict[Kind, Callable[[Utterance, Path, Path], None]] = {"audio": _write_wav, "video": _write_mp4}
