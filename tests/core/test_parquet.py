"""A damaged Parquet file is found by its seal, and reading it ends in one kind of error."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest

from mmpipe.core.parquet import check_seal, read_metadata, read_parquet, write_parquet


@pytest.fixture
def path(tmp_path: Path) -> Path:
    table = pa.table({"name": ["a", "b"], "count": pa.array([1, 2], pa.int32())})
    write_parquet(tmp_path / "a.parquet", table, {"made": "here"})
    return tmp_path / "a.parquet"


def test_a_sealed_file_comes_back_with_its_metadata(path: Path) -> None:
    assert check_seal(path) is None
    assert read_metadata(path) == {"made": "here"}
    assert read_parquet(path, ["count"]).to_pydict() == {"count": [1, 2]}


def test_every_flipped_bit_of_the_footer_is_found_and_none_raises_another_error(path: Path) -> None:
    whole = path.read_bytes()
    length = int.from_bytes(whole[-8:-4], "little")  # of the footer; its last eight bytes are this and PAR1
    for place in range(len(whole) - length - 8, len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        assert check_seal(path) is not None, place
        with suppress(OSError, ValueError):
            read_parquet(path)
        with suppress(OSError, ValueError):
            read_metadata(path)


def test_texts_that_many_rows_repeat_are_counted_before_a_file_is_refused(tmp_path: Path) -> None:
    words = [f"{number:020d}" for number in range(2000)]
    columns = {f"column{place}": words * 2 for place in range(5)}  # a few hundred kB of texts
    write_parquet(tmp_path / "t.parquet", pa.table(columns), {})
    assert read_parquet(tmp_path / "t.parquet").to_pydict() == columns
    bomb = pa.table({f"column{place}": ["x" * 60_000] * 5000 for place in range(5)})
    write_parquet(tmp_path / "bomb.parquet", bomb, {})
    with pytest.raises((pa.ArrowInvalid, OSError, ValueError), match="decoded it would take"):
        read_parquet(tmp_path / "bomb.parquet")
