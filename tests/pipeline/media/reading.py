"""Reading for tests: whole results, readers closed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt

from mmpipe.extractors.contract import Frame
from mmpipe.manifests.schema import MediaSpan
from mmpipe.pipeline.media.notes import Note
from mmpipe.pipeline.media.readers import AudioReader, VideoReader

CASES = Path(__file__).parent / "cases"
WHOLE = MediaSpan("x")


def ffmpeg(*arguments: object) -> bytes:
    """Run FFmpeg's own tool, the judge of what a file holds; what it writes to its output."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True).stdout


def frames_of(path: Path, every: int, span: MediaSpan = WHOLE, notes: list[Note] | None = None) -> list[Frame]:
    """The sampled frames of a span."""
    with VideoReader(every) as reader:
        return list(reader.frames(path, span, notes))


def waveform_of(path: Path, span: MediaSpan = WHOLE, notes: list[Note] | None = None) -> npt.NDArray[np.float32]:
    """The samples of a span."""
    with AudioReader() as reader:
        return reader.read(path, span, notes).waveform


def number_of(frame: Frame) -> int:
    """The number that a coded frame shows."""
    row = frame.image[frame.image.shape[0] // 4, :, 0]
    width = len(row) / 12
    return sum(int(row[int((place + 0.5) * width)] > 128) << place for place in range(12))


def categories(notes: list[Note]) -> set[str]:
    """The categories of notes."""
    return {note.category for note in notes}
