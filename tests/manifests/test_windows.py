"""Windows are the same on any machine, lie inside the media, and spread as the words do."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mmpipe.manifests.windows import Recording, WindowOptions, draw


def recording(name: str, words: int, seconds: float = 120.0, seed: int = 0) -> Recording:
    generator = np.random.default_rng([seed, words])
    starts = np.sort(generator.uniform(0, seconds - 1, words)).round(3)
    return Recording(
        name,
        name[0],
        seconds,
        [f"{name}.w{n}" for n in range(words)],
        ["word"] * words,
        [""] * words,
        starts,
        starts + 0.3,
    )


def names(windows: list[Any]) -> list[str]:
    return [window.word_id for window in windows]


@given(words=st.integers(0, 150), seconds=st.floats(5, 120), length=st.sampled_from([3.5, 7.2]), seed=st.integers(0, 5))
def test_windows_lie_inside_the_media_and_hold_three_words(
    words: int, seconds: float, length: float, seed: int
) -> None:
    windows = draw([recording("a", words, seconds, seed)], WindowOptions(crop_seconds=length, num_crops=1000))
    assert len(set(names(windows))) == len(windows)
    for window in windows:
        assert window.start_seconds >= 0 and window.end_seconds <= seconds
        assert abs(window.end_seconds - window.start_seconds - length) < 1e-6
        starts, ends = window.recording.start_seconds, window.recording.end_seconds
        around = slice(window.middle - 1, window.middle + 2)
        assert (starts[around] >= window.start_seconds).all() and (ends[around] <= window.end_seconds).all()
        middle = (starts[window.middle] + ends[window.middle]) / 2
        assert abs((window.start_seconds + window.end_seconds) / 2 - middle) < 1e-3


def test_a_larger_number_extends_a_smaller_one() -> None:
    sources = [recording(name, n) for name, n in (("a", 300), ("b", 100))]
    few, many = (names(draw(sources, WindowOptions(num_crops=n))) for n in (40, 90))
    assert many[:40] == few


def test_the_order_of_recordings_does_not_matter_but_the_seed_does() -> None:
    sources = [recording(name, n) for name, n in (("a", 300), ("b", 100))]
    one, turned = (names(draw(part, WindowOptions(num_crops=50))) for part in (sources, sources[::-1]))
    assert one == turned
    assert one != names(draw(sources, WindowOptions(num_crops=50, seed=1)))


def test_speakers_share_in_proportion_to_their_words_or_evenly() -> None:
    sources = [recording(name, n) for name, n in (("a", 600), ("b", 200))]
    shares = Counter(name[0] for name in names(draw(sources, WindowOptions(num_crops=80))))
    assert abs(shares["a"] - 60) <= 2
    even = Counter(name[0] for name in names(draw(sources, WindowOptions(num_crops=80, spread="uniform"))))
    assert abs(even["a"] - 40) <= 1


def test_windows_of_a_recording_overlap_no_more_than_allowed() -> None:
    windows = draw([recording("a", 400)], WindowOptions(num_crops=1000, max_overlap=0.25))
    starts = sorted(window.start_seconds for window in windows)
    assert len(starts) > 5 and min(np.diff(starts)) >= 7.2 * 0.75 - 1e-3
