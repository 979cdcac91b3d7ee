"""Matrices of a store for scikit-learn, and the names that `mmpipe.pipeline` gives."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import opensmile
import pandas as pd
import pytest

import mmpipe.pipeline
from mmpipe.core.errors import StoreError
from mmpipe.pipeline import feature_matrix, open_store

from .training.conftest import make_store


def test_a_matrix_holds_the_labelled_utterances_that_have_all_stages(tmp_path: Path) -> None:
    store = open_store(make_store(tmp_path / "store", rows=12, missing=(2, 5)))
    matrix = feature_matrix(store, "audio", "expression")
    manifest = pd.read_parquet(tmp_path / "store" / "manifest.parquet")
    kept = manifest[~manifest.utterance_id.isin(["made/002", "made/005"])]
    assert list(matrix.ids) == kept.utterance_id.tolist()
    assert matrix.y.tolist() == kept.label.tolist()
    assert matrix.groups.tolist() == kept.speaker.tolist()
    assert matrix.left_out == {"expression: no_face": 2}
    audio, faces = (
        pd.read_parquet(tmp_path / "store" / stage).set_index("utterance_id") for stage in ("audio", "expression")
    )
    for row, name in zip(matrix.X, matrix.ids, strict=True):
        expected = [*audio.features[name], *np.stack(faces.features[name]).mean(axis=0)]
        np.testing.assert_allclose(row, expected, rtol=1e-6)
    assert len(matrix.names) == matrix.X.shape[1] and matrix.names[0] == "audio.0"


def test_columns_have_the_names_that_opensmile_gives(sample_store: Path) -> None:
    matrix = feature_matrix(open_store(sample_store), "audio")
    smile = opensmile.Smile(opensmile.FeatureSet.IS10, opensmile.FeatureLevel.Functionals)
    assert matrix.names == tuple(f"audio.{name}" for name in smile.feature_names)
    assert matrix.left_out["no label"] == 1


def test_a_store_without_labels_or_a_stage_without_features_says_so(tmp_path: Path, sample_store: Path) -> None:
    with pytest.raises(StoreError, match=r"no labelled utterance has all of audio .no label 12"):
        feature_matrix(open_store(make_store(tmp_path / "store", rows=12, labeled=False)), "audio")
    with pytest.raises(StoreError, match=r"stage 'faces' .*has no column `features`"):
        feature_matrix(open_store(sample_store), "faces")


def test_every_public_name_loads_when_it_is_used_and_none_before() -> None:
    code = "import sys, mmpipe.pipeline; print([m for m in ('torch', 'pyarrow', 'av') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    for name in mmpipe.pipeline.__all__:
        found = getattr(mmpipe.pipeline, name)
        assert getattr(importlib.import_module(found.__module__), name) is found
    with pytest.raises(AttributeError, match="no attribute 'extract_everything'"):
        mmpipe.pipeline.extract_everything  # noqa: B018
