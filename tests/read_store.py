"""Read a feature store with the pyarrow that is installed, without mmpipe, and print counts: `read_store.py STORE`.

Exit code 1 if a stage does not hold the utterances of the manifest in their order, or a vector has another width than
the metadata of its column says.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def count(store: Path) -> dict[str, dict[str, int]]:
    """Utterances by status and number of values of `features`, by stage.

    Raises:
        ValueError: a stage does not hold what it should.
    """
    info = json.loads((store / "store.json").read_text("utf-8"))
    ids = pq.read_table(store / "manifest.parquet").column("utterance_id").to_pylist()
    counts = {}
    for stage in info["stages"]:
        tables = [pq.read_table(path) for path in sorted((store / stage).glob("*.parquet"))]
        if [name for table in tables for name in table.column("utterance_id").to_pylist()] != ids:
            raise ValueError(f"stage {stage} does not hold the utterances of the manifest in their order")
        counts[stage] = dict(Counter(s for table in tables for s in table.column("status").to_pylist()))
        if "features" in tables[0].column_names:
            counts[stage]["values"] = sum(_values(stage, table) for table in tables)
    return counts


def _values(stage: str, table: pa.Table) -> int:
    """The number of values of `features`, also inside lists."""
    width = int((table.schema.field("features").metadata or {}).get(b"width", 0))
    rows = [row for row in table.column("features").to_pylist() if row is not None]
    if width and any(len(row) != width for row in rows):
        raise ValueError(f"stage {stage} has vectors of another width than {width}")
    return sum(len(row) if not row or not isinstance(row[0], list) else sum(map(len, row)) for row in rows)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: read_store.py STORE")
    try:
        found = count(Path(sys.argv[1]))
    except (OSError, ValueError, pa.ArrowException) as error:
        sys.exit(f"pyarrow {pa.__version__} cannot read {sys.argv[1]}: {error}")
    print(f"pyarrow {pa.__version__}")
    print(json.dumps(found, sort_keys=True))
