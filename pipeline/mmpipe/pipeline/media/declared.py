"""Where a media file should end by its own header, so that a file that was cut off is noticed.

Only headers that count samples, frames or bytes are believed: elsewhere FFmpeg guesses a length from the bit rate. A
RIFF file (WAV, AVI) whose data chunk or index is whole is complete, whatever its other sizes say. All ends are on the
clock of the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmpipe.core.files import open_binary
from mmpipe.pipeline.media.clock import start_seconds

__all__ = [
    "END_TOLERANCE_SECONDS",
    "Declared",
    "bytes_missing",
    "counted_beyond_index",
    "declared_end",
    "is_cut_off",
]

END_TOLERANCE_SECONDS = 0.25
_TOLERANCE_SHARE = 0.02
"""A file may lack so much of its end, whichever is more: containers round their durations."""

_EXACT = ("aiff", "au", "avi", "flac", "mov,mp4,m4a,3gp,3g2,mj2", "nistsphere", "w64", "wav")
"""Containers whose header tells the length of each stream."""

_WHOLE = ("asf", "flv", "live_flv", "matroska,webm")
"""Containers whose header tells the length of the whole file only."""

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"

_MP3_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
"""Sampling rates of MPEG 1, 2 and 2.5, by the version's bits."""

_MORE_FRAMES = 1.02
"""A header that counts more frames than the complete index by this factor is wrong."""

_UNKNOWN_RIFF_BYTES = 0x7FFF0000
"""Writers that cannot go back leave a size of all ones, or nearly."""


@dataclass(frozen=True, slots=True)
class Declared:
    """Where a stream should end.

    Attributes:
        end_seconds: on the clock of the file.
        is_whole_file: the end is that of the file's longest stream, not of this one.
    """

    end_seconds: float
    is_whole_file: bool = False

    def lacks(self, ends: float, file_ends: float | None, jumped: float) -> bool:
        """Whether too much is missing before the declared end.

        Args:
            ends: where the stream ends, in seconds of the file's clock.
            file_ends: where its longest stream ends; None if that is not known.
            jumped: sum of the jumps of the timestamps, which the header counts.
        """
        if self.is_whole_file:
            if file_ends is None:
                return False
            ends = max(ends, file_ends)
        return is_cut_off(self.end_seconds, ends + jumped)


def is_cut_off(declared: float, ends: float) -> bool:
    """Whether what ends at `ends` is cut off, by the end that its header declares."""
    return declared - ends > max(END_TOLERANCE_SECONDS, _TOLERANCE_SHARE * declared)


def declared_end(container: Any, stream: Any, path: Path, zero: float) -> Declared | None:
    """Where a stream ends by the header of its file; None where the container only lets it be estimated.

    Args:
        container: the open container.
        stream: one of its streams.
        path: the file.
        zero: from `clock_zero`.
    """
    name = container.format.name
    if name == "matroska,webm" and (end := _tagged_end(stream)) is not None:
        return Declared(end - zero)
    if name in _WHOLE:
        whole = container.duration
        return Declared(whole / 1_000_000, True) if whole and whole > 0 else None
    if name == "mp3":  # FFmpeg guesses a length where bytes follow that the frame count does not cover
        counted = _counted_seconds(path)
        return None if counted is None else Declared(counted)
    length = None if stream.duration is None else float(stream.duration * stream.time_base)
    if not length or length < 0 or name not in _EXACT:
        return None
    start = start_seconds(stream) or 0.0
    share = _riff_share_lost(path)
    return None if share is None else Declared(start + length * share - zero)


def _tagged_end(stream: Any) -> float | None:
    """Where a Matroska track ends by its tag DURATION (HH:MM:SS.fraction), which FFmpeg and mkvmerge write."""
    clock = str(stream.metadata.get("DURATION", "")).split(":")
    if len(clock) != 3:
        return None
    try:
        return float(sum(float(part) * 60.0**power for power, part in enumerate(reversed(clock))))
    except ValueError:
        return None


