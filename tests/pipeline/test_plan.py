"""The plan gives every utterance a shard and only grows."""

from __future__ import annotations

import pytest

from mmpipe.core.errors import StoreError
from mmpipe.manifests.schema import MediaSpan, Utterance, to_table
from mmpipe.pipeline.store.plan import plan, shard_size


def utterance(number: int, *, file: str = "a.avi") -> Utterance:
    return Utterance(f"t/{number:05d}", "t", video=MediaSpan(file, float(number), number + 1.0))


@pytest.mark.parametrize(("rows", "size"), [(1, 16), (512, 16), (1024, 32), (5531, 172), (8192, 256), (10**6, 256)])
def test_shard_size_follows_from_the_rows_alone_and_stays_within_16_and_256(rows: int, size: int) -> None:
    assert shard_size(rows) == size


def test_a_corpus_of_512_utterances_or_more_gets_at_least_32_shards() -> None:
    assert all(-(-rows // shard_size(rows)) >= 32 for rows in range(512, 20_000, 37))


def test_rows_are_ordered_by_media_file_and_time_whatever_order_the_manifest_has() -> None:
    rows = [utterance(n, file=f"{'ba'[n % 2]}.avi") for n in range(40)]
    forwards, backwards = plan(to_table(rows)), plan(to_table(reversed(rows)))
    assert forwards.equals(backwards)
    files = [row["uri"] for row in forwards.column("video").to_pylist()]
    assert files == sorted(files)
    starts = [row["start_seconds"] for row in forwards.column("video").to_pylist()]
    assert starts[:20] == sorted(starts[:20])


def test_new_rows_get_new_shards_and_old_rows_keep_theirs() -> None:
    old = plan(to_table(utterance(n) for n in range(20, 60)))
    new = plan(to_table(utterance(n) for n in range(80)), old)
    assert new.slice(0, 40).equals(old)
    assert set(new.slice(40).column("shard").to_pylist()).isdisjoint(old.column("shard").to_pylist())
    assert new.column("shard").to_pylist() == sorted(new.column("shard").to_pylist())


def test_a_kept_row_takes_its_new_content() -> None:
    old = plan(to_table([utterance(0)]))
    changed = Utterance("t/00000", "t", label="anger", video=MediaSpan("a.avi", 0.0, 1.0))
    assert plan(to_table([changed]), old).column("label").to_pylist() == ["anger"]


def test_a_row_that_vanished_is_an_error_that_names_it() -> None:
    old = plan(to_table([utterance(0), utterance(1)]))
    with pytest.raises(StoreError, match=r"1 utterances.*t/00000"):
        plan(to_table([utterance(1)]), old)
