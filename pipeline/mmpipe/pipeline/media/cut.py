"""Review clips: one utterance cut out of its corpus, to look at and listen to.

Cut by ffmpeg-python with the binary of imageio-ffmpeg, so no FFmpeg needs to be installed.
"""

from __future__ import annotations

from pathlib import Path

from mmpipe.core.errors import CorpusError, Rejected
from mmpipe.manifests.io import resolve_media
from mmpipe.manifests.schema import MediaSpan, Utterance
from mmpipe.pipeline.media.containers import open_media
from mmpipe.pipeline.media.streams import Kind, choose_streams
from mmpipe.pipeline.outputs import claim

__all__ = ["write_clip"]


def write_clip(utterance: Utterance, root: Path, out: Path, *, overwrite: bool = False) -> Path:
    """Cut the audio and video of an utterance into one file; its region is cut from the frame.

    Args:
        utterance: a row of a manifest.
        root: the corpus root.
        out: the clip; only an earlier clip is replaced.
        overwrite: replace whatever is there.

    Raises:
        UsageError: `out` exists and is not such a clip.
        CorpusError: the utterance has no media, or FFmpeg cannot cut it.
    """
    import ffmpeg
    import imageio_ffmpeg

    claim(out, "clip", overwrite=overwrite)
    streams = []
    if utterance.video:
        image = _input(root, utterance.video, "video")
        if region := utterance.video.region:
            image = image.crop(
                f"iw*{region.x}",
                f"ih*{region.y}",
                f"trunc(iw*{region.width}/2)*2",
                f"trunc(ih*{region.height}/2)*2",
            )
        streams.append(image)
    if utterance.audio:
        streams.append(_input(root, utterance.audio, "audio"))
    if not streams:
        raise CorpusError(f"{utterance.utterance_id} has neither audio nor video: there is nothing to cut")
    command = (
        ffmpeg.output(*streams, str(out), pix_fmt="yuv420p", shortest=None, metadata="comment=mmpipe")
        if utterance.video
        else ffmpeg.output(*streams, str(out), metadata="comment=mmpipe")
    )
    try:
        command.overwrite_output().run(cmd=imageio_ffmpeg.get_ffmpeg_exe(), capture_stdout=True, capture_stderr=True)
    except ffmpeg.Error as error:
        last = error.stderr.decode(errors="replace").strip().splitlines()[-1]
        raise CorpusError(f"{utterance.utterance_id} cannot be cut into {out}: {last}") from error
    return out


def _input(root: Path, span: MediaSpan, kind: Kind):  # type: ignore[no-untyped-def]  # ffmpeg-python has no types
    """The stream that readers choose, from the start of the span on."""
    import ffmpeg

    path = resolve_media(root, span.uri)
    try:
        with open_media(path) as container:
            index = choose_streams(container, path).require(kind).index
    except Rejected as error:
        raise CorpusError(f"{path} cannot be cut: {error}") from error
    options = {"ss": span.start_seconds}
    if span.end_seconds is not None:
        options["t"] = span.end_seconds - span.start_seconds
    return ffmpeg.input(f"file:{path}", **options)[str(index)]