def _riff_share_lost(path: Path) -> float | None:
    """How many times longer a RIFF file (WAV, AVI) claims to be than it is; 1 for other files.

    None where the chunk of its data, or an index after it, is whole: then every sample is there, whatever the header's
    counts say. FFmpeg tells the length of what is there for WAV, and the header's for AVI.
    """
    size = path.stat().st_size
    with open_binary(path) as stream:
        head = stream.read(12)
        if head[:4] not in (b"RIFF", b"RF64"):
            return 1.0
        wanted = (b"idx1", b"indx") if head[8:12] == b"AVI " else (b"data",)
        place = 12
        while place + 8 <= size:
            stream.seek(place)
            chunk = stream.read(8)
            name, length = chunk[:4], int.from_bytes(chunk[4:], "little")
            end = place + 8 + length
            if name in wanted:
                if length == 0 or length > _UNKNOWN_RIFF_BYTES:
                    return 1.0 if name == b"data" else None  # a size that was never filled in
                return None if end <= size else (end - place - 8) / max(1, size - place - 8)
            place = end + length % 2
    claimed = int.from_bytes(head[4:8], "little") + 8
    if claimed <= 8 or claimed > _UNKNOWN_RIFF_BYTES:
        return 1.0
    return max(1.0, claimed / size)


def counted_beyond_index(container: Any, video: Any, path: Path) -> str | None:
    """What is odd where an AVI's header counts more frames than its complete index reaches; None where nothing is."""
    entries = video.index_entries
    if container.format.name != "avi" or not len(entries):
        return None
    reached = entries[len(entries) - 1].timestamp + 1
    if video.frames <= reached * _MORE_FRAMES + 1 or _riff_share_lost(path) is not None:
        return None
    return f"the header counts {video.frames} frames, the complete index {reached}: the index is trusted"


def _counted_seconds(path: Path) -> float | None:
    """The length of an MP3 by the number of frames in its Xing or Info header; None without one."""
    _, frame, tag = _first_frame(path)
    if tag is None or len(frame) < tag + 12 or not frame[tag + 7] & 1 or frame[0] != 0xFF:
        return None
    version, rate_index = frame[1] >> 3 & 3, frame[2] >> 2 & 3
    if version not in _MP3_RATES or rate_index == 3:
        return None
    frames = int.from_bytes(frame[tag + 8 : tag + 12], "big")
    return frames * (1152 if version == 3 else 576) / _MP3_RATES[version][rate_index]


def _first_frame(path: Path) -> tuple[int, bytes, int | None]:
    """Where an MP3's first frame begins, after its ID3 tag, the bytes from there on, and its Xing header in them."""
    with open_binary(path) as stream:
        head = stream.read(10)
        start = 0
        if head[:3] == b"ID3" and len(head) == 10:  # a size of four times seven bits
            start = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        stream.seek(start)
        data = stream.read(4096)
    place = next((n for n in range(len(data) - 1) if data[n] == 0xFF and data[n + 1] & 0xE0 == 0xE0), len(data))
    frame = data[place:]
    tag = next((found for found in (frame.find(b"Xing"), frame.find(b"Info")) if found >= 0), None)
    return start + place, frame, tag


def bytes_missing(path: Path) -> int:
    """How many bytes a Matroska file, or an MP3 with a Xing header, lacks by its own count; 0 where none is given."""
    size = path.stat().st_size
    with open_binary(path) as stream:
        head = stream.read(4096)
    if head.startswith(_EBML):
        place = head.find(_SEGMENT)
        if place < 0 or place + 12 > len(head):
            return 0
        length, width = _vint(head[place + 4 : place + 12])
        return 0 if length is None else max(0, place + 4 + width + length - size)
    if path.suffix.lower() != ".mp3":
        return 0
    start, frame, tag = _first_frame(path)
    if tag is None or len(frame) < tag + 16 or frame[tag + 7] & 3 != 3:
        return 0
    return max(0, start + int.from_bytes(frame[tag + 12 : tag + 16], "big") - size)


def _vint(data: bytes) -> tuple[int | None, int]:
    """A number of EBML's variable width and that width; None for a size that its writer did not know."""
    width = 9 - data[0].bit_length() if data[0] else 8
    number = int.from_bytes(data[:width], "big") & ((1 << 7 * width) - 1)
    return (None if number == (1 << 7 * width) - 1 else number), width
