"""The labels of a fold's test speakers change nothing that its model is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from mmpipe.core.parquet import read_metadata, write_parquet
from mmpipe.core.seals import read_sealed_json
from mmpipe.pipeline.balancing.draw import DrawOptions
from mmpipe.pipeline.balancing.pseudo_labels import balance
from mmpipe.pipeline.extraction.recovery import repair_store
from mmpipe.pipeline.training.config import make_config
from mmpipe.pipeline.training.run import train

from ..training.conftest import make_store

CONFIG = make_config(
    objective="paper",
    size="small",
    modalities=("a", "v"),
    batch_size=16,
    epochs=2,
    faces=8,
    protocol="loso",
    learning_rate=3e-4,
)
"""Leave one speaker out: which of the others validate follows from the labels of these others alone."""

FOLD = "loso-p2"


def relabel(store: Path, speaker: str) -> Path:
    """Give the utterances of a speaker the other label."""
    path = store / "manifest.parquet"
    table = pq.read_table(path)
    rows = table.select(["speaker", "label"]).to_pylist()
    other = {"anger": "sadness", "sadness": "anger"}
    labels = [other[row["label"]] if row["speaker"] == speaker else row["label"] for row in rows]
    place = table.column_names.index("label")
    changed = table.set_column(place, table.schema.field(place), pa.array(labels)).replace_schema_metadata(None)
    write_parquet(path, changed, {"corpus": "made"})
    repair_store(store)
    return store


def rows_of(path: Path, fold: str) -> list[dict[str, Any]]:
    return [row for row in pq.read_table(path).to_pylist() if row["fold"] == fold]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A labelled store, one with other labels of the test speaker of `FOLD`, and an unlabelled one."""
    folder = tmp_path_factory.mktemp("leaks")
    return (
        make_store(folder / "a", speakers=4, rows=48),
        relabel(make_store(folder / "b", speakers=4, rows=48), "p2"),
        make_store(folder / "unlabeled", labeled=False),
    )


@pytest.fixture(scope="module")
def lists(stores: tuple[Path, Path, Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The lists of both labelled stores."""
    folder = tmp_path_factory.mktemp("lists")
    draws = DrawOptions(per_class=16)
    return [balance(store, stores[2], folder / f"{store.name}.parquet", CONFIG, draws).path for store in stores[:2]]


def test_the_balanced_list_of_a_fold_does_not_depend_on_the_labels_of_its_test_speaker(lists: list[Path]) -> None:
    mine, theirs = (rows_of(path, FOLD) for path in lists)
    assert mine == theirs and len(mine) == 32
    temperatures = [read_metadata(path)["calibration"]["temperatures"] for path in lists]
    assert temperatures[0][FOLD] == temperatures[1][FOLD]
    changed = [name for name in temperatures[0] if rows_of(lists[0], name) != rows_of(lists[1], name)]
    assert changed == [name for name in temperatures[0] if name != FOLD]  # they did train on these labels


def test_the_model_of_a_fold_does_not_depend_on_the_labels_of_its_test_speaker(
    stores: tuple[Path, Path, Path], lists: list[Path], tmp_path: Path
) -> None:
    folders = [tmp_path / store.name for store in stores[:2]]
    for store, listed, folder in zip(stores[:2], lists, folders, strict=True):
        train(CONFIG, store, folder, stores[2], listed)
    files = [folder / FOLD / "model.safetensors" for folder in folders]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert any(name.startswith("norm.") for name in load_file(files[0]))
    records = [read_sealed_json(folder / FOLD / "fold.json") for folder in folders]
    for part in ("best_epoch", "history"):
        assert records[0][part] == records[1][part]
    assert records[0]["test"]["ua"] != records[1]["test"]["ua"]  # the figures do follow from these labels
    others = [(folder / "loso-p0" / "model.safetensors").read_bytes() for folder in folders]
    assert others[0] != others[1]
    draws = DrawOptions(per_class=16)
    labelled = [
        balance(store, stores[2], folder / "list.parquet", CONFIG, draws, classifier=folder).path
        for store, folder in zip(stores[:2], folders, strict=True)
    ]
    assert rows_of(labelled[0], FOLD) == rows_of(labelled[1], FOLD) != []
