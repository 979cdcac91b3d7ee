"""What the tests of hostile folders share: a command with an alarm, and who wrote where."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
import signal
import subprocess
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .runs import call

SECONDS = 5.0
MEGABYTES = 1500


@contextmanager
def alarm(what: str) -> Iterator[None]:
    """Fail after `SECONDS`, also where a call of the system waits."""

    def ring(*_: object) -> None:
        raise AssertionError(f"{what} hangs")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def tree(folder: Path) -> set[str]:
    """Every path below a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def calm(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command that must end by itself: soon, with little memory, with a sentence where it fails."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with alarm(" ".join(map(str, arguments))):
        done = call(*arguments, cwd=cwd)
    said = done.stdout + done.stderr
    assert done.returncode in (0, 1, 2), said
    assert "Traceback" not in said and "unexpected" not in said, said
    assert all(c.isprintable() or c == "\n" for c in said), repr(said)
    if done.returncode:
        last = done.stderr.strip()
        assert last.startswith("Error: ") or "Usage" in last or not last, last
        assert last or done.stdout, "it failed without a word"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < MEGABYTES, f"{arguments} took {grown:.0f} MB"
    return done


def stays_inside(root: Path, allowed: tuple[str, ...], act: Callable[[], Any]) -> None:
    """Run something that may write below these parts of a folder alone."""
    before = tree(root)
    act()
    new = {name for name in tree(root) - before if not name.startswith(allowed)}
    assert not new, f"written outside of the target: {sorted(new)}"


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON file in place; a sealed one gets its seal again, as whoever makes such a file would do."""
    value = json.loads(path.read_text())
    sealed = value.pop("seal", None) is not None
    change(value)
    text = json.dumps(value | {"seal": "0" * 64} if sealed else value)
    if sealed:
        place = text.rindex("0" * 64)
        text = text[:place] + hashlib.sha256(text.encode()).hexdigest() + text[place + 64 :]
    path.write_text(text)


def write_sealed(path: Path, table: pa.Table, **options: Any) -> str:
    """Write a Parquet file with the hashes that mmpipe writes, whatever it holds; its SHA-256."""
    held = {key: value for key, value in (table.schema.metadata or {}).items() if not key.startswith(b"mmpipe.")}
    table = table.replace_schema_metadata(held)
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema, write_page_checksum=True, **options) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"mmpipe.sha256": "0" * 64, "mmpipe.crc32": "0" * 8})
    data = bytearray(sink.getvalue())
    places = {key: data.rindex(key) + len(key) + 2 for key in (b"mmpipe.sha256", b"mmpipe.crc32")}
    seal = hashlib.sha256(data).hexdigest()
    data[places[b"mmpipe.sha256"] : places[b"mmpipe.sha256"] + 64] = seal.encode()
    data[places[b"mmpipe.crc32"] : places[b"mmpipe.crc32"] + 8] = f"{zlib.crc32(data):08x}".encode()
    path.write_bytes(data)
    return seal


def seal_run(run: Path, fold: str) -> None:
    """Let every file of a run name the hashes of the others as they are now, where they can be changed so."""

    def digest(name: str) -> str:
        return hashlib.sha256((run / name).read_bytes()).hexdigest()

    def update(held: dict[str, Any]) -> None:
        known = [name for name, old in held["files"].items() if isinstance(old, str) and regular(run / name)]
        held["files"].update({name: digest(name) for name in known})

    model, card = f"{fold}/model.safetensors", f"{fold}/model.json"
    with contextlib.suppress(OSError, ValueError, RecursionError, LookupError, AttributeError, TypeError):
        if regular(run / card) and regular(run / model):
            edit_json(run / card, lambda held: held.update(weights=digest(model)))
    with contextlib.suppress(OSError, ValueError, RecursionError, LookupError, AttributeError, TypeError):
        if regular(run / card):
            edit_json(run / fold / "fold.json", lambda held: held.update(model=digest(card)))
    with contextlib.suppress(OSError, ValueError, RecursionError, LookupError, AttributeError, TypeError):
        if regular(run / "run.json"):
            edit_json(run / "run.json", update)


def regular(path: Path) -> bool:
    """Whether reading a path ends."""
    return path.is_file() and not path.is_symlink()


def fifo(path: Path) -> None:
    """Put a pipe without a writer in the place of a file."""
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def linked(path: Path, target: str) -> None:
    """Put a link in the place of a file."""
    path.unlink(missing_ok=True)
    path.symlink_to(target)
