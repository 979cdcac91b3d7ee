"""The statistics of a corpus's crops are measured once, and then belong to the config of the stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmpipe.core.errors import StoreError, UsageError
from mmpipe.extractors.faces.crops import decode_crops
from mmpipe.extractors.faces.expression import Expression, ExpressionConfig
from mmpipe.extractors.faces.ferplus import FERPLUS_MEAN, FERPLUS_STD
from mmpipe.pipeline.extraction.corpus import extract_corpus
from mmpipe.pipeline.extraction.engines.serial import SerialEngine
from mmpipe.pipeline.extraction.request import ExtractRequest
from mmpipe.pipeline.extraction.run import ExtractResult
from mmpipe.pipeline.store.feature_store import FeatureStore

from .conftest import write_video


def run(root: Path, store: Path, part: tuple[int, int] = (1, 1), **faces: Any) -> ExtractResult:
    options = {"faces": {"detector": "full-frame", **faces}, "expression": {"statistics": "corpus"}}
    request = ExtractRequest(
        "folder", root, store, stages=["faces", "expression"], stage_options=options, device="cpu", part=part
    )
    return extract_corpus(request, SerialEngine())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    for number in range(3):
        write_video(folder / f"clip{number}.mp4", 21)
    return folder


def config_of(store: Path) -> dict[str, Any]:
    config: dict[str, Any] = FeatureStore(store).footer("expression", 0)["provenance"]["config"]
    return config


def test_the_numbers_are_those_of_the_crops_and_stand_in_the_provenance(root: Path, tmp_path: Path) -> None:
    result = run(root, tmp_path / "store")
    assert result.shards == {"faces": 1, "expression": 1}
    store = FeatureStore(tmp_path / "store")
    crops = store.read("faces", ["crops"]).column("crops").to_pylist()
    pixels = np.concatenate([decode_crops(row) for row in crops]).astype(float)
    config = config_of(store.path)
    assert config["statistics"] == "corpus"
    assert (config["mean"], config["std"]) == pytest.approx((pixels.mean(), pixels.std()), abs=1e-3)
    own = Expression(ExpressionConfig(mean=config["mean"], std=config["std"]))
    own.prepare()
    features = np.array(store.read("expression", ["features"]).column("features")[0].as_py(), np.float32)
    np.testing.assert_array_equal(features, own.embed(decode_crops(crops[0])))


def test_a_store_that_grows_keeps_its_numbers(root: Path, tmp_path: Path) -> None:
    run(root, tmp_path / "store")
    before = config_of(tmp_path / "store")
    assert run(root, tmp_path / "store").shards == {"faces": 0, "expression": 0}
    write_video(root / "clip9.mp4", 61)
    grown = run(root, tmp_path / "store")
    assert grown.shards == {"faces": 1, "expression": 1}  # the new shard alone
    assert config_of(tmp_path / "store") == before


def test_other_crops_are_measured_again(root: Path, tmp_path: Path) -> None:
    run(root, tmp_path / "store")
    before = config_of(tmp_path / "store")
    run(root, tmp_path / "store", margin=-0.5)
    assert config_of(tmp_path / "store") != before


def test_a_slice_without_the_faces_of_the_others_says_what_to_run_first(root: Path, tmp_path: Path) -> None:
    for number in range(3, 40):
        write_video(root / f"clip{number}.mp4", 2)
    with pytest.raises(StoreError, match="run every slice of the stage faces first"):
        run(root, tmp_path / "store", part=(1, 2))


def test_numbers_and_training_statistics_are_told_apart() -> None:
    assert ExpressionConfig().model_dump(exclude={"weights"}) == {
        "statistics": "ferplus",
        "mean": FERPLUS_MEAN,
        "std": FERPLUS_STD,
    }
    assert ExpressionConfig(mean=131.0754, std=47.858177).statistics == "numbers"
    for wrong in ({"mean": 100.0}, {"statistics": "numbers"}, {"statistics": "imagenet"}):
        with pytest.raises(ValueError, match=r"mean and std|'ferplus', 'corpus' or 'numbers'"):
            ExpressionConfig.model_validate(wrong)
    with pytest.raises(UsageError, match="measured by `mmpipe extract`"):
        Expression(ExpressionConfig(statistics="corpus")).prepare()
