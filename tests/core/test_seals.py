"""Sealed JSON: every flipped bit is found, or changes nothing that is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmpipe.core.seals import read_sealed_json, write_sealed_json

VALUE = {"format": "mmpipe-store/2", "manifest": {"rows": 3, "sha256": "ab" * 32}, "stages": {"audio": [1.5, None]}}


def test_every_flipped_bit_of_a_sealed_json_is_found(tmp_path: Path) -> None:
    path = tmp_path / "store.json"
    write_sealed_json(path, VALUE)
    data = path.read_bytes()
    for place in range(len(data)):
        for bit in range(8):
            path.write_bytes(data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :])
            try:
                assert read_sealed_json(path) == VALUE, (place, bit)
            except ValueError:
                continue
            assert data[place : place + 1].isspace(), (place, bit)  # one kind of space for another


def test_a_file_of_an_earlier_version_is_read_without_a_seal(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"fingerprint": "' + "ab" * 32 + '"}')
    assert read_sealed_json(tmp_path / "run.json") == {"fingerprint": "ab" * 32}
    (tmp_path / "run.json").write_text('{"seam": "' + "ab" * 32 + '"}')
    with pytest.raises(ValueError, match="the name of its seal is damaged"):
        read_sealed_json(tmp_path / "run.json")
