"""Writes the media files, without time stamps or encoder versions so that equal content gives equal bytes."""

from __future__ import annotations

import wave
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from faces import Image
from scipy.signal import resample_poly
from speech import SAMPLE_RATE_HZ, Signal

FF_QP2LAMBDA = 118
"""FFmpeg's unit of `lmin` and `lmax` for each step of the quantiser."""

MP3_DELAY_SAMPLES = 1105
"""What LAME (577) and a decoder (528) put before the sound; AVI has no field that makes players skip it."""


def to_int16(samples: Signal) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    """Samples in [-1, 1] as 16-bit integers."""
    return np.clip(np.rint(samples * 32767), -32768, 32767).astype("<i2")


def write_wav(path: Path, samples: Signal) -> None:
    """16 kHz mono 16-bit PCM."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(to_int16(samples).tobytes())


def _add_video(
    container: av.container.OutputContainer,
    codec: str,
    rate: Fraction,
    size: tuple[int, int],
    options: dict[str, str],
) -> av.VideoStream:
    stream = container.add_stream(codec, rate=rate, options={"threads": "1", **options})
    assert isinstance(stream, av.VideoStream)
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    return stream


def _encode_sound(
    container: av.container.OutputContainer, stream: av.AudioStream, samples: Signal, rate_hz: int
) -> list[av.Packet[av.AudioStream]]:
    """All packets of a mono sound."""
    layout = stream.layout.name
    planes = np.repeat(to_int16(samples)[None], stream.layout.nb_channels, axis=0)
    packets = []
    size = 1152
    for begin in range(0, planes.shape[1], size):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(planes[:, begin : begin + size]), "s16p", layout)
        frame.sample_rate, frame.pts, frame.time_base = rate_hz, begin, Fraction(1, rate_hz)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def _mux(
    container: av.container.OutputContainer,
    video: av.VideoStream,
    frames: Iterable[Image],
    sound: list[av.Packet[av.AudioStream]],
) -> None:
    """Encode the frames and interleave the sound's packets by time."""
    waiting = list(sound)
    for picture in frames:
        for packet in video.encode(av.VideoFrame.from_ndarray(picture, "rgb24")):
            while waiting and _seconds(waiting[0]) <= _seconds(packet):
                container.mux(waiting.pop(0))
            container.mux(packet)
    for packet in [*video.encode(None), *waiting]:
        container.mux(packet)


def _seconds(packet: av.Packet[Any]) -> float:
    return float((packet.dts or 0) * (packet.time_base or 0))


def write_avi(
    path: Path,
    frames: Iterable[Image],
    rate: Fraction,
    size: tuple[int, int],
    tag: str,
    keyframe_every: int,
    quality: int,
    sound: Signal | None = None,
) -> None:
    """MPEG-4 part 2 in AVI, with the sound as 16 kHz mono MP3 of 24 kbit/s if there is one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="avi", options={"fflags": "+bitexact"}) as container:
        quantiser = str(quality * FF_QP2LAMBDA)
        options = {
            "lmin": quantiser,
            "lmax": quantiser,
            "b": "4000000",
            "g": str(keyframe_every),
            "mbd": "rd",
        }
        video = _add_video(container, "mpeg4", rate, size, {"flags": "+bitexact", "trellis": "2", **options})
        video.codec_context.codec_tag = tag
        packets = []
        if sound is not None:
            audio = container.add_stream(
                "libmp3lame", rate=SAMPLE_RATE_HZ, layout="mono", options={"flags": "+bitexact"}
            )
            assert isinstance(audio, av.AudioStream)
            audio.bit_rate = 24000
            packets = _encode_sound(container, audio, sound[MP3_DELAY_SAMPLES:], SAMPLE_RATE_HZ)
        _mux(container, video, frames, packets)


def write_mp4(path: Path, frames: Iterable[Image], rate: Fraction, size: tuple[int, int], sound: Signal) -> None:
    """H.264 and 48 kHz stereo AAC in MP4."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact", "movflags": "+faststart"}) as container:
        video = _add_video(
            container, "libx264", rate, size, {"flags": "+bitexact", "crf": "27", "preset": "slow", "g": "48"}
        )
        audio = container.add_stream("aac", rate=48000, layout="stereo", options={"flags": "+bitexact"})
        assert isinstance(audio, av.AudioStream)
        audio.bit_rate = 48000
        _mux(container, video, frames, _encode_sound(container, audio, resample_poly(sound, 3, 1), 48000))
