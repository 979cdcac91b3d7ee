"""What a run takes from its stores: lengths and modalities; and what is refused before anything is trained."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from mmpipe.core.errors import TrainingError, UsageError
from mmpipe.pipeline.balancing.pseudo_labels import balance
from mmpipe.pipeline.cli.app import app
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.training.autoencoders import shortest_steps
from mmpipe.pipeline.training.config import TrainConfig, make_config
from mmpipe.pipeline.training.data.inputs import load_input
from mmpipe.pipeline.training.data.lengths import cut_shares, resolve_lengths
from mmpipe.pipeline.training.modalities import MODALITIES
from mmpipe.pipeline.training.run import train
from mmpipe.pipeline.training.run_folder import read_run

from .conftest import make_store


def tiny(**values: object) -> TrainConfig:
    return make_config(
        **({"objective": "paper", "size": "small", "batch_size": 16, "epochs": 1, "faces": 8, "words": 8} | values)
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of five to nine faces and words, a word in two pieces; row 3 has no face."""
    return make_store(tmp_path_factory.mktemp("choices") / "labeled", missing=(3,), speakers=3)


def faces_and_words(store: Path) -> tuple[list[int], list[int]]:
    """Counted from the Parquet files."""
    faces = [len(x or []) for x in pq.read_table(store / "expression").column("features").to_pylist()]
    words = [len(set(x or [])) for x in pq.read_table(store / "text").column("word_index").to_pylist()]
    return faces, words


def test_the_share_that_is_cut_is_counted_over_usable_labelled_rows(store: Path) -> None:
    faces, words = faces_and_words(store)
    data = load_input(tiny(faces=7, words=6), store)
    usable = [n for n, number in enumerate(faces) if number]
    assert len(usable) == 47
    assert data.cut["v"] == pytest.approx(np.mean([faces[n] > 7 for n in usable]), abs=1e-6)
    assert data.cut["l"] == pytest.approx(np.mean([words[n] > 6 for n in usable]), abs=1e-6)
    assert "a" not in data.cut and load_input(tiny(faces=9, words=9), store).cut == {"v": 0, "l": 0}


def test_auto_is_the_95th_percentile_and_never_too_short_for_the_model(store: Path, tmp_path: Path) -> None:
    faces, words = faces_and_words(store)
    found = resolve_lengths(tiny(), FeatureStore(store), ("faces", "words"))
    assert found.faces == int(np.ceil(np.percentile([n for n in faces if n], 95))) == 9
    assert found.words == int(np.ceil(np.percentile(words, 95)))
    pieces = make_store(tmp_path / "pieces", pieces=3)
    assert max(faces_and_words(pieces)[1]) == 3
    assert (
        resolve_lengths(tiny(), FeatureStore(pieces), ("words",)).words == shortest_steps(MODALITIES["l"], tiny()) > 3
    )
    assert cut_shares(FeatureStore(pieces), tiny(words=2), ("made/000", "made/001")) == {"v": 0.0, "l": 0.0}


def trained(*options: object) -> str:
    common = ["--supervised", "--size", "small", "--device", "cpu", "--set", "epochs=1", "--set", "batch_size=16"]
    done = CliRunner().invoke(app, ["train", *common, *map(str, options)])
    assert done.exit_code == 0, done.output + str(done.exception)
    return done.output


def test_the_command_reports_what_is_cut_and_records_auto_as_a_number(store: Path, tmp_path: Path) -> None:
    where = ["--labeled", store, "--modalities", "a,v", "--out"]
    shown = trained(*where, tmp_path / "cut", "--set", "faces=7")
    result = json.loads((tmp_path / "cut" / "run.json").read_text())
    assert f"{100 * result['cut']['v']:.1f} % of the utterances have more than 7 faces" in shown
    assert "faces=9: 95 % of the labelled utterances" in trained(*where, tmp_path / "auto", "--set", "faces=auto")
    whole = read_run(tmp_path / "auto")
    assert whole.config.faces == 9 and whole.cut == {"v": 0.0}


def without(store: Path, *stages: str) -> Path:
    """The store with stages taken out of its description."""
    path = store / "store.json"
    described = json.loads(path.read_text())
    described["stages"] = {name: made for name, made in described["stages"].items() if name not in stages}
    del described["seal"]
    path.write_text(json.dumps(described))
    return store


def test_modalities_are_those_of_the_store_and_a_line_says_which(tmp_path: Path) -> None:
    store = without(make_store(tmp_path / "two", speakers=3), "expression")
    shown = trained("--labeled", store, "--out", tmp_path / "run", "--set", "words=8")
    assert f"Modalities a,l: those that {store} has" in shown.replace("\n", "")
    assert read_run(tmp_path / "run").config.modalities == ("a", "l")
    none = without(make_store(tmp_path / "none"), "audio", "expression", "text")
    done = CliRunner().invoke(app, ["train", "--supervised", "--labeled", str(none)])
    assert isinstance(done.exception, TrainingError) and "one of the stages audio, expression, text" in str(
        done.exception
    )


def test_tensorboard_that_is_missing_is_refused_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match="pip install 'mmpipe"):
        train(tiny(), tmp_path / "none", tmp_path / "run", tensorboard=True)
    (tmp_path / "features").mkdir()
    done = CliRunner().invoke(app, ["train", "--supervised", "--labeled", str(tmp_path / "features"), "--tensorboard"])
    assert (
        isinstance(done.exception, UsageError) and "needs" not in done.output and "tensorboard" in str(done.exception)
    )


def test_balancing_refuses_what_training_would_before_it_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("it decodes or trains")

    monkeypatch.setattr("mmpipe.pipeline.training.data.dataset.load_arrays", fail)
    monkeypatch.setattr("mmpipe.pipeline.balancing.classifiers.fit", fail)
    unlabeled, out = make_store(tmp_path / "unlabeled", labeled=False), tmp_path / "list.parquet"
    labeled = make_store(tmp_path / "labeled")
    one = make_store(tmp_path / "one", labels=("joy", "joy"))
    with pytest.raises(TrainingError, match=r"two labels or more; the labelled utterances of .* have joy"):
        balance(one, unlabeled, out, tiny())
    with pytest.raises(TrainingError, match="need three speakers"):
        balance(make_store(tmp_path / "pair", speakers=2), unlabeled, out, tiny(protocol="groups-5"))
    with pytest.raises(UsageError, match="protocol 'groups-1' does not exist"):
        balance(labeled, unlabeled, out, tiny(protocol="groups-1"))
    with pytest.raises(TrainingError, match=r"one of the stages audio, .*: .*unlabeled has none"):
        balance(labeled, without(unlabeled, "audio", "text", "expression"), out, tiny())
    assert not out.exists()
