"""`mmpipe inspect --verify` finds a flipped byte in any shard."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from mmpipe.manifests.schema import to_table
from mmpipe.pipeline.cli.inspect import inspect
from mmpipe.pipeline.extraction.engines.serial import SerialEngine
from mmpipe.pipeline.extraction.run import plan_extraction, run_plan
from mmpipe.pipeline.extraction.stages import StageSpec
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.store.shards import shard_path, write_shard
from mmpipe.pipeline.store.verify import verify_store

from .conftest import clip_utterance
from .runs import call
from .toys import Counting, toy


@pytest.fixture(scope="module")
def original(corpus_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two stages, two shards each."""
    path = tmp_path_factory.mktemp("verify") / "store"
    manifest = to_table(clip_utterance(number) for number in range(20))
    planned = plan_extraction(manifest, "test", corpus_root, path, [StageSpec("audio", "is10"), toy(Counting, "text")])
    run_plan(planned, SerialEngine())
    return path


@pytest.fixture
def store(original: Path) -> Path:
    """The store, checked to be sound."""
    assert verify_store(original).damaged == {}
    return original


def test_a_sound_store_passes_and_is_counted(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = verify_store(store)
    files = list(store.rglob("*.parquet"))
    assert (found.files, found.bytes) == (len(files), sum(path.stat().st_size for path in files)) == (5, found.bytes)
    inspect(store, verify=True)
    assert "Every file is what was written" in capsys.readouterr().out


def test_one_flipped_bit_anywhere_in_any_file_is_found(store: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for path in sorted(store.rglob("*.parquet")):
        data = path.read_bytes()
        ends = [*range(0, 8), *range(len(data) - 300, len(data))]
        for place in [*chance.sample(range(len(data)), 12), *chance.sample(ends, 12)]:
            flipped = bytearray(data)
            flipped[place] ^= 1 << chance.randrange(8)
            path.write_bytes(flipped)
            try:
                assert list(verify_store(store).damaged) == [path.relative_to(store).as_posix()], (
                    f"byte {place}, seed {seed}"
                )
            finally:
                path.write_bytes(data)


def test_the_command_names_the_file_and_exits_1(store: Path, tmp_path: Path) -> None:
    path = shard_path(store, "audio", 1)
    data = path.read_bytes()
    path.write_bytes(data[:5000] + bytes([data[5000] ^ 1]) + data[5001:])
    try:
        done = call("inspect", store, "--verify")
    finally:
        path.write_bytes(data)
    assert done.returncode == 1
    assert "damaged: audio/00001.parquet" in done.stdout
    assert "Run the same `mmpipe extract` again" in done.stdout
    assert call("inspect", store, "--verify").returncode == 0


def test_shards_of_other_utterances_and_missing_ones_are_named(store: Path) -> None:
    path, other = shard_path(store, "audio", 1), shard_path(store, "text", 1)
    data, text = path.read_bytes(), other.read_bytes()
    reader = FeatureStore(store)
    write_shard(
        path, reader.read_shard("audio", 0).replace_schema_metadata(None), reader.footer("audio", 1)["provenance"]
    )
    other.unlink()
    try:
        found = verify_store(store)
    finally:
        path.write_bytes(data)
        other.write_bytes(text)
    assert found.damaged == {"audio/00001.parquet": "its utterances are not those of the manifest"}
    assert found.missing == ["text/00001.parquet"]
