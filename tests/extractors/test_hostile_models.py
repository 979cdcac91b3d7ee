"""Model folders from other people: refused with a sentence before a network is built, a pipe opened or code run."""

from __future__ import annotations

import contextlib
import json
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmpipe.core.errors import MmpipeError
from mmpipe.extractors.text.encoder import Bert, BertConfig

from ..pipeline.hostile import alarm, edit_json, fifo, linked

Change = Callable[[Path], object]
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


def config(**values: Any) -> Change:
    return lambda folder: edit_json(folder / "config.json", lambda v: v.update(values))


def write(name: str, data: str | bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def index(weight_map: Any) -> Change:
    def change(folder: Path) -> None:
        (folder / WEIGHTS).rename(folder / "part.safetensors")
        (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))

    return change


MODELS: dict[str, Change] = {
    "a million layers": config(num_hidden_layers=10**6),
    "wide": config(hidden_size=10**6),
    "wide inside": config(intermediate_size=10**7),
    "all words there are": config(vocab_size=10**7),
    "positions": config(max_position_embeddings=10**7),
    "layers a text": config(num_hidden_layers="2"),
    "layers below 0": config(num_hidden_layers=-1),
    "width a list": config(hidden_size=[16]),
    "another model": config(model_type="gpt2"),
    "config deep": write("config.json", '{"a":' * 100_000),
    "config huge integer": write("config.json", '{"hidden_size":' + "9" * 4000 + "}"),
    "config NaN": write("config.json", '{"hidden_size": NaN}'),
    "config a list": write("config.json", "[]"),
    "config a pipe": lambda folder: fifo(folder / "config.json"),
    "config zeros": lambda folder: linked(folder / "config.json", "/dev/zero"),
    "weights a pipe": lambda folder: fifo(folder / WEIGHTS),
    "weights zeros": lambda folder: linked(folder / WEIGHTS, "/dev/zero"),
    "weights a pickle": write(WEIGHTS, pickle.dumps({"a": 1})),
    "weights of a huge header": write(WEIGHTS, struct.pack("<Q", 2**62) + b"{}"),
    "index names zeros": index({"a": "/dev/zero"}),
    "index leaves": index({"a": "../../x.safetensors"}),
    "index names a pickle": index({"a": "pytorch_model.bin"}),
    "index of numbers": index({"a": 3}),
    "index a list": index([1]),
    "index names what is not there": index({"a": "b.safetensors"}),
    "tokenizer a pipe": lambda folder: fifo(folder / "vocab.txt"),
    "tokenizer config zeros": lambda folder: linked(folder / "tokenizer_config.json", "/dev/zero"),
    "tokenizer config deep": write("tokenizer_config.json", "[" * 100_000),
}


@pytest.mark.parametrize("kind", MODELS)
def test_a_hostile_model_folder_is_refused(kind: str, tiny_bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_bert, folder)
    MODELS[kind](folder)
    bert = Bert(BertConfig(model=str(folder), max_tokens=16))
    with alarm(kind), pytest.raises(MmpipeError):
        bert.columns()
        bert.is_case_sensitive()
        bert.weights()
        bert.prepare()


def test_code_of_a_model_folder_does_not_run(tiny_bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_bert, folder)
    (folder / "own.py").write_text(f"open({str(tmp_path / 'pwned')!r}, 'w')\nclass Own: pass\n")
    config(auto_map={"AutoConfig": "own.Own", "AutoModel": "own.Own"})(folder)
    edit_json(folder / "tokenizer_config.json", lambda v: v.update(auto_map={"AutoTokenizer": ["own.Own", None]}))
    bert = Bert(BertConfig(model=str(folder), max_tokens=16))
    with contextlib.suppress(MmpipeError):
        bert.prepare()
    assert not (tmp_path / "pwned").exists()
