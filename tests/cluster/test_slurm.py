"""A job array on a real Slurm of one node gives the bytes of one local run, also after a slice was cancelled."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..pipeline.runs import call, clean_environment, contents
from ..pipeline.training.conftest import make_store

SCRIPT = Path(__file__).with_name("slurm.sh")
PATHS = os.pathsep.join([os.environ["PATH"], "/usr/sbin"])

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        any(shutil.which(daemon, path=PATHS) is None for daemon in ("sbatch", "slurmctld", "slurmd", "munged")),
        reason="there is no Slurm: apt-get install slurmctld slurmd munge",
    ),
]


@pytest.fixture(scope="module")
def slurm() -> Iterator[Path]:
    """The folder of a running cluster with four cores, on which four jobs run at once."""
    folder = Path(tempfile.mkdtemp(prefix="mmpipe-slurm-"))  # the name of munge's socket must be short
    environment = clean_environment() | {"CORES": "4"}
    subprocess.run([SCRIPT, "start", folder], env=environment, check=True)
    yield folder
    subprocess.run([SCRIPT, "stop", folder], check=True)
    shutil.rmtree(folder)


class Jobs:
    """What a script of `mmpipe slurm-script` submits to a cluster, from a folder."""

    def __init__(self, slurm: Path, folder: Path) -> None:
        self.folder = folder
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # as in an activated environment
        self._environment = clean_environment() | {"SLURM_CONF": str(slurm / "slurm.conf"), "PATH": path}

    def call(self, *words: object) -> str:
        command = [*map(str, words)]
        return subprocess.run(
            command, cwd=self.folder, env=self._environment, check=True, capture_output=True, text=True
        ).stdout

    def submit(self, *words: object) -> dict[str, int]:
        """The number of each job, by its name in the script."""
        done = call("slurm-script", "--script", "job.sh", "--cpus", 1, *words, cwd=self.folder)
        assert done.returncode == 0, done.stderr
        said = self.call("bash", "job.sh")
        print(said, end="")
        return {name: int(number) for name, number in re.findall(r"(\w+) (\d+)", said)}

    def finish(self, jobs: dict[str, int]) -> dict[str, str]:
        """Wait for the end of jobs: their states and exit codes, those of an array by slice."""
        deadline = time.monotonic() + 1200
        while self.call("squeue", "--noheader", "--jobs", ",".join(map(str, jobs.values()))).strip():
            assert time.monotonic() < deadline, self.call("squeue")
            time.sleep(0.5)
        found = {}
        for name, number in jobs.items():
            for line in self.call("scontrol", "show", "job", number, "--oneliner").splitlines():
                said = dict(re.findall(r"(\w+)=(\S*)", line))
                key = name + (f" {said['ArrayTaskId']}" if "ArrayTaskId" in said else "")
                found[key] = f"{said['JobState']} {said['ExitCode']}"
                where = f"job {said['JobId']}, {said['JobName']} {said.get('ArrayTaskId', '')}"
                print(f"{where}: {found[key]}, took {said['RunTime']}, on {said.get('NodeList')}")
        return found

    def log(self, pattern: str) -> str:
        (file,) = (self.folder / "slurm-logs").glob(pattern)
        return file.read_text()


def test_an_array_of_four_gives_the_store_of_one_run_after_a_slice_was_cancelled(slurm: Path, tmp_path: Path) -> None:
    jobs = Jobs(slurm, tmp_path)
    what = ["-d", "iemocap", "--sample", "--device", "cpu"]
    store = tmp_path / "a store's"
    first = jobs.submit("--slices", 4, "--time", "1:00:00", *what, "--out", store.name)
    jobs.call("scancel", f"{first['array']}_2")
    states = jobs.finish(first)
    done = "COMPLETED 0:0"
    assert "array 2" not in states  # it was cancelled before it began
    assert states == {"plan": done, **{f"array {n}": done for n in (1, 3, 4)}, "missing": "FAILED 3:0"}
    listed = jobs.log(f"*-missing-{first['missing']}.log")
    print(listed)
    assert "4 shards of slices 2 are due" in listed and listed.count("not made yet") == 4  # shard 1 of four stages
    again = jobs.submit("--slices", 4, "--time", "1:00:00", *what, "--out", store.name)
    assert set(jobs.finish(again).values()) == {done}
    for task in (1, 2, 3, 4):
        print(jobs.log(f"*-{again['array']}_{task}.log"))
    assert "Nothing is due" in jobs.log(f"*-missing-{again['missing']}.log")
    local = call("extract", *what, "--out", "local", "--workers", 2, cwd=tmp_path)
    assert local.returncode == 0, local.stderr
    assert contents(store) == contents(tmp_path / "local")
    print(f"equal: {len(contents(store))} files, {sum(map(len, contents(store).values()))} bytes")


def test_an_array_trains_the_run_of_one_process(slurm: Path, tmp_path: Path) -> None:
    jobs = Jobs(slurm, tmp_path)
    make_store(tmp_path / "store", rows=48)
    few = ["--size", "small", "--set", "epochs=2", "--set", "batch_size=16", "--set", "faces=8", "--set", "words=8"]
    what = ["--labeled", "store", "--supervised", *few, "--device", "cpu", "--seeds", 2, "--out"]
    states = jobs.finish(jobs.submit("--slices", 4, "train", *what, "run"))
    assert set(states.values()) == {"COMPLETED 0:0"} and len(states) == 5
    logs = [path.read_text() for path in sorted((tmp_path / "slurm-logs").glob("*_*.log"))]
    for log in logs:
        print(*(line for line in log.splitlines() if "Slice" in line or "folds are" in line), sep="\n")
    assert sum("folds are finished: written to run" in log for log in logs) >= 1
    assert call("train", *what, "local/run", cwd=tmp_path).returncode == 0
    ours, theirs = (contents(folder) for folder in (tmp_path / "run", tmp_path / "local" / "run"))
    records = [json.loads(files.pop("run.json")) for files in (ours, theirs)]
    assert ours == theirs
    assert [{name: r[name] for name in r if name not in ("seconds", "seal")} for r in records] == [
        {name: r[name] for name in r if name not in ("seconds", "seal")} for r in records[:1] * 2
    ]
