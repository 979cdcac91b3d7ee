"""Mean and deviation of a corpus's face crops, for networks that are to see each corpus on one scale.

They are measured once, when the faces of a store are complete, on a seeded sample; the numbers enter the config of the
stage, and with it the fingerprint. A store that grows keeps its numbers: no finished shard is due again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mmpipe.core.errors import StoreError
from mmpipe.pipeline.extraction.recovery import known_store
from mmpipe.pipeline.extraction.stages import FACES, StageSpec, describe
from mmpipe.pipeline.store.feature_store import FeatureStore

__all__ = ["measure_crops", "measured_before", "needs_statistics", "with_statistics"]

_SAMPLED_UTTERANCES = 1000
"""Utterances whose crops are measured, drawn with seed 0; all of a smaller store."""


def needs_statistics(spec: StageSpec) -> bool:
    """Whether the stage asks for the statistics of its corpus and has no numbers yet."""
    return spec.options.get("statistics") == "corpus" and "mean" not in spec.options


def with_statistics(spec: StageSpec, mean: float, std: float) -> StageSpec:
    """The stage with the numbers in its options."""
    return replace(spec, options={**spec.options, "mean": mean, "std": std})


def measured_before(path: Path, spec: StageSpec, specs: Sequence[StageSpec]) -> tuple[float, float] | None:
    """The numbers that an earlier run measured for this stage, while its faces were made as they would be now.

    Args:
        path: the store; it may not exist yet.
        spec: the stage that asks.
        specs: all stages of the run. Faces that it does not name count as unchanged.
    """
    if (known := known_store(path)) is None:
        return None
    stages = known.described
    config = stages[spec.name].config if spec.name in stages else {}
    faces = next((describe(other) for other in specs if other.name == FACES), stages.get(FACES))
    if config.get("statistics") != "corpus" or faces != stages.get(FACES):
        return None
    return float(config["mean"]), float(config["std"])


def measure_crops(path: Path) -> tuple[float, float]:
    """Mean and deviation of the pixels (0..255) of a seeded sample of a store's crops, rounded to 1e-4.

    Raises:
        StoreError: the stage `faces` is not complete, or holds no face at all.
    """
    from mmpipe.extractors.faces.crops import decode_crops  # imports OpenCV, which audio and text do without

    store = FeatureStore(path)
    try:
        statuses = store.read(FACES, ["status"]).column("status").to_pylist()
    except StoreError as error:
        raise StoreError(
            f"the statistics of the crops are measured on all faces, and those of {path} are not complete ({error}): "
            "run every slice of the stage faces first, then the stage that reads them"
        ) from error
    places = np.flatnonzero(np.array(statuses, object) == "ok")
    if not len(places):
        raise StoreError(f"{path} holds no face to measure: set expression.statistics to 'ferplus'")
    chosen = set(np.random.default_rng(0).permutation(places)[:_SAMPLED_UTTERANCES].tolist())
    count, total, squares, first = 0, 0, 0, 0
    for shard in range(store.num_shards):
        crops = store.read_shard(FACES, shard, ["crops"]).column("crops")
        for place in range(len(crops)):
            if first + place in chosen:
                pixels = decode_crops(crops[place].as_py()).astype(np.int64)
                count, total = count + pixels.size, total + int(pixels.sum())
                squares += int((pixels * pixels).sum())
        first += len(crops)
    mean = total / count
    return round(mean, 4), round(max(squares / count - mean * mean, 1e-4) ** 0.5, 4)
