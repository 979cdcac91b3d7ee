"""From the channels of an audio frame to one: the mean, or the standard downmix of a layout with a centre."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["channel_weights"]

_DOWNMIX = {"FC": 1.0, "FL": 0.5**0.5, "FR": 0.5**0.5, "LFE": 0.0, "LFE2": 0.0}
"""Weights of ITU-R BS.775, as FFmpeg mixes to mono: centre 1, left and right -3 dB, surrounds -6 dB, no bass."""

_SURROUND = 0.5


def channel_weights(layout: Any) -> npt.NDArray[np.float32] | None:
    """The weight of each channel, with sum 1; None where all count equally.

    Layouts with left, right and centre loudspeakers get the standard downmix. All others are averaged: mono, stereo,
    and channels whose place nobody tells, such as those of microphone arrays.
    """
    names = [channel.name for channel in layout.channels]
    if not {"FL", "FR", "FC"} <= set(names):
        return None
    weights = np.array([_DOWNMIX.get(name, _SURROUND) for name in names])
    return np.asarray(weights / weights.sum(), np.float32)
