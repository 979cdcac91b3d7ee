"""Run folders from other people: predict and evaluate execute nothing, open nothing and end soon, with a sentence."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
import zlib
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mmpipe.pipeline.training.config import make_config
from mmpipe.pipeline.training.run import train

from ...conftest import Once
from ..conftest import tone, write_wav
from ..hostile import calm, edit_json, fifo, linked, seal_run, stays_inside, tree
from .conftest import make_store

EVIL = "[/sad]\x1b[31m\x1b]8;;http://x\x07"
Change = Callable[[Path], object]
FOLD = "groups-0"


@pytest.fixture(scope="module")
def good(once: Once) -> Path:
    """A trained run of sounds alone, and another store to score."""

    def make(folder: Path) -> None:
        config = make_config(
            objective="paper", size="small", modalities=("a",), epochs=1, batch_size=16, protocol="groups-3"
        )
        train(config, make_store(folder / "store"), folder / "run")
        make_store(folder / "other", rows=64)
        write_wav(folder / "clip.wav", tone(1.0))

    return once("hostile-run", make)


def card(change: Callable[[dict[str, Any]], object]) -> Change:
    return lambda run: edit_json(run / FOLD / "model.json", change)


def made(**values: Any) -> Change:
    return card(lambda v: v["features"]["audio"].update(values))


def result(change: Callable[[dict[str, Any]], object]) -> Change:
    return lambda run: edit_json(run / "run.json", change)


def write(file: str, data: str | bytes) -> Change:
    return lambda run: (run / file).write_bytes(data if isinstance(data, bytes) else data.encode())


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Change:
    def apply(run: Path) -> None:
        path = run / FOLD / "model.safetensors"
        held = load_file(path)
        change(held)
        save_file(held, path)

    return apply


class _Bomb:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("pwned"),)


MODEL, CARD = f"{FOLD}/model.safetensors", f"{FOLD}/model.json"
RUNS: dict[str, Change] = {
    "fold leaves": result(lambda v: v["folds"][0].update(name="../../x")),
    "fold absolute": result(lambda v: v["folds"][0].update(name="/etc")),
    "fold a number": result(lambda v: v["folds"][0].update(name=3)),
    "fold with markup": result(lambda v: v["folds"][0].update(name=EVIL)),
    "fold of 300 letters": result(lambda v: v["folds"][0].update(name="a" * 300)),
    "no folds": result(lambda v: v.update(folds=[])),
    "seeds huge": result(lambda v: v.update(seeds=10**18)),
    "labels twice": result(lambda v: v.update(labels=["a", "a"])),
    "labels a text": result(lambda v: v.update(labels="ab")),
    "files lead out": result(lambda v: v["files"].update({"../../../../dev/zero": "0" * 64})),
    "files a list": result(lambda v: v.update(files=[1])),
    "files of numbers": result(lambda v: v.update(files=dict.fromkeys(v["files"], 1))),
    "history without epochs": write("history.csv", "seed,fold\n1,x\n"),
    "history of texts": write("history.csv", f"epoch,train_loss\n{EVIL},x\n"),
    "history infinite": write("history.csv", "epoch,train_loss,cls\n1,1e999,nan\n2,-inf,1e308\n"),
    "history no table": write("history.csv", b"\xff\x00,,,\n" * 99),
    "history empty": write("history.csv", ""),
    "history a pipe": lambda run: fifo(run / "history.csv"),
    "history zeros": lambda run: linked(run / "history.csv", "/dev/zero"),
    "run.json deep": write("run.json", "[" * 100_000),
    "run.json a pipe": lambda run: fifo(run / "run.json"),
    "run.json zeros": lambda run: linked(run / "run.json", "/dev/zero"),
    "run.json NaN": write("run.json", '{"name": NaN}'),
    "card deep": write(CARD, '{"a":' * 100_000),
    "card a pipe": lambda run: fifo(run / CARD),
    "card zeros": lambda run: linked(run / CARD, "/dev/zero"),
    "card a list": write(CARD, "[]"),
    "card without features": card(lambda v: v.update(features=None)),
    "features a list": card(lambda v: v.update(features=[1])),
    "features of a list": card(lambda v: v["features"].update(audio=[1])),
    "stage leaves": card(lambda v: v["features"].update({"../../x": {}})),
    "words 1e12": card(lambda v: v["config"].update(words=10**12)),
    "size unknown": card(lambda v: v["config"].update(size=EVIL)),
    "labels a million": card(lambda v: v.update(labels=[str(n) for n in range(1_000_000)])),
    "labels numbers": card(lambda v: v.update(labels=[1, 2])),
    "reach a text": card(lambda v: v.update(reach={"a": "x"})),
    "weights a pickle": write(MODEL, pickle.dumps(_Bomb())),
    "weights a pipe": lambda run: fifo(run / MODEL),
    "weights zeros": lambda run: linked(run / MODEL, "/dev/zero"),
    "weights of a huge header": write(MODEL, struct.pack("<Q", 2**62) + b"{}"),
    "weights of a huge tensor": write(
        MODEL,
        (lambda head: struct.pack("<Q", len(head)) + head)(
            json.dumps({"norm.a.mean": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
        ),
    ),
    "norm of a million": tensors(
        lambda held: held.update({f"norm.a.{name}": torch.zeros(1_000_000) for name in ("mean", "scale")})
    ),
    "norm a number": tensors(lambda held: held.update({"norm.a.mean": torch.zeros(())})),
    "a tensor less": tensors(lambda held: held.pop(next(name for name in held if name.startswith("model.")))),
}
PREDICTS: dict[str, tuple[Change, str]] = {
    "extractor imports": (made(extractor="tests.pipeline.training.imported_by_nobody:X"), "--trust"),
    "extractor of the system": (made(extractor="os:system"), "--trust"),
    "extractor with markup": (made(extractor=EVIL), "--trust"),
    "config names zeros": (made(extractor="is10", config={"config_file": "/dev/zero"}), "--trust"),
    "config names a parent": (made(extractor="is10", config={"config_file": "../x.conf"}), "--trust"),
    "config names a file here": (made(extractor="is10", config={"config_file": "clip.wav"}), "--trust"),
    "config names a folder here": (made(extractor="speech-encoder", config={"model": "run"}), "--trust"),
    "config names a home": (made(extractor="speech-encoder", config={"model": "~/x"}), "--trust"),
    "config names a URL": (made(extractor="speech-encoder", config={"model": "s3://x/y"}), "--trust"),
    "weights nested": (made(extractor="densenet-ferplus", config={"weights": "./w.safetensors"}), "--trust"),
    "option unknown": (made(extractor="is10", config={"x": [1]}), "x"),
    "weights differ": (made(extractor="is10", config={}, weights={"x": "0" * 64}), "extract both alike"),
}


@pytest.mark.parametrize("kind", RUNS)
def test_a_hostile_run_folder_costs_a_message(kind: str, good: Path, tmp_path: Path) -> None:
    work = tmp_path / "a" / "b" / "work"
    shutil.copytree(good, work)
    run = work / "run"
    RUNS[kind](run)
    seal_run(run, FOLD)

    def act() -> None:
        if not kind.startswith("history"):
            assert calm("evaluate", run, "--store", work / "other", cwd=work).returncode in (1, 2)
        calm("report", work / "other", "--run", run, "--out", work / "report.html", cwd=work)

    stays_inside(tmp_path, ("a/b/work/report.html", "a/b/work/other/logs"), act)


@pytest.mark.parametrize("kind", PREDICTS)
def test_predict_runs_no_code_and_opens_no_file_that_a_run_names(kind: str, good: Path, tmp_path: Path) -> None:
    shutil.copytree(good, tmp_path / "work")
    work, (change, said) = tmp_path / "work", PREDICTS[kind]
    change(work / "run")
    seal_run(work / "run", FOLD)
    done = calm("predict", work / "run" / FOLD, work / "clip.wav", cwd=work)
    assert done.returncode in (1, 2) and said in done.stderr, done.stderr


def test_a_store_whose_logs_are_a_link_writes_nothing_through_it(good: Path, tmp_path: Path) -> None:
    shutil.copytree(good, tmp_path / "work")
    (tmp_path / "own" / "arrays" / "audio-mine").mkdir(parents=True)
    store = tmp_path / "work" / "other"
    shutil.rmtree(store / "logs", ignore_errors=True)
    (store / "logs").symlink_to(tmp_path / "own")
    before = tree(tmp_path)
    assert calm("evaluate", tmp_path / "work" / "run", "--store", store, cwd=tmp_path).returncode == 0
    assert tree(tmp_path) == before


def test_kept_arrays_of_other_shapes_are_made_again(good: Path, tmp_path: Path) -> None:
    shutil.copytree(good, tmp_path / "work")
    run, store = tmp_path / "work" / "run", tmp_path / "work" / "other"
    first = calm("evaluate", run, "--store", store, cwd=tmp_path)
    (kept,) = (store / "logs" / "arrays").iterdir()
    np.save(kept / "features.npy", np.load(kept / "features.npy")[:3])
    data = (kept / "features.npy").read_bytes()
    entry = {"bytes": len(data), "crc32": f"{zlib.crc32(data):08x}"}
    edit_json(kept / "arrays.json", lambda held: held["arrays"].update({"features.npy": entry}))
    again = calm("evaluate", run, "--store", store, cwd=tmp_path)
    assert again.returncode == 0 and again.stdout == first.stdout
    assert len(np.load(kept / "features.npy")) == 64


class Elements(HTMLParser):
    """The scripts of a page, and the elements that run code on an event."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts, self.code, self.handlers, self.inside = 0, "", list[str](), False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag == "script"
        self.scripts += self.inside
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        self.code += data if self.inside else ""


def test_a_report_shows_markup_and_scripts_as_text(good: Path, tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    shutil.copytree(good / "run", tmp_path / "run")
    edit_json(tmp_path / "run" / "run.json", lambda v: v.update(name=evil, objective=evil))
    store = make_store(tmp_path / "store", labels=(evil, "sadness"))
    edit_json(store / "store.json", lambda v: v.update(corpus=evil))
    done = calm("report", store, "--run", tmp_path / "run", "--out", tmp_path / "r.html", cwd=tmp_path)
    page = (tmp_path / "r.html").read_text()
    assert done.returncode == 0 and "alert(1)" in page
    parsed = Elements()
    parsed.feed(page)
    assert parsed.scripts == 1 and "alert(1)" not in parsed.code  # the page's own script
    assert not parsed.handlers and "\"'>" not in page
