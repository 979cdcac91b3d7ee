"""The audio of a long file is in a temporary file, and its spans are the same samples."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpipe.pipeline.media import audio
from mmpipe.pipeline.media.audio import Waveform

RUNS = st.lists(
    st.tuples(st.integers(-30, 60), st.lists(st.integers(1, 70), min_size=1, max_size=6)), min_size=1, max_size=4
)
SPANS = st.lists(st.tuples(st.integers(0, 900), st.integers(0, 300) | st.none()), min_size=1, max_size=8)


def whole(runs: list[tuple[int, list[int]]]) -> npt.NDArray[np.float32]:
    """The samples by their places, put together by hand."""
    samples, number = np.zeros(0, np.float32), 0
    for gap, lengths in runs:
        place = max(0, len(samples) + gap)
        run = np.arange(number, number + sum(lengths), dtype=np.float32) + 1
        number += sum(lengths)
        run = run[max(0, len(samples) - place) :]
        if len(run):
            samples = np.concatenate([samples, np.zeros(max(0, place - len(samples)), np.float32), run])
    return samples


@given(RUNS, SPANS, st.sampled_from([(1 << 21, 1 << 24), (40, 90), (1, 1)]))
def test_spans_are_the_samples_of_the_whole_wherever_they_are_held(
    runs: list[tuple[int, list[int]]], spans: list[tuple[int, int | None]], sizes: tuple[int, int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audio, "_PIECE_SAMPLES", sizes[0])
        patch.setattr(audio, "_MEMORY_SAMPLES", sizes[1])
        waveform, number = Waveform(), 0
        for count, (gap, lengths) in enumerate(runs):
            waveform.begin(max(0, len(whole(runs[:count])) + gap))
            for size in lengths:
                waveform.add(np.arange(number, number + size, dtype=np.float32) + 1)
                number += size
            waveform.finish()
        expected = whole(runs)
        for first, length in spans:
            last = None if length is None else first + length
            np.testing.assert_array_equal(waveform.cut(first, last), expected[first:last])


def test_an_hour_of_audio_takes_less_memory_than_its_samples() -> None:
    code = (
        "import numpy as np, resource\n"
        "from mmpipe.pipeline.media.audio import Waveform\n"
        "w = Waveform(); w.begin(0); block = np.ones(1 << 20, np.float32)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for _ in range(56): w.add(block.copy())\n"
        "w.finish()\n"
        "assert w.cut(50 << 20, (50 << 20) + 5).sum() == 5\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 130 * 1024 < 56 * 4 * 1024  # the unit is KiB
