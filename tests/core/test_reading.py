"""JSON within limits, names of files from any text, and the memory that a Parquet file would take."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmpipe.core.parquet import read_parquet
from mmpipe.core.parquet_footer import read_columns
from mmpipe.core.reading import parse_json, read_json, read_limited
from mmpipe.core.text import safe_name, safe_names

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=40)
@given(VALUES)
def test_what_the_standard_library_writes_is_read_as_it_reads_it(value: Any) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        try:
            text.encode()
        except UnicodeEncodeError:
            continue
        try:
            assert parse_json(text) == json.loads(text)
        except UnicodeEncodeError:  # half of a character, which the standard library takes
            assert "\\ud" in text


@pytest.mark.parametrize(
    "text", ["NaN", "[-Infinity]", "1e999", "1" * 20, "[" * 41 + "]" * 41, "[" * 10**6, '"\\udc00"']
)
def test_what_no_json_of_mmpipe_holds_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_json(text)


def test_forty_levels_are_read() -> None:
    assert parse_json("[" * 40 + "]" * 40)


def test_pipes_devices_folders_and_large_files_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b" " * 11)
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path, tmp_path / "none"):
        with pytest.raises(OSError):
            read_json(path)
    with pytest.raises(ValueError, match="more than 10 bytes"):
        read_limited(tmp_path / "large", 10)


@given(st.lists(st.text(st.characters(codec=None), max_size=300), unique=True, max_size=6))
def test_any_texts_become_different_names_of_files(texts: list[str]) -> None:
    names = safe_names(texts)
    assert len({name.casefold() for name in names}) == len(texts)
    for name in names:
        assert name.isascii() and "/" not in name and "\\" not in name and 0 < len(name) <= 80
        assert name[0] not in ".-" and name[-1] not in ". " and name.isprintable()
        assert safe_name(name) == name


@pytest.mark.parametrize(
    "text", ["..", "../x", "/etc", "a/b", "a\\b", "con", "NUL.txt", "Com1", "a.", "a ", "", "é", "~"]
)
def test_a_name_that_some_system_does_not_take_is_changed(text: str) -> None:
    assert safe_name(text) != text


def test_the_footer_is_read_as_arrow_reads_it(tmp_path: Path) -> None:
    words = [[{"text": "a", "at": 1.0}] * n for n in range(9)]
    table = pa.table({"words": words, "x": pa.array(range(9), pa.int16()), "b": pa.array([b"abcd"] * 9, pa.binary(4))})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=4)
    footer = pq.read_metadata(tmp_path / "t.parquet")
    arrow = [footer.row_group(g).column(c) for g in range(footer.num_row_groups) for c in range(footer.num_columns)]
    with (tmp_path / "t.parquet").open("rb") as stream:
        columns = read_columns(stream)
    assert [(c.path, c.values, c.size) for c in columns] == [
        (c.path_in_schema, c.num_values, c.total_uncompressed_size) for c in arrow
    ]
    assert [c.width for c in columns[:4]] == [None, 8, 4, 4]


def test_a_small_file_of_a_huge_table_is_refused_and_an_ordinary_one_is_read(tmp_path: Path) -> None:
    many = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2000, np.int32)), pa.array(["a" * 1_000_000]))
    blocks = pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(200_000, np.int32)), pa.array([b"a" * 4096], pa.binary(4096))
    )
    for name, table in {"texts": pa.table({"t": many}), "blocks": pa.table({"b": blocks})}.items():
        pq.write_table(table, tmp_path / name, compression="zstd", store_schema=False)
        with pytest.raises(pa.ArrowInvalid, match="decoded it would take"):
            read_parquet(tmp_path / name, foreign=True)
    fine = pa.table({"t": [f"word {n % 300}" for n in range(300_000)]})
    pq.write_table(fine, tmp_path / "fine", compression="zstd")
    assert read_parquet(tmp_path / "fine", foreign=True) == fine
