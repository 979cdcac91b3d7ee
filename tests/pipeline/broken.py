"""Media in every state of damage, made on the spot.

Each has the statuses that its audio and its video must get. `ok` stands for odd but sound files.
"""

from __future__ import annotations

import io
import os
import socket
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from .conftest import tone, write_video, write_wav

Make = Callable[[Path], object]


@dataclass(frozen=True)
class Broken:
    """A damaged or odd file.

    Attributes:
        name: its telling name.
        innocent: another, plain name of the same.
        make: writes it.
        audio: status of its sound.
        video: status of its picture.
    """

    name: str
    innocent: str
    make: Make
    audio: str
    video: str


def wav_bytes(
    data: bytes, *, code: int = 1, channels: int = 1, rate: int = 16_000, bits: int = 16, claim: int | None = None
) -> bytes:
    """A RIFF file by hand: format code 1 is integer PCM, 3 is float; `claim` is another size of the data."""
    align = channels * bits // 8
    form = struct.pack("<HHIIHH", code, channels, rate, min(rate * align, 2**32 - 1), align, bits)
    size = len(data) if claim is None else claim
    return (
        b"RIFF"
        + struct.pack("<I", 36 + size)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + b"data"
        + struct.pack("<I", size)
        + data
    )


def raw(data: bytes) -> Make:
    """Writes these bytes."""
    return lambda path: path.write_bytes(data)


def film(container: str, *, sound: bool = True, frames: int = 60, front: bool = False) -> bytes:
    """The bytes of a sound film of 2.4 s; `front` puts an MP4's index first."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_video(Path(folder) / f"film.{container}", frames, audio=tone(frames / 25) if sound else None)
        if front:
            moved = Path(folder) / f"front.{container}"
            remux(path, moved, {"movflags": "faststart"})
            path = moved
        return path.read_bytes()


def remux(path: Path, target: Path, options: dict[str, str]) -> None:
    """Copy a film's packets into another file."""
    with av.open(path, "r") as source, av.open(target, "w", options=options) as output:
        streams = {stream.index: output.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                output.mux(packet)


def without_first_keyframe(data: bytes) -> bytes:
    """A film whose pictures start in the middle of a group."""
    target = io.BytesIO()
    with av.open(io.BytesIO(data), "r") as source, av.open(target, "w", format="matroska") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(source.streams.video[0])):
            if number and packet.dts is not None:
                packet.stream = stream
                output.mux(packet)
    return target.getvalue()


def scrambled(data: bytes, start: int, length: int, seed: int = 0) -> bytes:
    """The bytes with random ones in a place."""
    noise = np.random.default_rng(seed).integers(0, 256, length, np.uint8).tobytes()
    return data[:start] + noise + data[start + length :]


def samples(seconds: float = 1.0) -> npt.NDArray[np.int16]:
    """A tone."""
    return tone(seconds)


def pipe(path: Path) -> None:
    """A named pipe that nobody writes to."""
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    """A socket."""
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(path.parent, os.O_RDONLY)
        try:
            server.bind(f"/proc/self/fd/{here}/{path.name}")  # a socket's path must be short
        finally:
            os.close(here)


def forbidden(path: Path) -> None:
    """A good file that may not be read."""
    write_wav(path, samples())
    path.chmod(0)


def link(target: str) -> Make:
    """A symbolic link."""
    return lambda path: path.symlink_to(target)


def good(path: Path) -> None:
    """A sound film, whatever the name ends in."""
    path.write_bytes(film("mp4"))


