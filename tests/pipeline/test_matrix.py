"""Matrices of a store for scikit-learn, and the names that `mmpipe.pipeline` gives."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import opensmile
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score

import mmpipe.pipeline
from mmpipe.core.errors import StoreError, UsageError
from mmpipe.manifests.schema import Utterance, to_table
from mmpipe.pipeline import open_store
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.store.plan import plan
from mmpipe.pipeline.store.provenance import StageProvenance
from mmpipe.pipeline.store.shards import shard_path, shard_schema, write_shard
from mmpipe.pipeline.store.writing import write_store

from .training.conftest import make_store


def column(path: Path, stage: str) -> pd.Series:
    """The features of a stage by utterance, as pandas reads them."""
    return pd.read_parquet(path / stage).set_index("utterance_id").features


def test_a_matrix_holds_the_labelled_utterances_that_have_all_stages(tmp_path: Path) -> None:
    path = make_store(tmp_path / "store", rows=12, missing=(2, 5))
    with pytest.warns(UserWarning, match=r"2 of 12 utterances of .* are left out \(expression: no_face 2\)"):
        d = open_store(path).to_xy(["audio", "expression"])
    manifest = pd.read_parquet(path / "manifest.parquet")
    kept = manifest[~manifest.utterance_id.isin(["made/002", "made/005"])]
    assert list(d.ids) == kept.utterance_id.tolist()
    assert d.y.tolist() == kept.label.tolist()
    assert d.groups.tolist() == kept.speaker.tolist()
    assert d.left_out == {"expression: no_face": 2}
    audio, faces = column(path, "audio"), column(path, "expression")
    for row, name in zip(d.X, d.ids, strict=True):
        np.testing.assert_allclose(
            row, [*audio[name], *np.stack(faces[name]).astype(np.float64).mean(axis=0)], rtol=1e-5
        )
    assert d.X.dtype == np.float32 and len(d.names) == d.X.shape[1] == 44
    assert d.names[0] == "audio_00" and d.names[20] == "expression_mean_00" and d.names[-1] == "expression_mean_23"


def test_mean_and_deviation_of_the_steps_stand_side_by_side(tmp_path: Path) -> None:
    path = make_store(tmp_path / "store", rows=12)
    d = open_store(path).to_xy(["text", "audio"], pool="mean+std")
    text, audio = column(path, "text"), column(path, "audio")
    for row, name in zip(d.X, d.ids, strict=True):
        steps = np.stack(text[name]).astype(np.float64)
        np.testing.assert_allclose(row, [*steps.mean(axis=0), *steps.std(axis=0), *audio[name]], rtol=1e-5, atol=1e-6)
    assert d.names[:24] == tuple(f"text_mean_{n:02d}" for n in range(24))
    assert d.names[24:48] == tuple(f"text_std_{n:02d}" for n in range(24))


def test_a_matrix_goes_straight_into_scikit_learn_and_pandas(tmp_path: Path) -> None:
    d = open_store(make_store(tmp_path / "store")).to_xy()
    assert {name.split("_")[0] for name in d.names} == {"audio", "expression", "text"}
    scores = cross_val_score(LogisticRegression(max_iter=500), d.X, d.y, groups=d.groups, cv=GroupKFold(n_splits=3))
    assert scores.mean() > 0.9  # the classes of the made store are far apart
    assert pd.DataFrame(d.X, columns=d.names).shape == (48, 68)


def test_columns_have_the_names_that_opensmile_gives(sample_store: Path) -> None:
    d = open_store(sample_store).to_xy(["audio", "expression"])
    smile = opensmile.Smile(opensmile.FeatureSet.IS10, opensmile.FeatureLevel.Functionals)
    assert d.names[:1582] == tuple(smile.feature_names)
    assert d.names[1582 + 17] == "expression_mean_017"
    assert len(set(d.names)) == d.X.shape[1] == 1582 + 342
    assert d.left_out == {"no label": 1}  # the utterance without media: counted once


def test_two_stages_whose_columns_have_the_same_names_are_kept_apart(tmp_path: Path) -> None:
    store = stages_of(tmp_path, {"loud": [[1.0, 2.0]], "soft": [[3.0, 4.0]]}, names='["mean", "peak"]')
    d = store.to_xy(["loud", "soft"])
    assert d.names == ("loud_mean", "loud_peak", "soft_mean", "soft_peak")
    assert d.X.tolist() == [[1, 2, 3, 4]]


def test_a_store_without_labels_or_a_stage_without_features_says_so(tmp_path: Path, sample_store: Path) -> None:
    unlabelled = open_store(make_store(tmp_path / "store", rows=12, labeled=False))
    with pytest.raises(StoreError, match=r"no labelled utterance has all of audio .no label 12"):
        unlabelled.to_xy(["audio"])
    with pytest.raises(StoreError, match=r"stage 'faces' .*has no column `features`"):
        open_store(sample_store).to_xy("faces")
    with pytest.raises(StoreError, match=r"'voice'.*stages of this store: audio, faces, expression, text"):
        open_store(sample_store).to_xy(["voice"])
    with pytest.raises(UsageError, match=r"pool 'max' does not exist; valid values: mean, mean\+std"):
        open_store(sample_store).to_xy(["audio"], "max")  # type: ignore[arg-type]


def test_rows_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"stage 'loud' .*vectors of different widths.*mmpipe extract"):
        stages_of(tmp_path / "a", {"loud": [[1.0], [1.0, 2.0]]}).to_xy()
    with pytest.raises(StoreError, match=r"utterances of .*loud.* are not those of the manifest.*mmpipe extract"):
        stages_of(tmp_path / "b", {"loud": [[1.0], [2.0]]}, ids=["t/1", "t/0"]).to_xy()


def stages_of(
    path: Path, stages: dict[str, list[list[float]]], *, names: str = "[]", ids: list[str] | None = None
) -> FeatureStore:
    """A store of one shard; the vectors may have any width, and the rows of the shards other ids than the manifest."""
    number = len(next(iter(stages.values())))
    manifest = plan(to_table(Utterance(f"t/{n}", "t", label="joy", speaker="p") for n in range(number)))
    write_store(path, "t", manifest, {s: StageProvenance(s, "", {}, {}, {}) for s in stages}, "0")
    field = pa.field("features", pa.list_(pa.float32()), metadata={"feature_names": names})
    for stage, rows in stages.items():
        columns = [ids or manifest.column("utterance_id").to_pylist(), ["ok"] * number, [None] * number, rows]
        schema = shard_schema([field])
        arrays = [pa.array(values, part.type) for values, part in zip(columns, schema, strict=True)]
        made = {"stage": stage, **StageProvenance(stage, "", {}, {}, {}).to_json()}
        write_shard(shard_path(path, stage, 0), pa.Table.from_arrays(arrays, schema=schema), made)
    return open_store(path)


def test_every_public_name_loads_when_it_is_used_and_none_before() -> None:
    code = "import sys, mmpipe.pipeline; print([m for m in ('torch', 'pyarrow', 'av') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    for name in mmpipe.pipeline.__all__:
        found = getattr(mmpipe.pipeline, name)
        assert getattr(importlib.import_module(found.__module__), name) is found
    with pytest.raises(AttributeError, match="no attribute 'extract_everything'"):
        mmpipe.pipeline.extract_everything  # noqa: B018
