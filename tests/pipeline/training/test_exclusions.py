"""`mmpipe train --exclude`: bad utterances are left out, corrected labels are taken, and the run says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from mmpipe.core.errors import UsageError
from mmpipe.pipeline.cli.app import app
from mmpipe.pipeline.cli.baselines import show_baselines
from mmpipe.pipeline.training.comparison import read_folds, refuse_other_data
from mmpipe.pipeline.training.data.dataset import Datasets
from mmpipe.pipeline.training.data.inputs import load_input
from mmpipe.pipeline.training.requests import Sources, default_run
from mmpipe.pipeline.training.run_folder import read_run

from .conftest import make_store
from .test_choices import tiny

SHORT = ("--modalities", "a", "--size", "small", "--set", "epochs=1", "--objective", "paper")
HEADER = "utterance_id,mark,label,note\n"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("exclusions") / "store", speakers=3)


def train(store: Path, out: Path, *words: str) -> Any:
    return CliRunner().invoke(
        app, ["train", "--supervised", "--labeled", str(store), "--out", str(out), *SHORT, *words]
    )


def test_a_run_leaves_out_what_a_list_marks_as_bad_and_takes_its_labels(store: Path, tmp_path: Path) -> None:
    marks, run = tmp_path / "marks.csv", tmp_path / "run"
    marks.write_text(f"{HEADER}made/000,bad,,noise\nmade/001,,sadness,\nmade/002,,,only a note\nmade/999,bad,,\n")
    done = train(store, run, "--exclude", str(marks))
    assert done.exception is None, done.output
    said = " ".join(done.output.split())
    assert "1 utterances of marks.csv are not in" in said and "made/999" in said
    assert "1 labels are those of marks.csv" in said and "1 utterances left out: marked as bad in marks.csv" in said
    answers = pq.read_table(run / "predictions.parquet").to_pydict()
    label = dict(zip(answers["utterance_id"], answers["label"], strict=True))
    assert len(label) == 47 and "made/000" not in label and label["made/001"] == "sadness"
    written = json.loads((run / "run.json").read_text())
    assert written["excluded"] == {"marked as bad in marks.csv": 1}
    assert written["exclusions"] == {
        "name": "marks.csv", "bad": {"made/000": "noise"}, "labels": {"made/001": "sadness"},
    }  # fmt: skip
    assert read_run(run).exclusions is not None

    before = {path: path.read_bytes() for path in run.rglob("fold.json")}
    marks.write_text(f"{HEADER}made/000,bad,,another note\nmade/001,,sadness,\n")
    assert "Every fold is finished" in train(store, run, "--exclude", str(marks)).output  # notes change nothing
    marks.write_text(f"{HEADER}made/000,bad,,\n")
    done = train(store, run, "--exclude", str(marks))
    assert isinstance(done.exception, UsageError) and "labels" in str(done.exception)
    assert isinstance(train(store, run).exception, UsageError)  # without the list it is another run
    assert {path: path.read_bytes() for path in run.rglob("fold.json")} == before

    made = read_run(run)  # baselines beside the run are fitted on what it was trained on
    refuse_other_data(run, read_folds(run, made), load_input(made.config, store, datasets=Datasets(made.exclusions)))
    with pytest.raises(UsageError, match="other data"):
        refuse_other_data(run, read_folds(run, made), load_input(made.config, store))


def test_a_list_gives_a_run_a_folder_of_its_own(store: Path, tmp_path: Path) -> None:
    lists = [tmp_path / f"{name}.csv" for name in ("one", "two", "three")]
    for path, line in zip(lists, ("made/000,bad,,a", "made/000,bad,,b", "made/001,bad,,"), strict=True):
        path.write_text(HEADER + line + "\n")
    config = tiny(modalities=("a",))
    plain, one, two, three = (default_run(config, Sources(store, exclude=path)) for path in (None, *lists))
    assert one == two and len({plain, one, three}) == 3


def test_bad_utterances_are_not_drawn_from_the_unlabelled_store(store: Path, tmp_path: Path) -> None:
    unlabeled = make_store(tmp_path / "other", labeled=False, rows=24)
    marks, run = tmp_path / "marks.csv", tmp_path / "run"
    marks.write_text(HEADER + "".join(f"made/{row:03d},bad,,\n" for row in range(4)))
    words = [
        "train",
        "--labeled",
        str(store),
        "--unlabeled",
        str(unlabeled),
        "--out",
        str(run),
        "--exclude",
        str(marks),
    ]
    done = CliRunner().invoke(app, [*words, *SHORT[:-2], "--objective", "consistency"])
    assert done.exception is None, done.output
    side = read_run(run).unlabeled
    assert side is not None and side.excluded == {"marked as bad in marks.csv": 4} and side.rows == 20


def test_baselines_are_fitted_without_bad_utterances(store: Path, tmp_path: Path) -> None:
    (tmp_path / "marks.csv").write_text(f"{HEADER}made/000,bad,,\n")
    config = tiny(modalities=("a",))
    show_baselines(config, store, tmp_path, names=["majority"], exclude=tmp_path / "marks.csv")
    assert "made/000" not in pq.read_table(tmp_path / "store-baselines.parquet")["utterance_id"].to_pylist()


@pytest.mark.parametrize("text", ["a,b\n", HEADER + "x,worse,,\n", HEADER + "x,bad\n", "\xff", HEADER + '"x,bad,,\n'])
def test_a_file_that_is_not_a_list_of_marks_is_refused_before_anything_is_written(
    text: str, store: Path, tmp_path: Path
) -> None:
    (tmp_path / "marks.csv").write_bytes(text.encode("latin-1"))
    done = train(store, tmp_path / "run", "--exclude", str(tmp_path / "marks.csv"))
    assert isinstance(done.exception, UsageError) and "marks.csv cannot be read" in str(done.exception)
    assert not (tmp_path / "run").exists()
