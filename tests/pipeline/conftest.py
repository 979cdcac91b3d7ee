"""Small media made on the spot, and an engine that runs in the test's own process."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from mmpipe.manifests.schema import MediaSpan, Utterance, Word, to_table
from mmpipe.pipeline.extraction.engines.serial import SerialEngine

from ..conftest import Once
from .chromium import CHROMIUM
from .runs import end_all
from .toys import ROOT


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def tone(seconds: float, rate: int = 16_000, seed: int = 0) -> npt.NDArray[np.int16]:
    """A buzzing tone with noise, int16 [T]."""
    generator = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate
    wave_ = 0.4 * np.sign(np.sin(2 * np.pi * (110 + 20 * seed) * t)) * (1 + np.sin(2 * np.pi * 3 * t)) / 2
    noisy = (wave_ + 0.02 * generator.standard_normal(len(t))) * 20_000
    return np.asarray(noisy, np.int16)


def write_wav(path: Path, samples: npt.NDArray[np.int16], rate: int = 16_000) -> Path:
    """Write int16 samples [T] or [T, channels] with the standard library's writer."""
    with wave.open(str(path), "wb") as stream:
        stream.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        stream.setsampwidth(2)
        stream.setframerate(rate)
        stream.writeframes(samples.tobytes())
    return path


def write_video(
    path: Path,
    frames: int = 60,
    *,
    rate: int = 25,
    audio: npt.NDArray[np.int16] | None = None,
    codec: str = "mpeg4",
) -> Path:
    """A film whose frame n is gray of level 4 n, with a darker right half; audio as AAC where given."""
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream(codec, rate=Fraction(rate))
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.gop_size = 12
        sound: Any = container.add_stream("aac", rate=16_000, layout="mono") if audio is not None else None
        for number in range(frames):
            image = np.full((48, 64, 3), 4 * number % 240, np.uint8)
            image[:, 32:] //= 2
            for packet in video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        if sound is not None and audio is not None:
            frame = av.AudioFrame.from_ndarray(audio[None], format="s16", layout="mono")
            frame.sample_rate = 16_000
            for packet in sound.encode(frame):
                container.mux(packet)
            for packet in sound.encode(None):
                container.mux(packet)
        for packet in video.encode(None):
            container.mux(packet)
    return path


@pytest.fixture(autouse=True)
def _processes_end() -> Iterator[None]:
    """No process that a test started outlives it."""
    yield
    end_all()


@pytest.fixture(scope="session")
def corpus_root(once: Once) -> Path:
    """Twenty short wav files, a broken one and an empty one."""

    def make(root: Path) -> None:
        for number in range(20):
            write_wav(root / f"clip{number:02d}.wav", tone(0.4 + 0.01 * number, seed=number))
        (root / "broken.wav").write_bytes(b"RIFF is all that is left")
        (root / "empty.wav").write_bytes(b"")

    return once("corpus", make)


def clip_utterance(number: int, *, text: str | None = None, label: str | None = None) -> Utterance:
    """The utterance of clip `number` of `corpus_root`."""
    words = (text or f"this is clip number {number}").split()
    return Utterance(
        f"test/clip{number:02d}",
        "test",
        audio=MediaSpan(f"clip{number:02d}.wav", 0.0, None),
        text=" ".join(words),
        words=tuple(Word(word) for word in words),
        label=label,
    )


@pytest.fixture
def manifest() -> pa.Table:
    """Twenty utterances: two shards."""
    return to_table(clip_utterance(number) for number in range(20))


@pytest.fixture(scope="session")
def sample_store(once: Once) -> Path:
    """A store of four utterances of sample IEMOCAP and one without any media or words, all stages."""
    return once("sample-store", make_sample_store) / "iemocap"


def make_sample_store(folder: Path) -> None:
    """Write the store of `sample_store` into a folder."""
    from mmpipe.extractors.weights.checkpoints import PACKAGED_MODEL
    from mmpipe.manifests.prepare import prepare_corpus
    from mmpipe.manifests.samples import sample_root
    from mmpipe.pipeline.extraction.run import plan_extraction, run_plan
    from mmpipe.pipeline.extraction.stages import DEFAULT_STAGES, resolve_stages

    root = sample_root("iemocap")
    utterances = [*prepare_corpus("iemocap", root, {}).utterances[:4], Utterance("iemocap/nothing", "iemocap")]
    stages = resolve_stages(list(DEFAULT_STAGES), {"text": {"model": PACKAGED_MODEL}})
    run_plan(plan_extraction(to_table(utterances), "iemocap", root, folder / "iemocap", stages), SerialEngine())


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers find the toys."""
    monkeypatch.syspath_prepend(ROOT)
