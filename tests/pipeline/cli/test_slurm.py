"""Scripts for Slurm: options are checked when the script is written, and every word arrives at its job as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mmpipe.pipeline.extraction.corpus import extract_corpus, plan_corpus
from mmpipe.pipeline.extraction.engines.serial import SerialEngine
from mmpipe.pipeline.extraction.request import ExtractRequest
from mmpipe.pipeline.extraction.source import read_source

from ..runs import call, contents
from ..training.conftest import make_store

ODD = """my 'corpus' of "$HOME" `pwd` $(touch hacked);\nJOB\n)"""
"""A folder's name with all that a shell may take for its own, and the end of a here-document."""

SBATCH = """#!/bin/bash
number=$(( $(cat count 2>/dev/null || echo 0) + 1 )); echo "$number" > count
printf '%s\\0' "$@" > "$number.words"; cat > "$number.sh"; echo "$number;cluster"
"""
MMPIPE = """#!/bin/bash
printf '%s\\0' "$@"
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a `sbatch` that keeps what it is given, and a `mmpipe` that prints its words."""
    for name, text in (("sbatch", SBATCH), ("mmpipe", MMPIPE)):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]]))
    return tmp_path


def written(folder: Path, *words: object) -> str:
    done = call("slurm-script", *words, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def submit(folder: Path, text: str) -> list[tuple[list[str], Path]]:
    """The jobs that a script submits: the words of sbatch, and the script of the job."""
    done = subprocess.run(["bash"], input=text, cwd=folder, text=True, capture_output=True, check=False)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    files = sorted(folder.glob("*.words"))
    return [(path.read_text().split("\0")[:-1], path.with_suffix(".sh")) for path in files]


def words_of(job: Path, task: int = 1, cpus: int = 4) -> list[str]:
    """What `mmpipe` is called with in a job."""
    slurm = {"SLURM_ARRAY_TASK_ID": str(task), "SLURM_CPUS_PER_TASK": str(cpus)}
    done = subprocess.run(["bash", job], env=os.environ | slurm, cwd=job.parent, capture_output=True, check=True)
    return done.stdout.decode().split("\0")[:-1]


def checked(text: str) -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([shellcheck, "-"], input=text, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout


def test_an_array_gets_every_word_as_it_was_typed(cluster: Path) -> None:
    (cluster / ODD).mkdir()
    place = ["-d", "folder", "--root", ODD, "--out", "a store's", "--stages", "audio", "--set", "audio.config_file=x y"]
    more = ["--label", "folder", "--max-failures", 3, "--retry-failed", "-q"]
    asked = ["--time", "1-12", "--cpus", 2, "--mem", "8G", "--partition", "long", "--gres", "gpu:1"]
    text = written(
        cluster, "--slices", 3, *asked, "--setup", "export GREETING='a b'", "--logs", "my logs/100%", *place, *more
    )
    checked(text)
    jobs = submit(cluster, text)
    assert (cluster / "my logs" / "100%").is_dir() and not (cluster / "hacked").exists()
    resources = ["--cpus-per-task=2", "--time=1-12", "--mem=8G", "--partition=long"]
    (plan, _), (array, _), (missing, _) = jobs
    assert all({*resources, "--parsable", "--requeue"} < {*words} for words, _ in jobs)
    assert ["--gres=gpu:1" in words for words, _ in jobs] == [False, True, False]
    assert ["--array=1-3" in words for words, _ in jobs] == [False, True, False]
    assert {"--dependency=afterok:1", "--output=my logs/100%%/%x-%A_%a.log"} < {*array}
    assert "--dependency=afterany:2" in missing and not any("dependency" in word for word in plan)
    assert all("GREETING" in job.read_text().splitlines()[2] for _, job in jobs)
    common = ["--dataset=folder", f"--root={ODD}", "--out=a store's", "--stages=audio", "--set=audio.config_file=x y"]
    planned = words_of(jobs[0][1])
    assert planned[0] == "extract" and {*common, "--label=folder", "--quiet", "--plan-only"} == {*planned[1:]}
    ends = []
    for task in (1, 2, 3):
        words = words_of(jobs[1][1], task, cpus=2)
        ends.append(words[-4:])
        manifest = ["--manifest", "a store's/manifest.parquet"]
        assert {*words[1:-4]} == {*common, *manifest, "--max-failures=3", "--retry-failed", "--quiet"}
    assert ends == [["--slice", f"{task}/3", "--workers", "2"] for task in (1, 2, 3)]
    assert words_of(jobs[2][1]) == ["inspect", "--missing", "--slices", "3", "--", "a store's"]


def test_workers_and_a_manifest_that_are_typed_are_kept(cluster: Path) -> None:
    (cluster / "clips").mkdir()
    text = written(
        cluster, "--slices", 2, "extract", "-d", "folder", "--root", "clips", "--manifest", "m.parquet", "--workers", 7
    )
    jobs = submit(cluster, text)
    assert "--manifest=m.parquet" in words_of(jobs[0][1])
    words = words_of(jobs[1][1], 2)
    assert "--manifest=m.parquet" in words and words[-3:] == ["--workers=7", "--slice", "2/2"]


def test_slices_of_an_engine_take_its_options_and_their_plan_does_not(cluster: Path) -> None:
    options = ["--engine=ray", "--address=10.0.0.1:6379", "--gpu-share=0.5"]
    jobs = submit(cluster, written(cluster, "--slices", 2, "-d", "meld", "--sample", *options))
    assert {*options} <= {*words_of(jobs[1][1])}
    assert not {*options} & {*words_of(jobs[0][1])} and "--plan-only" in words_of(jobs[0][1])


def test_a_training_is_an_array_of_its_folds(cluster: Path) -> None:
    store = make_store(cluster / "a store", rows=24)
    text = written(cluster, "--slices", 5, "--gres", "gpu:1", "train", "--table", 4, "--labeled", store, "--seeds", 2)
    checked(text)
    jobs = submit(cluster, text)
    same = ["train", f"--labeled={store}", "--table=4", "--seeds=2"]
    assert words_of(jobs[0][1], 5) == [*same, "--slice", "5/5"]
    assert words_of(jobs[1][1]) == same
    assert "--dependency=afterany:1" in jobs[1][0] and all("--gres=gpu:1" in words for words, _ in jobs)


def test_a_device_of_another_machine_is_taken(cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    store = make_store(cluster / "store", rows=24)
    assert "--device=cuda" in written(cluster, "--slices", 2, "-d", "meld", "--sample", "--device", "cuda")
    text = written(cluster, "--slices", 2, "train", "--labeled", store, "--supervised", "--device", "cuda")
    assert text.count("--device=cuda") == 2


def test_the_plan_of_an_array_on_gpus_is_made_where_there_is_none(
    cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    command = ["-d", "meld", "--sample", "--out", "store", "--stages", "text", "--device", "cuda"]
    (words, plan), *_ = submit(cluster, written(cluster, "--slices", 2, "--gres", "gpu:1", *command))
    assert "--gres=gpu:1" not in words and "--device=cuda" in words_of(plan)
    done = call(*words_of(plan), cwd=cluster)
    assert done.returncode == 0, done.stderr
    assert json.loads((cluster / "store" / "store.json").read_text())["stages"]["text"]["device"] == "cuda"
    array = call("extract", *command, "--slice", "1/2", cwd=cluster)
    assert array.returncode == 2 and "valid values on this machine are auto, cpu" in array.stderr


HERE = ["-d", "meld", "--sample"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--slices", 0, *HERE], "--slices"),
        (["--slices", 2, "-d", "nothing", "--root", "."], "nothing"),
        (["--slices", 2, *HERE, "--set", "faces.evry=5"], "did you mean every?"),
        (["--slices", 2, *HERE, "--stages", "smells"], "smells"),
        (["--slices", 2, *HERE, "--colour", "red"], "No such option: --colour"),
        (["--slices", 2, *HERE, "--slice", "1/2"], "each job gets its own --slice"),
        (["--slices", 2, *HERE, "--slice=1/2"], "each job gets its own --slice"),
        (["--slices", 2, *HERE, "--dry-run"], "--dry-run is not for a job array"),
        (["--slices", 2, *HERE, "--plan-only"], "--slice has no effect with --plan-only"),
        (["--slices", 2, *HERE, "--drop-missing"], "--drop-missing changes the whole store"),
        (
            ["--slices", 2, "-d", "iemocap", "--sample", "--set", "expression.statistics=corpus"],
            "statistics of all faces",
        ),
        (["--slices", 2, "train", "--baselines"], "--slice has no effect with --baselines"),
        (["--slices", 2, "train", "--labeled", "nowhere"], "nowhere does not exist"),
        (["--slices", 2, "train", "--set", "epochs=-1", "--supervised"], "hyper-parameter epochs"),
        (["--slices", 2, "train", "--supervised"], "features/iemocap does not exist"),
        (["--slices", 2, *HERE, "--time", "soon"], "--time 'soon'"),
        (["--slices", 2, *HERE, "--mem", "8 GB"], "--mem '8 GB'"),
        (["--slices", 2, *HERE, "--partition", "a b"], "--partition 'a b'"),
        (["--slices", 2, *HERE, "--gres", "gpu 1"], "--gres 'gpu 1'"),
        (["--slices", 2, *HERE, "--logs", "a\nb"], "--logs holds"),
        (HERE, "Missing option '--slices'"),
    ],
)
def test_what_a_job_would_refuse_is_refused_when_the_script_is_written(
    words: list[Any], message: str, tmp_path: Path
) -> None:
    done = call("slurm-script", "--script", "job.sh", *words, cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == "" and message in " ".join(done.stderr.split()), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_only_if_it_is_a_script_of_mmpipe(tmp_path: Path) -> None:
    for slices in (2, 3):
        done = call("slurm-script", "--script", "job.sh", "--slices", slices, *HERE, cwd=tmp_path)
        assert done.returncode == 0 and done.stdout == "" and done.stderr == "bash job.sh\n"
        assert f"--array=1-{slices}" in (tmp_path / "job.sh").read_text()
    (tmp_path / "job.sh").write_text("#!/bin/bash\necho mine\n")
    done = call("slurm-script", "--script", "job.sh", "--slices", 2, *HERE, cwd=tmp_path)
    assert done.returncode == 2 and "is not a script that mmpipe wrote" in done.stderr
    assert (tmp_path / "job.sh").read_text() == "#!/bin/bash\necho mine\n"


@pytest.mark.usefixtures("importable")
def test_slices_of_a_planned_store_write_the_store_of_one_run_and_read_the_corpus_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "clips"
    root.mkdir()
    for number in range(40):
        (root / f"{number}.txt").write_text(f"sentence {number}")
        (root / f"{number}.wav").write_bytes(b"")
    options = {"text": {"extractor": "tests.pipeline.toys:Counting"}}

    def request(out: str, **values: Any) -> ExtractRequest:
        return ExtractRequest("folder", root, tmp_path / out, stages=("text",), stage_options=options, **values)

    extract_corpus(request("whole"), SerialEngine())
    planned = plan_corpus(request("sliced"))
    assert planned.tasks == () and not list((tmp_path / "sliced").glob("text/*"))
    known = read_source(tmp_path / "sliced")
    assert known == read_source(tmp_path / "whole")
    monkeypatch.setattr("mmpipe.pipeline.extraction.corpus.prepare_corpus", None)
    manifest = tmp_path / "sliced" / "manifest.parquet"
    for number in (2, 1):
        extract_corpus(request("sliced", manifest=manifest, part=(number, 2)), SerialEngine())
    assert contents(tmp_path / "sliced") == contents(tmp_path / "whole")
    assert read_source(tmp_path / "sliced") == known
