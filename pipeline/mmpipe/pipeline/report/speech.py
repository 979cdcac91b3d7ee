"""Waveform, spectrogram and words of some utterances of a store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from mmpipe.core.errors import Rejected
from mmpipe.extractors.contract import SAMPLING_RATE_HZ
from mmpipe.manifests.io import resolve_media
from mmpipe.manifests.schema import Utterance, to_utterances
from mmpipe.pipeline.media.readers import AudioReader
from mmpipe.pipeline.report.blocks import Block, Figure, Text
from mmpipe.pipeline.report.charts import Speech, Spoken
from mmpipe.pipeline.report.stores import ShownStore
from mmpipe.pipeline.store.sampled import spread

__all__ = ["speech_blocks"]

_SHOWN = 3
"""Utterances."""

_COLUMNS = 600
"""Columns of a waveform, and of a spectrogram at most."""

_WINDOW, _BANDS = 512, 128
"""Samples of a spectrum, and its bands of equal width from 0 to half the sampling rate."""

_FLOOR_DECIBELS = -70.0
"""Below the loudest band: black."""


def speech_blocks(store: ShownStore) -> list[Block]:
    """A few utterances with audio, spread over the store; or why there are none."""
    places = np.flatnonzero(store.manifest.column("audio").is_valid().to_numpy(zero_copy_only=False))
    if not len(places):
        return []
    if store.root is None:
        return [
            Text("Waveforms are left out, since the report was not told where the media of the corpus are.", quiet=True)
        ]
    with AudioReader() as reader:  # utterances of one file are read in one pass
        return [
            _block(reader, store.root, to_utterances(store.manifest.slice(int(places[number]), 1))[0])
            for number in spread(len(places), _SHOWN)
        ]


def _block(reader: AudioReader, root: Path, utterance: Utterance) -> Block:
    try:
        chart = _speech(reader, root, utterance)
    except Rejected as error:
        return Text(f"No waveform of {utterance.utterance_id}: {error}.", quiet=True)
    label = f"{utterance.label}, " if utterance.label else ""
    return Figure(chart, f"{utterance.utterance_id} ({label}{chart.seconds:.2f} s): {utterance.text or 'no text'}")


def _speech(reader: AudioReader, root: Path, utterance: Utterance) -> Speech:
    """The chart of an utterance with audio.

    Raises:
        Rejected: its audio cannot be read.
    """
    assert utterance.audio is not None
    waveform = reader.read(resolve_media(root, utterance.audio.uri), utterance.audio).waveform
    parts = np.array_split(waveform, min(_COLUMNS, len(waveform)))
    peak = max(float(np.abs(waveform).max()), 1e-6)
    return Speech(
        f"Waveform and spectrogram of {utterance.utterance_id}",
        len(waveform) / SAMPLING_RATE_HZ,
        [round(float(part.min()) / peak, 3) for part in parts],
        [round(float(part.max()) / peak, 3) for part in parts],
        _spectrogram(waveform),
        SAMPLING_RATE_HZ / 2,
        [Spoken(word.text, word.start_seconds, word.end_seconds) for word in utterance.words or ()],
    )


def _spectrogram(waveform: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Loudness uint8 [F, T] of 128 bands, high ones first: 255 is the loudest, 0 lies 70 dB or more below it."""
    padded = np.pad(waveform, _WINDOW // 2)
    starts = np.linspace(0, len(padded) - _WINDOW, min(_COLUMNS, 1 + len(waveform) // 160)).astype(int)
    frames = np.stack([padded[start : start + _WINDOW] for start in starts]) * np.hanning(_WINDOW)
    power = np.abs(np.fft.rfft(frames, axis=1)[:, 1:]) ** 2
    bands = power.reshape(len(power), _BANDS, -1).mean(axis=2).T
    decibels = 10 * np.log10(np.maximum(bands / max(float(bands.max()), 1e-12), 1e-12))
    return np.asarray((255 * (1 - np.maximum(decibels, _FLOOR_DECIBELS) / _FLOOR_DECIBELS))[::-1], np.uint8)
