"""Inspecting shows the essentials of runs, lists, tables and features, by figures computed from their files."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.metrics import confusion_matrix, recall_score

from mmpipe.core.parquet import write_parquet
from mmpipe.manifests.schema import MediaSpan, Utterance, Word, to_table
from mmpipe.pipeline.balancing.draw import DrawOptions
from mmpipe.pipeline.balancing.pseudo_labels import balance
from mmpipe.pipeline.cli.console import console
from mmpipe.pipeline.extraction.engines.serial import SerialEngine
from mmpipe.pipeline.extraction.run import plan_extraction, run_plan
from mmpipe.pipeline.extraction.stages import StageSpec
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.store.manifest_summary import summarise_manifest
from mmpipe.pipeline.store.shards import write_shard
from mmpipe.pipeline.training.config import make_config
from mmpipe.pipeline.training.run import train

from ..conftest import Once
from .conftest import write_video
from .narrow import check, narrow
from .runs import call
from .training.conftest import make_store


def make_results(folder: Path) -> None:
    """Two stores, lists for each fold and for all folds, a run with two seeds, and a folder of tables that holds it."""
    make_store(folder / "known", speakers=4)
    make_store(folder / "pool", labeled=False)
    config = make_config(size="small", modalities=("a",), epochs=1, batch_size=16, min_steps=0)
    paper = config.model_copy(update={"objective": "paper"})
    balance(folder / "known", folder / "pool", folder / "folds.parquet", paper, DrawOptions(pool=40, per_class=16))
    balance(folder / "known", folder / "pool", folder / "once.parquet", paper, DrawOptions(per_class=16), once=True)
    stores = folder / "known", folder / "grid" / "a-supervised", folder / "pool", folder / "folds.parquet"
    train(config.model_copy(update={"alpha": 0.25}), *stores, seeds=2)
    lines = ["modality,metric,mean,std,low,high,paper", "A,ua,0.6,0.01,0.55,0.65,0.585", "A,wap,0.5,0.01,0.4,0.61,"]
    (folder / "grid" / "table-4.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def results(once: Once) -> Path:
    return once("inspect-results", make_results)


def printed(*words: object) -> str:
    """What `mmpipe inspect WORDS` prints on a wide terminal, each run of spaces as one."""
    with mock.patch.object(console, "_width", 160):
        done = call("inspect", *words)
    assert done.returncode == 0, done.stderr
    return re.sub(r" +", " ", done.stdout)


def as_json(*words: object) -> Any:
    done = call("inspect", *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_run_shows_the_figures_of_its_own_predictions(results: Path) -> None:
    run = results / "grid" / "a-supervised"
    said, shown = pd.read_parquet(run / "predictions.parquet"), printed(run)
    labels = sorted(said["label"].unique())
    counts = confusion_matrix(said["label"], said["predicted"], labels=labels)
    for label, row in zip(labels, counts, strict=True):
        assert f"\n{label} {' '.join(map(str, row))} {100 * row[labels.index(label)] / row.sum():.1f}" in shown
    uas = [recall_score(g["label"], g["predicted"], average="macro") for _, g in said.groupby("seed")]
    assert f"{100 * np.mean(uas):.1f} ± {100 * np.std(uas, ddof=1):.1f}" in shown
    history = pd.read_csv(run / "history.csv")
    assert {(seed, fold) for seed, fold in zip(history["seed"], history["fold"], strict=True)} == {
        (int(seed), fold) for fold, seed in re.findall(r"^(\S+) (\d) 1 \d+ ", shown, re.MULTILINE)
    }
    assert 'size "small"' in shown and "alpha 0.25" in shown and "batch_size 16" in shown
    assert "audio was made by" in shown
    value = as_json(run)
    assert (value["kind"], value["seeds"], value["pooled"]["n"]) == ("run", 2, len(said))
    assert np.array_equal(value["pooled"]["confusion"], counts)


@pytest.mark.parametrize("name", ["folds", "once"])
def test_a_list_shows_what_it_draws_as_balancing_did(name: str, results: Path) -> None:
    path = results / f"{name}.parquet"
    rows, shown, value = pd.read_parquet(path), printed(path), as_json(path)
    folds = rows["fold"].nunique() if name == "folds" else 1
    for label, drawn in rows.groupby("pseudo_label"):
        different = drawn.drop_duplicates([*(["fold"] if name == "folds" else []), "utterance_id"])
        line = f"{len(drawn) / folds:.0f} {len(different) / folds:.0f} {len(drawn) / len(different):.1f}"
        assert re.search(rf"\n{label} \d+ {re.escape(line)}", shown), (line, shown)
    assert f"{len(rows)} draws, for {f'each of {folds}' if name == 'folds' else 'all'} folds" in shown
    assert value["kind"] == "list" and value["rows"] == len(rows) and value["stores"]["unlabeled"]["fingerprint"]
    assert sum(sum(fold["after"].values()) for fold in value["folds"]) == len(rows)
    if name == "folds":
        assert "Left out of all folds: 8 utterances, beyond the pool" in shown  # of 48
        assert [fold["fold"] for fold in value["folds"]] == list(dict.fromkeys(rows["fold"]))
        assert f"{100 * value['calibration']['after']['error']:.1f} % after temperature scaling" in shown
        assert all(f"\n{fold['fold']} {100 * fold['valid_ua']:.1f} " in shown for fold in value["folds"])


def test_the_cautions_of_balancing_are_shown_again(results: Path, tmp_path: Path) -> None:
    rows = pd.read_parquet(results / "once.parquet")
    footer = {
        "before": {"anger": 30, "sadness": 0},
        "after": {"anger": len(rows), "sadness": 0},
        "cautions": ["Mind [bold]this[/] \x1b[31m"],
    }
    write_parquet(tmp_path / "told.parquet", pa.Table.from_pandas(rows), footer)
    assert "Mind [bold]this[/] \\x1b[31m" in printed(tmp_path / "told.parquet")
    del footer["cautions"]
    write_parquet(tmp_path / "old.parquet", pa.Table.from_pandas(rows), footer)
    old = printed(tmp_path / "old.parquet")
    assert "No utterance was labelled sadness" in old and f"anger 30 {len(rows)} - -" in old
    assert as_json(tmp_path / "old.parquet")["folds"][0]["valid_ua"] is None


def test_a_list_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    for number, folds in enumerate(({"f": {"before": {"a": 1}, "after": {"b": 1}}}, {"f": [1]}, {"f": {"before": 3}})):
        path = tmp_path / f"{number}.parquet"
        write_parquet(path, pa.table({"x": [1]}), {"before": {"a": 1}, "after": {"a": 1}, "folds": folds})
        done = call("inspect", path)
        assert done.returncode == 1 and "balance-unlabeled" in done.stderr and done.stderr.count("\n") == 1


def test_a_folder_of_tables_shows_them_beside_the_paper_with_its_runs(results: Path) -> None:
    shown, value = printed(results / "grid"), as_json(results / "grid")
    assert "A UA 60.0 ± 1.0 55.0 to 65.0 58.5 +1.5" in shown and "A WAP 50.0 ± 1.0 40.0 to 61.0" in shown
    assert "\na-supervised 48 " in shown
    assert value["runs"] == ["a-supervised"] and [row["paper"] for row in value["tables"]["table-4"]] == [0.585, None]


@pytest.mark.parametrize("what", ["gone", "empty", "notes.txt", "model.safetensors"])
def test_what_cannot_be_inspected_is_refused_in_one_sentence(what: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("notes.txt", "model.safetensors"):
        (tmp_path / name).write_text("mine")
    for options in ([], ["--json"], ["--verify"]):
        done = call("inspect", tmp_path / what, *options)
        assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
        assert all(kind in done.stderr for kind in ("feature store", "manifest", "balanced list", "run folder"))


def test_verify_finds_damage_in_each_kind_that_has_seals(results: Path, tmp_path: Path) -> None:
    place = Path(shutil.copytree(results, tmp_path / "results"))
    run = place / "grid" / "a-supervised"
    manifest, listed = place / "known" / "manifest.parquet", place / "folds.parquet"
    files = {run: sorted(run.rglob("model.safetensors"))[0], manifest: manifest, listed: listed}
    for path, file in files.items():
        assert "Every file is what was written" in printed(path, "--verify")
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 4
        file.write_bytes(data)
        done = call("inspect", path, "--verify", "--json")
        assert done.returncode == 1 and len(json.loads(done.stdout)["damaged"]) == 1
        data[len(data) // 2] ^= 4
        file.write_bytes(data)
    (run / "history.csv").unlink()
    (run / "run.json").write_bytes((run / "run.json").read_bytes().replace(b'"seeds": 2', b'"seeds": 1'))
    done = call("inspect", run, "--verify")
    assert done.returncode == 1 and "damaged: run.json: its bytes do not give the hash" in done.stdout
    assert "`mmpipe train` again" in done.stdout
    refused = call("inspect", place / "grid", "--verify")
    assert (
        refused.returncode == 2 and "--verify is of feature stores, manifests, balanced lists and run" in refused.stderr
    )


def test_constant_and_nearly_constant_dimensions_are_counted(tmp_path: Path) -> None:
    make_store(tmp_path / "s", rows=200)
    store, generator = FeatureStore(tmp_path / "s"), np.random.default_rng(0)
    for shard in range(store.num_shards):
        footer, rows = store.footer("audio", shard), store.read_shard("audio", shard)
        x = generator.normal(size=(len(rows), 5)).astype(np.float32)
        x[:, 0], x[:, 3] = 7, 0
        x[:, 3] += (np.arange(len(rows)) == 0) & (shard == 0)  # one of 200 differs
        features = pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), 5)
        place = rows.column_names.index("features")
        field = pa.field("features", features.type)
        write_shard(
            store.path / "audio" / f"{shard:05d}.parquet", rows.set_column(place, field, features), footer["provenance"]
        )
    shown, value = printed(tmp_path / "s"), as_json(tmp_path / "s")
    assert "\naudio 5 1 1 200 (all)" in shown
    found = value["dimensions"]["audio"]
    assert (found["constant"], found["nearly_constant"]) == (["audio_0"], ["audio_3"]) and value["kind"] == "store"


def test_faces_and_words_are_counted(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", frames=35)
    rows = [
        Utterance("test/a", "test", video=MediaSpan("a.mp4"), text="two  words"),
        Utterance("test/b", "test", text=" "),
    ]
    faces = StageSpec("faces", "face-crops", {"detector": "full-frame"})
    run_plan(plan_extraction(to_table(rows), "test", tmp_path, tmp_path / "store", [faces]), SerialEngine())
    shown = printed(tmp_path / "store")
    assert "0 of 1 utterances without a face (0.0%); in the others it was found in 4 of 4 sampled frames" in shown
    assert "2 words; median 2 an utterance" in shown
    listed = to_table([Utterance("x/1", "x", text="one two", words=(Word("one"), Word("two"), Word("three")))])
    counted = summarise_manifest(listed)
    assert (counted.words, counted.median_words) == (3, 3)
    assert summarise_manifest(listed.slice(0, 0)).median_words is None


def test_the_example_of_a_reason_is_not_cut(tmp_path: Path) -> None:
    name = f"{'long' * 50}.wav"
    (tmp_path / name).write_bytes(b"not audio")
    rows = to_table([Utterance("test/a", "test", audio=MediaSpan(name))])
    audio = StageSpec("audio", "is10")
    run_plan(plan_extraction(rows, "test", tmp_path, tmp_path / "store", [audio]), SerialEngine())
    assert name in "".join(printed(tmp_path / "store").split())


def test_every_kind_fits_60_columns_with_hostile_names(results: Path, tmp_path: Path) -> None:
    hostile = "[bold]x[/] [/y] " + "y" * 70
    run = Path(shutil.copytree(results / "grid" / "a-supervised", tmp_path / hostile))
    text = (run / "run.json").read_text().replace('"anger"', json.dumps(hostile))
    value = {name: part for name, part in json.loads(text).items() if name not in ("seal", "files")}
    (run / "run.json").write_text(json.dumps(value | {"name": hostile}))
    with narrow() as shown:
        for path in (run, results / "folds.parquet", results / "grid", results / "known"):
            out = call("inspect", path).stdout
            assert ("[bold]x[/] [/y]" in out) == (path == run) and "…" not in out
    assert len(shown) > 8
    check(shown)
