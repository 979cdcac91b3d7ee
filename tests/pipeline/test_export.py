"""An export holds the whole store, joined, for every reader; it appears whole or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from mmpipe.core.errors import BusyError, StoreError, UsageError
from mmpipe.core.locks import writing_alone
from mmpipe.core.parquet import write_parquet
from mmpipe.core.scratch import machine
from mmpipe.extractors.faces.crops import decode_crops
from mmpipe.pipeline.cli import export as cli
from mmpipe.pipeline.cli.app import app
from mmpipe.pipeline.cli.export import Format
from mmpipe.pipeline.extraction.recovery import repair_store
from mmpipe.pipeline.store.export import Form, export
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.store.joined import Dtype
from mmpipe.pipeline.store.shards import write_shard

STAGES = ("audio", "faces", "expression", "text")


@pytest.fixture
def store(sample_store: Path) -> FeatureStore:
    return FeatureStore(sample_store)


def test_a_second_export_to_one_folder_is_refused_and_leftovers_of_a_killed_one_are_swept(
    store: FeatureStore, tmp_path: Path
) -> None:
    leftover = tmp_path / f".joined.{machine()}.0a1b2c3d.part"
    leftover.mkdir()
    (leftover / "00000.parquet").touch()
    with writing_alone(tmp_path / "joined", "mmpipe export"):
        assert not leftover.exists()
        with pytest.raises(BusyError, match=r"joined is being written .*mmpipe export \(process"):
            export(store, tmp_path / "joined")
    assert list(tmp_path.iterdir()) == []
    export(store, tmp_path / "joined")
    assert [path.name for path in tmp_path.iterdir()] == ["joined"]
    assert not list((tmp_path / "joined").glob(".*"))


def test_the_parquet_form_holds_every_column_of_the_manifest_and_the_stages(
    store: FeatureStore, tmp_path: Path
) -> None:
    done = export(store, tmp_path / "joined")
    joined = pq.read_table(tmp_path / "joined")
    assert (done.rows, done.files) == (5, 1)
    assert joined.select(store.manifest().column_names).equals(store.manifest())
    for stage in STAGES:
        for name in store.read(stage).column_names[1:]:
            assert joined.column(f"{stage}_{name}").equals(store.read(stage).column(name)), (stage, name)


def test_equal_stores_give_equal_exports_that_name_their_fingerprints(store: FeatureStore, tmp_path: Path) -> None:
    for name in ("a", "b"):
        export(store, tmp_path / name)
    assert (tmp_path / "a" / "00000.parquet").read_bytes() == (tmp_path / "b" / "00000.parquet").read_bytes()
    footer = pq.read_metadata(tmp_path / "a" / "00000.parquet").metadata[b"mmpipe"].decode()
    assert all(store.footer(stage, 0)["fingerprint"] in footer for stage in STAGES)


def test_datasets_loads_the_folder_with_crops_as_images(store: FeatureStore, tmp_path: Path) -> None:
    import datasets

    done = export(store, tmp_path / "folder", "datasets")
    assert done.splits == {"train": 5}
    loaded = datasets.load_dataset(str(tmp_path / "folder"), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded["utterance_id"][:] == store.manifest().column("utterance_id").to_pylist()
    faces = store.read("faces").to_pylist()
    for row, expected in zip(loaded, faces, strict=True):
        assert row["faces_status"] == expected["status"]
        if expected["status"] != "ok":
            assert row["faces_crops"] is None
            continue
        assert len(row["faces_crops"]) == len(expected["crops"])
        for image, png in zip(row["faces_crops"], expected["crops"], strict=True):
            assert np.array_equal(np.asarray(image), decode_crops([png])[0])
    stored = store.read("text").column("features").to_pylist()
    for row, pieces in zip(loaded, stored, strict=True):
        assert row["text_features"] == pieces
    assert loaded["audio_features"][:] == store.read("audio").column("features").to_pylist()
    nothing = loaded[loaded["utterance_id"][:].index("iemocap/nothing")]
    assert nothing["audio_features"] is None
    assert nothing["audio_error"] == "the manifest names no audio for this utterance"


def test_rows_go_to_the_splits_of_their_corpus(store: FeatureStore, sample_store: Path, tmp_path: Path) -> None:
    import datasets

    shutil.copytree(sample_store, tmp_path / "store")
    manifest = store.manifest()
    splits = pa.array(["train", "dev", "test", "train", "dev"])
    split = manifest.set_column(manifest.column_names.index("split"), "split", splits)
    write_parquet(tmp_path / "store" / "manifest.parquet", split, {"corpus": "iemocap"})
    repair_store(tmp_path / "store")
    done = export(FeatureStore(tmp_path / "store"), tmp_path / "folder", "datasets", ["audio"])
    assert done.splits == {"dev": 2, "test": 1, "train": 2}
    loaded = datasets.load_dataset(str(tmp_path / "folder"), cache_dir=str(tmp_path / "cache"))
    assert {name: len(part) for name, part in loaded.items()} == done.splits
    assert loaded["test"][0]["utterance_id"] == manifest.column("utterance_id")[2].as_py()


def test_an_existing_folder_an_unknown_stage_and_an_incomplete_store_are_refused(
    store: FeatureStore, sample_store: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="has no stage 'speech'; stages: audio, faces, expression, text"):
        export(store, tmp_path / "out", stages=["speech"])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").touch()
    with pytest.raises(UsageError, match="out exists and is not an export that mmpipe wrote"):
        export(store, tmp_path / "out")
    shutil.copytree(sample_store, tmp_path / "store")
    (tmp_path / "store" / "text" / "00000.parquet").unlink()
    with pytest.raises(StoreError, match=r"incomplete: of 1 shards a stage, these are missing: text 0\. Run the same"):
        export(FeatureStore(tmp_path / "store"), tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "store"]


def test_a_shard_of_other_rows_is_refused(sample_store: Path, tmp_path: Path) -> None:
    shutil.copytree(sample_store, tmp_path / "store")
    path = tmp_path / "store" / "audio" / "00000.parquet"
    rows = pq.read_table(path).take([1, 0, 2, 3, 4]).replace_schema_metadata(None)
    write_shard(path, rows, FeatureStore(sample_store).footer("audio", 0)["provenance"])
    with pytest.raises(StoreError, match=r"the utterances of \S+ are not those of the manifest: run the same"):
        export(FeatureStore(tmp_path / "store"), tmp_path / "out", stages=["audio"])


def test_the_command_says_what_it_wrote_and_how_to_read_it(sample_store: Path, tmp_path: Path) -> None:
    out = tmp_path / "joined"
    done = CliRunner().invoke(app, ["export", str(sample_store), "--out", str(out), "--stages", "audio,text"])
    assert done.exit_code == 0, done.output
    assert "5 utterances, 23 columns in 1 files" in done.output
    assert f'pandas.read_parquet("{out}")' in done.output
    wrong = CliRunner().invoke(app, ["export", str(sample_store), "--format", "csv"])
    assert wrong.exit_code == 2
    assert "'csv' is not one of 'parquet', 'datasets'" in " ".join(wrong.output.replace("│", " ").split())
    assert {form.value for form in Format} == set(get_args(Form))
    assert {dtype.value for dtype in cli.Dtype} == set(get_args(Dtype))


def test_features_are_float32_where_it_is_asked_for_and_their_values_stay(store: FeatureStore, tmp_path: Path) -> None:
    export(store, tmp_path / "joined", stages=["audio", "text"], dtype="float32")
    joined = pq.read_table(tmp_path / "joined")
    assert not any("halffloat" in str(field.type) for field in joined.schema)
    for stage in ("audio", "text"):
        assert joined.column(f"{stage}_features").to_pylist() == store.read(stage).column("features").to_pylist()


@pytest.mark.parametrize("form", get_args(Form))
def test_every_file_holds_the_provenance_of_the_shards_that_it_joins(
    store: FeatureStore, tmp_path: Path, form: Form
) -> None:
    export(store, tmp_path / "out", form)
    for path in (tmp_path / "out").rglob("*.parquet"):
        footer = json.loads(pq.read_metadata(path).metadata[b"mmpipe"])
        assert footer["provenance"] == {stage: store.footer(stage, 0)["provenance"] for stage in STAGES}
        assert "research" in footer["licences"]["extractor is10"]
        assert "release form" in footer["licences"]["corpus iemocap"]


def test_the_card_names_extractors_configs_weights_and_licences(store: FeatureStore, tmp_path: Path) -> None:
    export(store, tmp_path / "out", "datasets")
    card = (tmp_path / "out" / "README.md").read_text()
    for stage in STAGES:
        made = store.footer(stage, 0)["provenance"]
        assert f"- extractor: {made['extractor']}" in card
        assert f"- config: `{json.dumps(made['config'], sort_keys=True)}`" in card
        assert all(f"{name}: SHA-256 `{sha}`" in card for name, sha in made["weights"].items())
    assert "extractor densenet-ferplus: The weights of mmpipe were trained on FER2013" in card
    assert "The columns text, words, faces_crops, text_tokens hold transcripts or faces" in card


@pytest.mark.parametrize("form", get_args(Form))
def test_transcripts_and_faces_can_be_left_out(store: FeatureStore, tmp_path: Path, form: Form) -> None:
    done = export(store, tmp_path / "out", form, text=False, faces=False)
    assert not {"text", "words", "text_tokens", "faces_crops"} & set(done.columns)
    assert {"text_features", "text_word_index", "faces_box", "expression_features"} <= set(done.columns)
    assert done.personal == ()
    if form == "datasets":
        assert "are left out" in (tmp_path / "out" / "README.md").read_text()


def test_the_command_warns_of_transcripts_and_faces(sample_store: Path, tmp_path: Path) -> None:
    out = ["export", str(sample_store), "--out"]
    said = CliRunner().invoke(app, [*out, str(tmp_path / "a")]).output
    assert "text, words, faces_crops, text_tokens hold transcripts or faces" in " ".join(said.split())
    quiet = CliRunner().invoke(app, [*out, str(tmp_path / "b"), "--no-text", "--no-faces", "--dtype", "float32"])
    assert quiet.exit_code == 0, quiet.output
    assert "hold transcripts" not in quiet.output
