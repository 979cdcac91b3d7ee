"""The frame rate of a video: that of its median frame interval, since headers are often wrong about it."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from typing import Any

__all__ = [
    "FEWEST_TIMES",
    "frame_rate",
    "index_times",
]

_AGREES = 0.05
"""A rate of the header that differs by no more than this share from the median interval's is the rate meant."""

_NEAR = 0.5, 1.5
"""An interval within this many times the median is that of one frame."""

FEWEST_TIMES = 4
_MOST_TIMES = 20_000

_DEFAULT_RATE = 25.0


def frame_rate(stream: Any, times: Sequence[float] | None) -> float:
    """Frames a second: the header's where it agrees with the median interval between frames, else that interval's.

    Args:
        stream: the video stream.
        times: times of its frames in seconds, sorted; None to take them from the container's index.
    """
    told = [float(rate) for rate in (stream.base_rate, stream.average_rate, stream.guessed_rate) if rate]
    median = _median_rate(index_times(stream) if times is None else times)
    if median is None:
        return float(stream.average_rate or stream.guessed_rate or _DEFAULT_RATE)
    return next((rate for rate in told if abs(rate / median - 1) <= _AGREES), median)


def _median_rate(times: Sequence[float]) -> float | None:
    """One divided by the mean of the intervals near the median, since containers round their times; None for few."""
    intervals = [after - before for before, after in itertools.pairwise(times) if after > before]
    if len(intervals) < FEWEST_TIMES:
        return None
    median = statistics.median(intervals)
    near = [interval for interval in intervals if _NEAR[0] <= interval / median <= _NEAR[1]]
    return len(near) / sum(near)


def index_times(stream: Any) -> list[float]:
    """The decoding times of the frames that a container's index has, in seconds."""
    base, entries = float(stream.time_base), stream.index_entries
    return [entries[n].timestamp * base for n in range(min(len(entries), _MOST_TIMES)) if entries[n].size]
