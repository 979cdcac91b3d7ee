"""Which streams of a media file are read: one choice for audio, video, header checks and repair.

Attached pictures (cover art) and streams that no decoder fits are left out. Of the others the one is taken that
FFmpeg's tool and players take: the first with the default flag that is not a track for people with impaired hearing or
sight; else the first. An ordinary video comes before a still image that its writer did not mark as attached.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import av

from mmpipe.core.errors import Rejected
from mmpipe.core.files import is_local, open_binary
from mmpipe.core.objects import fetch_object

__all__ = ["Kind", "Streams", "attached_pictures", "choose_streams", "usable_streams"]

Kind = Literal["audio", "video"]

_ATTACHED_PICTURE = 0x400 | 0x800
"""Dispositions of cover art (AV_DISPOSITION_ATTACHED_PIC) and chapter thumbnails (..._TIMED_THUMBNAILS)."""

_DEFAULT = 0x1
_IMPAIRED = 0x80 | 0x100
"""Dispositions of tracks for people with impaired hearing or sight."""

_IMAGE_CODECS = ("png", "mjpeg", "bmp", "gif", "tiff", "webp")

_PROBE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Streams:
    """The streams of one file that are read.

    Attributes:
        audio: the audio stream; None where no usable one exists.
        video: the same for video.
        path: the file.
        has_undecodable: the kinds of which the file has streams, but none with a decoder.
    """

    audio: Any | None
    video: Any | None
    path: Path
    has_undecodable: frozenset[Kind]

    def require(self, kind: Kind) -> Any:
        """The stream of a kind.

        Raises:
            Rejected: `no_audio` or `no_video` where the file has none; `media_error` where none can be decoded.
        """
        stream = self.audio if kind == "audio" else self.video
        if stream is not None:
            return stream
        name = self.path.name
        if kind in self.has_undecodable:
            codec = _codec_name(self.path, kind)
            raise Rejected(
                "media_error", f"{name}: no decoder fits its {kind} ({codec}); convert it, or repair the header"
            )
        if kind == "audio":
            raise Rejected("no_audio", f"{name}: the file has no audio stream")
        raise Rejected("no_video", f"{name}: the file has no video stream")


def choose_streams(container: Any, path: Path) -> Streams:
    """The streams of an open container that are read; their decoders use one thread."""
    chosen: dict[Kind, Any | None] = {}
    undecodable: set[Kind] = set()
    for kind in ("audio", "video"):
        candidates = _of_kind(container, kind)
        usable = usable_streams(container, kind)
        chosen[kind] = max(usable, key=lambda s: (_score(s), -s.index), default=None)
        if candidates and not usable:
            undecodable.add(kind)
        if (stream := chosen[kind]) is not None:
            stream.codec_context.thread_count = 1
    return Streams(chosen["audio"], chosen["video"], path, frozenset(undecodable))


def usable_streams(container: Any, kind: Kind) -> list[Any]:
    """The streams of a kind that a decoder fits, without attached pictures."""
    return [stream for stream in _of_kind(container, kind) if _is_decodable(stream)]


def attached_pictures(container: Any) -> int:
    """How many attached pictures an open container has."""
    return sum(bool(int(stream.disposition) & _ATTACHED_PICTURE) for stream in container.streams.video)


def _of_kind(container: Any, kind: Kind) -> list[Any]:
    streams = container.streams.audio if kind == "audio" else container.streams.video
    return [stream for stream in streams if not int(stream.disposition) & _ATTACHED_PICTURE]


def _is_decodable(stream: Any) -> bool:
    context = stream.codec_context
    if context is None:
        return False
    if stream.type == "audio":
        try:
            return bool(context.sample_rate > 0 and context.layout.nb_channels > 0)
        except (ValueError, av.FFmpegError):
            return False
    return bool(context.width > 0 and context.height > 0)


def _score(stream: Any) -> tuple[bool, int]:
    flags = int(stream.disposition)
    is_still = stream.type == "video" and stream.codec_context.name in _IMAGE_CODECS and stream.frames == 1
    return not is_still, int(bool(flags & _DEFAULT)) + int(not flags & _IMPAIRED)


def _codec_name(path: Path, kind: Kind) -> str:
    """What FFmpeg's tool calls the codec of the first stream of a kind; SPHERE files name it in their header."""
    with open_binary(path) as stream:
        head = stream.read(1024)
    if head.startswith(b"NIST_1A") and (coding := re.search(rb"sample_coding -s\d+ (\S+)", head)):
        return coding[1].decode("ascii", "replace")
    if not is_local(path):
        with tempfile.TemporaryDirectory(prefix="mmpipe-media-") as folder:
            fetch_object(path, copy := Path(folder) / path.name)
            return _codec_name(copy, kind)
    import imageio_ffmpeg

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-protocol_whitelist", "file", "-i", f"file:{path}"]
    try:
        run = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, timeout=_PROBE_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return "of an unknown codec"
    lines = re.findall(rf"Stream #0:\d+.*?: {kind.capitalize()}: ([^,\n]+)", run.stderr.decode(errors="replace"))
    names = [re.sub(r"^none \((\w+)\s*/.*", r"\1", line).strip() for line in lines]
    named = next((name for name in names if name != "none"), None)
    return f"codec {named}" if named else "of an unknown codec"