def everything() -> list[Broken]:
    """All of them."""
    mp4, front, avi, mkv, silent = (
        film("mp4"),
        film("mp4", front=True),
        film("avi"),
        film("mkv"),
        film("mp4", sound=False),
    )
    speech = samples().tobytes()
    floats = (samples().astype(np.float32) / 32768).astype("<f4")
    nan = floats.copy()
    nan[5000] = np.nan
    three = b"".join(int(x).to_bytes(3, "little", signed=True) for x in samples().astype(int) * 256)
    bad, ok, none, mute, short = "media_error", "ok", "no_video", "no_audio", "too_short"
    cases: list[tuple[str, str, Make, str, str]] = [
        # cut off
        ("zero-bytes.mp4", "mp4", raw(b""), bad, bad),
        ("one-byte.wav", "wav", raw(b"R"), bad, bad),
        ("cut-index-at-end.mp4", "mp4", raw(mp4[: len(mp4) // 2]), bad, bad),
        ("cut-index-in-front.mp4", "mp4", raw(front[: len(front) // 2]), bad, bad),
        ("cut.avi", "avi", raw(avi[: len(avi) // 2]), bad, bad),
        ("cut.mkv", "mkv", raw(mkv[: len(mkv) // 2]), bad, bad),
        ("cut.wav", "wav", raw(wav_bytes(speech[:8000], claim=len(speech))), bad, none),
        ("cut-in-header.wav", "wav", raw(wav_bytes(speech)[:30]), bad, bad),
        ("cut-in-header.avi", "avi", raw(avi[:100]), bad, bad),
        ("only-the-end.mp4", "mp4", raw(mp4[len(mp4) // 2 :]), bad, bad),
        # something else
        ("text.mp4", "mp4", raw(b"Dear diary, this is no film.\n" * 50), bad, bad),
        ("text.wav", "wav", raw("Kein Ton, nur Wörter\n".encode() * 50), bad, bad),
        ("page.avi", "avi", raw(b"<!DOCTYPE html><html><body>404 Not Found</body></html>"), bad, bad),
        ("table.mp3", "mp3", raw(b"id,text\n1,hello\n" * 20), bad, bad),
        ("archive.mp4", "mp4", raw(b"PK\x03\x04" + bytes(500)), bad, bad),
        ("picture.mp4", "mp4", raw(b"\x89PNG\r\n\x1a\n" + bytes(300)), bad, bad),
        (
            "playlist.mp4",
            "mp4",
            raw(b"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\ngood0.mp4\n#EXT-X-ENDLIST\n"),
            bad,
            bad,
        ),
        ("script.mp4", "mp4", raw(b"ffconcat version 1.0\nfile 'good0.mp4'\n"), bad, bad),
        ("noise.mp4", "mp4", raw(np.random.default_rng(1).bytes(20_000)), bad, bad),
        ("zeros.wav", "wav", raw(bytes(100_000)), bad, bad),
        # one stream only, wrong endings
        ("audio-only.mp4", "mp4", lambda path: write_sound(path, "mp4"), ok, none),
        ("video-only.mp4", "mp4", raw(silent), mute, ok),
        ("really-a-wav.mp4", "mp4", raw(wav_bytes(speech)), ok, none),
        ("really-a-film.wav", "wav", raw(mp4), ok, ok),
        ("really-a-film.txt", "txt", raw(avi), ok, ok),
        # short
        ("two-hundredths-of-a-second.wav", "wav", raw(wav_bytes(speech[:640])), short, none),
        ("no-samples.wav", "wav", raw(wav_bytes(b"")), short, none),
        ("one-frame.mp4", "mp4", raw(film("mp4", sound=False, frames=1)), mute, ok),
        # formats of WAV
        ("8-bit.wav", "wav", raw(wav_bytes((samples() // 256 + 128).astype(np.uint8).tobytes(), bits=8)), ok, none),
        ("24-bit.wav", "wav", raw(wav_bytes(three, bits=24)), ok, none),
        ("float.wav", "wav", raw(wav_bytes(floats.tobytes(), code=3, bits=32)), ok, none),
        ("float-with-nan.wav", "wav", raw(wav_bytes(nan.tobytes(), code=3, bits=32)), bad, none),
        ("too-loud-float.wav", "wav", raw(wav_bytes((floats * 40).tobytes(), code=3, bits=32)), ok, none),
        ("48-khz.wav", "wav", raw(wav_bytes(tone(1.0, 48_000).tobytes(), rate=48_000)), ok, none),
        ("5.1.wav", "wav", raw(wav_bytes(np.repeat(samples(), 6).tobytes(), channels=6)), ok, none),
        ("no-channels.wav", "wav", raw(wav_bytes(speech, channels=0)), bad, none),
        ("no-rate.wav", "wav", raw(wav_bytes(speech, rate=0)), bad, bad),
        ("no-bits.wav", "wav", raw(wav_bytes(speech, bits=0)), bad, none),
        # damaged within
        ("no-keyframe.mkv", "mkv", raw(without_first_keyframe(film("mkv", sound=False))), mute, ok),
        ("broken-index.mp4", "mp4", raw(scrambled(mp4, mp4.index(b"stco") + 12, 40)), bad, bad),
        ("broken-sizes.mp4", "mp4", raw(scrambled(mp4, mp4.index(b"stsz") + 16, 200)), ok, bad),
        ("broken-index.avi", "avi", raw(scrambled(avi, avi.index(b"idx1") + 8, 400)), bad, bad),
        ("no-index.avi", "avi", raw(avi[: avi.index(b"idx1")]), ok, ok),
        ("broken-middle.mp4", "mp4", raw(scrambled(mp4, len(mp4) // 3, 500)), bad, ok),
        # no files
        ("pipe.wav", "wav", pipe, bad, bad),
        ("folder.mp4", "mp4", lambda path: path.mkdir(), bad, bad),
        ("socket.mp4", "mp4", unix_socket, bad, bad),
        ("forbidden.wav", "wav", forbidden, bad, bad),
        ("dead-link.mp4", "mp4", link("nowhere.mp4"), "media_missing", "media_missing"),
        ("link-out.mp4", "mp4", link("/dev/zero"), bad, bad),
        ("missing.mp4", "mp4", lambda path: None, "media_missing", "media_missing"),
        # odd names of a good film
        *((name, "mp4", good, ok, ok) for name in ODD_NAMES),
    ]
    return [
        Broken(name, f"clip{number:02d}.{ending}", make, audio, video)
        for number, (name, ending, make, audio, video) in enumerate(cases)
    ]


ODD_NAMES = (
    "two words.mp4",
    " leading space.mp4",
    'it\'s "quoted".mp4',
    "new\nline.mp4",
    "-i.mp4",
    "--help.mp4",
    "😀.mp4",
    "ünïcödé.mp4",
    "percent%03d.mp4",
    "glob[0-9]*?.mp4",
    "back\\slash.mp4",
    "$(touch oops);`id`&.mp4",
    "x" * 240 + ".mp4",
)


def write_sound(path: Path, container: str) -> None:
    """AAC alone."""
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples()[None], format="s16", layout="mono")
        frame.sample_rate = 16_000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            output.mux(packet)
