"""The whole flow on a handful of sample utterances, as a user's CI job runs it, and what a user then reads."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import opensmile
import pandas as pd
import pytest

from mmpipe.manifests.samples import sample_root
from mmpipe.manifests.schema import to_utterances
from mmpipe.manifests.splits import folds
from mmpipe.pipeline.media.readers import AudioReader
from mmpipe.pipeline.store.feature_store import FeatureStore

from ..conftest import Once
from .narrow import check, narrow
from .runs import call

CORPORA = ("iemocap", "ami", "meld")


@pytest.fixture(scope="session")
def demo(once: Once) -> tuple[Path, str]:
    """The folder of a smoke run, and what it printed."""

    def make(folder: Path) -> None:
        with narrow() as shown:
            done = call("demo", "--smoke", "--out", "out", "--workers", 1, cwd=folder)
        assert done.returncode == 0, done.stderr
        (folder / "printed.txt").write_text(done.stdout)
        (folder / "tables.json").write_text(json.dumps(shown))

    folder = once("demo", make)
    return folder / "out", (folder / "printed.txt").read_text()


def test_it_says_where_everything_lies(demo: tuple[Path, str]) -> None:
    out, printed = demo
    for path in ("out/features/iemocap", "out/features/ami", "out/balanced/ami.parquet", "out/report.html"):
        assert path in printed
        assert (out.parent / path).exists()
    assert "Next: mmpipe extract" in printed


def test_its_tables_are_complete_at_60_columns(demo: tuple[Path, str]) -> None:
    shown = json.loads((demo[0].parent / "tables.json").read_text())
    titles = {names[0].partition(" (")[0] for names, _, _ in shown}
    assert {"Plan", "Result", "Pseudo-labels", "Where everything is"} <= titles
    check(shown)


@pytest.mark.parametrize("corpus", CORPORA)
def test_pandas_reads_each_stage_with_the_rows_of_the_manifest(demo: tuple[Path, str], corpus: str) -> None:
    store = demo[0] / "features" / corpus
    ids = pd.read_parquet(store / "manifest.parquet")["utterance_id"].tolist()
    assert ids
    for stage in FeatureStore(store).stages:
        assert pd.read_parquet(store / stage)["utterance_id"].tolist() == ids


def test_audio_vectors_are_those_of_opensmile_itself(demo: tuple[Path, str]) -> None:
    store = FeatureStore(demo[0] / "features" / "meld")
    audio = pd.read_parquet(store.path / "audio")
    smile = opensmile.Smile(opensmile.FeatureSet.IS10, opensmile.FeatureLevel.Functionals)
    compared = 0
    for utterance, status, features in zip(
        to_utterances(store.manifest()), audio["status"], audio["features"], strict=True
    ):
        if status == "ok" and utterance.audio:
            waveform = AudioReader().read(sample_root("meld") / utterance.audio.uri, utterance.audio).waveform
            expected = smile.process_signal(waveform, 16_000).to_numpy()[0]
            assert features.shape == (1582,) and np.isfinite(features).all()
            assert np.array_equal(features, expected)
            compared += 1
    assert compared >= 2


def test_crops_open_as_png_and_each_has_342_values(demo: tuple[Path, str]) -> None:
    store = demo[0] / "features" / "iemocap"
    faces, expression = pd.read_parquet(store / "faces"), pd.read_parquet(store / "expression")
    assert (faces["status"] == "ok").all()
    for crops, features in zip(faces["crops"], expression["features"], strict=True):
        assert len(crops) == len(features) > 0
        assert all(len(vector) == 342 for vector in features)
        image = cv2.imdecode(np.frombuffer(crops[0], np.uint8), cv2.IMREAD_UNCHANGED)
        assert image is not None and image.shape == (64, 64)


def test_every_shard_says_which_weights_and_config_made_it(demo: tuple[Path, str]) -> None:
    store = FeatureStore(demo[0] / "features" / "iemocap")
    expression = store.footer("expression", 0)["provenance"]
    assert len(expression["weights"]["ferplus_densenet.safetensors"]) == 64
    assert expression["upstream"] == store.footer("faces", 0)["fingerprint"]
    assert store.footer("faces", 0)["provenance"]["config"]["every"] == 10
    assert len(store.footer("audio", 0)["provenance"]["media"]) > 0


def test_both_runs_are_scored_on_speakers_held_out_of_training(demo: tuple[Path, str]) -> None:
    for kind in ("supervised", "semi"):
        run = json.loads((demo[0] / "runs" / kind / "run.json").read_text())
        manifest = FeatureStore(demo[0] / "features" / "iemocap").manifest()
        assert run["pooled"]["n"] == manifest.num_rows
        made = folds(manifest, run["config"]["protocol"])
        predictions = pd.read_parquet(demo[0] / "runs" / kind / "predictions.parquet")
        tested = zip(predictions["utterance_id"], predictions["fold"], strict=True)
        assert sorted(tested) == sorted((name, fold.name) for fold in made for name in fold.test)
        speaker = dict(zip(*(manifest.column(c).to_pylist() for c in ("utterance_id", "speaker")), strict=True))
        for fold in made:
            assert not {speaker[i] for i in fold.test} & {speaker[i] for i in (*fold.train, *fold.valid)}


def test_the_probe_of_no_modality_alone_gives_the_label_away(demo: tuple[Path, str]) -> None:
    probes = json.loads((demo[0] / "probes.json").read_text())
    assert set(probes) == {"audio", "faces", "text"}
    assert all(probe["ua"] < 1 for probe in probes.values())


def test_running_it_again_makes_nothing_again(demo: tuple[Path, str]) -> None:
    out, _ = demo
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    report = (out / "report.html").read_bytes()
    done = call("demo", "--smoke", "--out", "out", "--workers", 1, cwd=out.parent)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Nothing to do: every shard is up to date.") == 3
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet") if "features" in path.parts} == {
        path: time for path, time in before.items() if "features" in path.parts
    }
    assert (out / "report.html").read_bytes() == report
