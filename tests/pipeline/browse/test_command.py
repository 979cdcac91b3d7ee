"""`mmpipe browse` as a command: what it refuses, and what it serves."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mmpipe.core.errors import UsageError
from mmpipe.pipeline.cli.app import app

from .conftest import served


def get(url: str) -> str:
    for _ in range(100):
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return str(answer.read().decode())
        except ConnectionError:
            time.sleep(0.05)
    raise AssertionError(f"no answer from {url}")


def test_the_command_serves_a_store_on_the_loopback_interface_until_it_is_interrupted(
    place: Path, tmp_path: Path
) -> None:
    words = (str(place / "store"), "--root", str(place / "corpus"), "--balanced", str(place / "balanced.parquet"))
    with served(*words, folder=tmp_path) as (address, process):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
        assert "t/film" in get(address)
        port = int(address.rstrip("/").rpartition(":")[2])
        second = subprocess.run(
            [sys.executable, "-m", "mmpipe", "browse", words[0], "--port", str(port), "--out", "other.csv"],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert second.returncode == 2 and f"port {port} cannot be used" in second.stderr
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=20)[0]
        assert process.returncode == 0 and "0 marks are in marks.csv" in said
    assert list(tmp_path.iterdir()) == []  # no lock, no list without a mark


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "localhost.evil.example"])
def test_no_address_but_that_of_the_machine_itself_is_listened_on(host: str, place: Path) -> None:
    assert CliRunner().invoke(app, ["browse", str(place / "store"), "--host", host]).exit_code == 2


def test_without_the_extra_the_command_says_what_to_install(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmpipe.pipeline.cli.browse.find_spec", lambda name: None if name == "uvicorn" else name)
    done = CliRunner().invoke(app, ["browse", str(place / "store")])
    assert isinstance(done.exception, UsageError) and "pip install 'mmpipe[browse]'" in str(done.exception)


def test_a_root_for_several_stores_and_a_foreign_list_are_refused(place: Path, tmp_path: Path) -> None:
    store = str(place / "store")
    done = CliRunner().invoke(app, ["browse", store, store, "--root", "x"])
    assert isinstance(done.exception, UsageError) and "the corpus of one store" in str(done.exception)
    (tmp_path / "notes.csv").write_text("my own notes")
    done = CliRunner().invoke(app, ["browse", store, "--out", str(tmp_path / "notes.csv")])
    assert isinstance(done.exception, UsageError) and "not a list of marks" in str(done.exception)
    assert (tmp_path / "notes.csv").read_text() == "my own notes"
