"""The tables of docs/scale.md are computed from measured figures, and the computation is right."""

from __future__ import annotations

import json
import re
from typing import Any

from benchmarks.capacity import FIGURES, crops_of, files_of, tables

from .test_links import ROOT

ROUND: dict[str, Any] = {
    "stages": {
        name: {"core_seconds": 895.0, "mb": 25.0, "gib": 1.0} for name in ("audio", "faces", "expression", "text")
    },
    "hash": {"core_seconds": 20.0, "media_mb": 1800.0},
    "planning": {
        "rows": 1_000_000,
        "shards": 4,
        "first_seconds": 36.0,
        "resume_seconds": 1.0,
        "gib": 3.0,
        "gib_before": 1.0,
    },
}
"""An hour takes one core-hour and 100 MB; a million rows take 36 s and 2 GiB beside the first."""


def cells(text: str) -> dict[str, list[str]]:
    """The rows of Markdown tables, by their first cell."""
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    return {first: rest for first, *rest in lines}


def test_the_page_holds_the_tables_of_the_measured_figures() -> None:
    assert tables(json.loads(FIGURES.read_text("utf-8"))).strip() in (ROOT / "docs" / "scale.md").read_text("utf-8")


def test_the_tables_of_round_figures_are_those_computed_by_hand() -> None:
    found = cells(tables(ROUND))
    assert found["all"] == ["3,600", "100.0", "-"]
    assert found["crops of 7.2 s"] == ["50,000", "500,000", "50,000,000"]
    assert found["core-hours"] == ["100", "1,000", "100,000"]
    assert found["hours on 1 node of 16 cores"] == ["6.2", "62.5", "6,250.0"]
    assert found["hours on 64 nodes of 64 cores"] == ["0.02", "0.24", "24.4"]
    assert found["GB of the store"] == ["10.0", "100.0", "10,000.0"]
    assert found["GB of the media"] == ["180", "1,800", "180,000"]
    assert found["shard files"] == ["784", "7,816", "781,252"]  # 50,000 / 256 = 195.3, four stages
    assert found["seconds of a plan"] == ["2", "18", "1,800"]
    assert found["seconds of a plan where all is made"] == ["0", "0", "50"]
    assert found["hashing of the media"] == ["20.0", "0", "-"]
    assert found["GiB of a plan"] == ["1.1", "2.0", "101.0"]
    assert found["answers of a listing of S3"] == ["4", "8", "784"]
    assert found["planning takes as long as the work of a slice of 16 cores"] == [
        "12,500 slices"
    ]  # 3600 s / 0.018 s / 16
    assert found["the plan fills 64 GiB of memory"] == ["63,000 h"]  # 31.5 million rows
    assert found["a disk of 1 GB/s is busy: media are read twice, shards written"] == [
        "973 cores"
    ]  # 3700 MB an hour a core
    assert crops_of(100) == 50_000 and files_of(1) == 4 * 32 and not re.search("nan|inf", tables(ROUND))
