"""A full disk stops the run with a clear message and no half shard; the run goes on once there is space."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mmpipe.core.parquet import check_seal

from .conftest import tone, write_wav
from .runs import CODE, contents
from .toys import ROOT

SMALL = {"a file size limit": "ulimit -f 40", "a full disk": 'mount -t tmpfs -o size=192k none "$DISK"'}
"""How space runs out: no file above 20 kB (the shell counts in blocks of 512 bytes), or a file system of 192 kB. The
second needs mount namespaces; where the system forbids them, a lower limit of the first kind takes its place."""

AGAIN = {"a file size limit": "true", "a full disk": 'mount -o remount,size=64m "$DISK"'}


def namespaces() -> bool:
    """Whether an ordinary user may mount here."""
    command = ["unshare", "--user", "--map-root-user", "--mount", "true"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("way", list(SMALL))
def test_a_full_disk_stops_the_run_and_it_goes_on_once_there_is_space(tmp_path: Path, way: str) -> None:
    corpus, disk, saved = tmp_path / "corpus", tmp_path / "disk", tmp_path / "saved"
    corpus.mkdir()
    disk.mkdir()
    for number in range(32):
        write_wav(corpus / f"clip{number:02d}.wav", tone(0.4, seed=number))
        (corpus / f"clip{number:02d}.txt").write_text(f"clip number {number}")
    options = ["--stages", "text,audio", "--set", "text.extractor=tests.pipeline.toys:Counting", "--device", "cpu"]
    where = ["--dataset", "folder", "--root", str(corpus), "--out", str(disk / "store"), "--workers", "1"]
    extract = shlex.join([sys.executable, "-c", CODE, "extract", *where, *options])
    shell, small, again = ["sh", "-c"], SMALL[way], AGAIN[way]
    if way == "a full disk" and namespaces():
        shell = ["unshare", "--user", "--map-root-user", "--mount", *shell]
    elif way == "a full disk":
        small, again = "ulimit -f 20", "true"
    limited = f"({small}; {extract})" if small.startswith("ulimit") else f"{small}; {extract}"
    first = f"{limited}; echo code $?; cp -r $DISK/store $SAVED"
    script = f"{first}; {again}; {extract}; echo code $?; cp -r $DISK/store $SAVED/again"
    environment = {
        "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "PYTHONDONTWRITEBYTECODE": "1",  # the limit would cut those files off
        "DISK": str(disk),
        "SAVED": str(saved),
    }
    done = subprocess.run([*shell, script], env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert [line for line in done.stdout.splitlines() if line.startswith("code")] == ["code 1", "code 0"], done.stderr
    message = "No space left on device" if "mount" in small else "File too large"
    assert f"cannot be written: {message}; what was finished before is safe" in done.stderr
    assert "free space" in done.stderr and "run the same command again" in done.stderr
    assert "Traceback" not in done.stderr
    finished = contents(saved / "again")
    stopped = {name: data for name, data in contents(saved).items() if not name.startswith("again/")}
    assert stopped.items() < finished.items()
    assert len([name for name in finished if name.startswith("audio/")]) == 2
    assert all(check_seal(saved / "again" / name) is None for name in finished if name.endswith(".parquet"))
