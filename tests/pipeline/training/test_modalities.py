"""A modality is one row of one table, and no other code switches on modalities."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mmpipe.pipeline.training.modalities as table
from mmpipe.pipeline.extraction.stages import DEFAULT_STAGES
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.training.config import make_config
from mmpipe.pipeline.training.data.dataset import Datasets, load_dataset
from mmpipe.pipeline.training.modalities import MODALITIES, modalities_of
from mmpipe.pipeline.training.probes import Probe, linear_probes

from .conftest import make_store

ROOM = Path(table.__file__).parent
DATA = {"paper.py", "modalities.py"}
"""Files that name modalities as data: the table, and the cells of the paper's own tables."""


def test_the_table_holds_the_papers_three_modalities_in_order() -> None:
    assert [(m.letter, m.name) for m in MODALITIES.values()] == [("a", "acoustic"), ("v", "visual"), ("l", "lexical")]
    assert all(letter == m.letter for letter, m in MODALITIES.items())
    assert {m.stage for m in MODALITIES.values()} | {s for m in MODALITIES.values() for s in m.follows} == set(
        DEFAULT_STAGES
    )
    assert [m.is_sequence for m in modalities_of("avl")] == [False, True, True]


@pytest.mark.parametrize("path", sorted({*ROOM.rglob("*.py"), *(ROOM.parent / "balancing").glob("*.py")}), ids=str)
def test_no_other_code_names_a_modality_or_its_stage(path: Path) -> None:
    """Literals in comparisons, subscripts and keys are what a switch is made of."""
    if path.name in DATA:
        return
    named = {m.letter for m in MODALITIES.values()} | {"audio", "expression"}
    found = [
        (ast.unparse(node), leaf.value)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for leaf in (
            [node.left, *node.comparators]
            if isinstance(node, ast.Compare)
            else [node.slice]
            if isinstance(node, ast.Subscript)
            else node.keys
            if isinstance(node, ast.Dict)
            else []
        )
        if isinstance(leaf, ast.Constant) and leaf.value in named
    ]
    assert not found


def test_a_config_knows_the_steps_of_each_of_its_modalities() -> None:
    config = make_config(modalities=("l", "a"), words=12)
    assert config.modalities == ("a", "l") and config.stages == ("audio", "text")
    assert [config.steps(m) for m in config.chosen_modalities] == [1, 12]
    assert make_config().model_dump(mode="json")["modalities"] == ["a", "v", "l"]


def test_sequences_are_padded_vectors_are_not_and_crops_belong_to_the_visual_provenance(tmp_path: Path) -> None:
    store = FeatureStore(make_store(tmp_path / "store"))
    dataset = load_dataset(store, make_config(faces=7, words=6))
    assert {name: x.shape[1:] for name, x in dataset.features.items()} == {"a": (20,), "v": (7, 24), "l": (6, 24)}
    assert set(dataset.keep) == {"v", "l"} and list(dataset.provenance) == ["audio", "expression", "text"]
    store.info["stages"]["faces"] = {"extractor": "crops"}
    assert list(load_dataset(store, make_config()).provenance) == ["faces", "audio", "expression", "text"]
    assert list(load_dataset(store, make_config(modalities=("a", "l"))).provenance) == ["audio", "text"]


def test_datasets_are_shared_by_what_decides_their_arrays_alone(tmp_path: Path) -> None:
    store, datasets = FeatureStore(make_store(tmp_path / "store")), Datasets()
    first = datasets.load(store, make_config(faces=7))
    assert datasets.load(FeatureStore(tmp_path / "store"), make_config(faces=7, alpha=0, seed=3)) is first
    assert datasets.load(store, make_config(faces=6)) is not first
    assert datasets.load(store, make_config(faces=7, normalise="speaker")) is not first
    spoken = datasets.load(store, make_config(modalities=("a", "l"), faces=7))
    assert datasets.load(store, make_config(modalities=("a", "l"), faces=9)) is spoken


def test_probes_are_named_by_the_source_of_their_modality(tmp_path: Path) -> None:
    probes = linear_probes(FeatureStore(make_store(tmp_path / "store")))
    assert list(probes) == ["audio", "faces", "text"]
    assert probes["audio"].to_json() == {"ua": probes["audio"].ua, "chance": 0.5, "n": 48}
    assert isinstance(probes["text"], Probe) and probes["text"].ua > 0.9


def test_word_pieces_are_averaged_by_word_and_nothing_else_is(tmp_path: Path) -> None:
    """Against pandas: the mean of the rows of equal `word_index`."""
    store = FeatureStore(make_store(tmp_path / "store", rows=6, pieces=2))
    dataset = load_dataset(store, make_config(words=8, faces=9))
    assert [m.letter for m in MODALITIES.values() if m.index] == ["l"]
    for row, made in enumerate(store.read("text", ["word_index", "features"]).to_pylist()):
        words = pd.DataFrame(made["features"]).groupby(np.array(made["word_index"])).mean()
        kept = dataset.features["l"][row][dataset.keep["l"][row]]
        assert kept.shape == words.shape and np.allclose(kept, words, atol=2e-2)
        assert dataset.keep["v"][row].sum() == len(made["features"])
