"""Repair of media that PyAV cannot decode: FFmpeg's own tool skips errors that a decoder in process reports.

Used with `--transcode-fallback` only, on files that failed. The repaired copy holds nearly lossless H.264 and float
PCM on the original's clock, and lives in a temporary folder until the next file is repaired, or the reader is
closed.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
import weakref
from pathlib import Path

from mmpipe.core.errors import Rejected
from mmpipe.core.files import is_local
from mmpipe.core.objects import fetch_object
from mmpipe.pipeline.media.containers import open_media
from mmpipe.pipeline.media.streams import choose_streams

__all__ = ["Repair"]

_TIMEOUT_SECONDS = 3600.0


class Repair:
    """Repairs one file at a time."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._count = 0
        self._repaired: tuple[Path, Path | Rejected] | None = None

    def close(self) -> None:
        """Remove the repaired copy."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = self._repaired = None

    def __call__(self, path: Path, error: Rejected) -> Path:
        """The repaired copy of a file.

        Args:
            path: the file.
            error: why it needs repair.

        Raises:
            Rejected: `error`, with what FFmpeg's tool said.
            OSError: space or file handles are used up.
        """
        if not (path.is_file() and path.stat().st_size):
            raise error  # nothing to repair, and a pipe would be waited for
        if self._repaired is None or self._repaired[0] != path:
            self._repaired = path, self._transcode(path, error)
        copy = self._repaired[1]
        if isinstance(copy, Rejected):
            raise copy
        return copy

    def _transcode(self, path: Path, error: Rejected) -> Path | Rejected:
        import ffmpeg
        import imageio_ffmpeg

        self._count += 1
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="mmpipe-repair-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        folder = self._folder / str(self._count)  # readers know files by their path
        shutil.rmtree(folder.with_name(str(self._count - 1)), ignore_errors=True)
        folder.mkdir()
        copy = folder / "repaired.nut"
        if not is_local(path):
            fetched = folder / "source" / path.name
            fetched.parent.mkdir()
            fetch_object(path, fetched)
            path = fetched
        source = ffmpeg.input(f"file:{path}", err_detect="ignore_err", fflags="+genpts+discardcorrupt")
        command = ffmpeg.output(
            *(source[name] for name in _stream_names(path)),
            str(copy),
            vcodec="libx264",
            preset="veryfast",
            crf=10,
            bf=0,
            pix_fmt="yuv420p",
            acodec="pcm_f32le",
            fps_mode="passthrough",
            threads=1,
        ).global_args("-nostdin", "-protocol_whitelist", "file", "-loglevel", "error")
        arguments = command.compile(cmd=imageio_ffmpeg.get_ffmpeg_exe())
        try:
            run = subprocess.run(arguments, capture_output=True, timeout=_TIMEOUT_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return Rejected(error.status, f"{error.message} FFmpeg could not repair it in {_TIMEOUT_SECONDS:.0f} s.")
        if run.returncode == 0 and copy.exists() and copy.stat().st_size:
            return copy
        said = run.stderr.decode(errors="replace").replace(str(path), path.name).strip().splitlines()
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE):
            if any(os.strerror(number) in line for line in said):  # that is not the file's fault
                raise OSError(number, os.strerror(number), str(copy))
        return Rejected(
            error.status, f"{error.message} FFmpeg could not repair it: {said[-1] if said else 'no reason'}"
        )


def _stream_names(path: Path) -> list[str]:
    """The streams that readers choose, as FFmpeg's tool names them; of an unreadable file the first of each kind."""
    names = []
    try:
        with open_media(path) as container:
            streams = choose_streams(container, path)
            names = [str(stream.index) for stream in (streams.video, streams.audio) if stream is not None]
    except Rejected:
        pass  # FFmpeg's tool may read what could not be opened here
    return names or ["v:0?", "a:0?"]
