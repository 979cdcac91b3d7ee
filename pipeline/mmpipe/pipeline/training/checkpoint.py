"""Models on disk: safetensors and JSON, nothing else.

    model.safetensors    model.*: the parameters; norm.{modality}.mean and .scale: the normalisation
    model.json           config, labels in the order of the classes, what made the features, how far the labelled rows
                         reach from the mean of the training rows, and the SHA-256 of model.safetensors; sealed

No pickle is written or read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from mmpipe.core.errors import TrainingError, WeightsError
from mmpipe.core.files import write_bytes
from mmpipe.core.reading import check_regular
from mmpipe.core.seals import read_sealed_json, sha256_of, write_sealed_json
from mmpipe.pipeline.training.config import TrainConfig
from mmpipe.pipeline.training.data.dataset import Dataset, Norm, Pool, Rows
from mmpipe.pipeline.training.discriminants import build_model
from mmpipe.pipeline.training.loop import predict
from mmpipe.pipeline.training.model import Network
from mmpipe.pipeline.training.shift import Reach
from mmpipe.pipeline.training.trust import check_provenance

__all__ = ["SavedModel", "check_features", "load_model", "model_damage", "save_model"]

_CARD, _WEIGHTS = "model.json", "model.safetensors"


@dataclass(frozen=True)
class SavedModel:
    """A trained model with all it needs to be used.

    Attributes:
        model: in evaluation mode.
        config: its hyper-parameters.
        labels: label names in the order of the classes.
        norms: normalisation by modality.
        provenance: by stage, what made the features that it was trained on.
        fingerprint: of those features.
        reach: by modality, how far the labelled rows lie from the mean; None of a model that was saved without it.
    """

    model: Network
    config: TrainConfig
    labels: tuple[str, ...]
    norms: dict[str, Norm]
    provenance: dict[str, Any]
    fingerprint: str
    reach: dict[str, Reach] | None = None

    def adapted(self, norms: Mapping[str, Norm]) -> dict[str, Norm]:
        """Another corpus's normalisation for this model: 0 where the training rows did not vary, as in training."""
        return {
            name: Norm(norms[name].mean, torch.where(norm.scale == 0, norm.scale, norms[name].scale))
            for name, norm in self.norms.items()
        }

    def predict(self, dataset: Dataset, rows: Rows, norms: Mapping[str, Norm] | None = None) -> npt.NDArray[np.float32]:
        """Class probabilities float32 [N, K] of rows of a dataset that was loaded with the model's config.

        Args:
            dataset: where the rows are.
            rows: which.
            norms: statistics to normalise with; None takes those of the training rows.

        Raises:
            TrainingError: the features were not made as those that the model was trained on.
        """
        check_features(self.provenance, dataset.provenance, "the model was trained on")
        return predict(self.model, Pool(dataset, rows, self.norms if norms is None else self.adapted(norms)))


def check_features(expected: Mapping[str, Any], got: Mapping[str, Any], what: str) -> None:
    """Make sure that two stores' features mean the same.

    Extractors, configs, weights and revisions of mmpipe's own parts must be equal. Device, precision and
    versions of other libraries may differ: they change digits, not meaning.

    Args:
        expected: by stage, what made the features.
        got: by stage, what made the other features.
        what: how the message begins, such as `the model was trained on`.

    Raises:
        TrainingError: they differ; the first difference is named.
    """
    for stage, made in expected.items():
        ours, theirs = dict(_identity(made)), dict(_identity(got.get(stage, {})))
        for key in sorted(ours.keys() | theirs.keys()):
            if ours.get(key) != theirs.get(key):
                raise TrainingError(
                    f"{what} {stage} features with {key} = {ours.get(key)}, "
                    f"this store's have {theirs.get(key)}: extract both alike"
                )


def _identity(made: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key in ("extractor", "config", "weights"):
        yield from _leaves(key, made.get(key))
    for name, version in made.get("versions", {}).items():
        if name.startswith("mmpipe."):
            yield f"versions.{name}", version


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(f"{name}.{key}", inner)
    else:
        yield name, value


def save_model(
    folder: Path,
    model: Network,
    config: TrainConfig,
    labels: Sequence[str],
    norms: Mapping[str, Norm],
    dataset: Dataset,
    reach: Mapping[str, Reach],
) -> None:
    """Write model.safetensors and model.json; `dataset` is what it was trained on, `reach` how far that lies out."""
    tensors = {f"model.{name}": value.contiguous() for name, value in model.state_dict().items()}
    for name, norm in norms.items():
        tensors |= {f"norm.{name}.mean": norm.mean, f"norm.{name}.scale": norm.scale}
    write_bytes(folder / _WEIGHTS, save(tensors))
    card = {
        "config": config.model_dump(mode="json"),
        "labels": list(labels),
        "features": dataset.provenance,
        "fingerprint": dataset.fingerprint,
        "reach": {name: value.to_json() for name, value in reach.items()},
        "weights": sha256_of(folder / _WEIGHTS),
    }
    write_sealed_json(folder / _CARD, card)


def model_damage(folder: Path) -> str | None:
    """What is wrong with the files of a saved model, or None; models of earlier versions are looked for only."""
    for name in (_CARD, _WEIGHTS):
        if not (folder / name).is_file():
            return f"{name} is missing"
    try:
        _read_card(folder)
    except (OSError, ValueError) as error:
        return str(error)
    return None


def _read_card(folder: Path) -> dict[str, Any]:
    """What model.json holds, after a check of both files.

    Raises:
        OSError: one cannot be read.
        ValueError: one is not what was written.
    """
    try:
        card = read_sealed_json(folder / _CARD)
    except ValueError as error:
        raise ValueError(f"{_CARD} is damaged: {error}") from error
    if card.get("weights") not in (None, sha256_of(folder / _WEIGHTS)):
        raise ValueError(f"{_WEIGHTS} is damaged: its bytes do not give the hash that {_CARD} holds")
    return card


def load_model(folder: Path, device: str = "cpu") -> SavedModel:
    """The model that `save_model` wrote, on a device (`cpu` or `cuda`).

    Raises:
        WeightsError: the folder does not hold a model, a file of it is damaged, or its tensors do not fit its config.
    """
    try:
        card = _read_card(folder)
        check_regular(folder / _WEIGHTS)
        tensors = load_file(folder / _WEIGHTS)
        config = TrainConfig.model_validate(card["config"])
        norms = {m: Norm(tensors[f"norm.{m}.mean"], tensors[f"norm.{m}.scale"]) for m in config.modalities}
        if any(norm.mean.ndim != 1 or norm.mean.shape != norm.scale.shape for norm in norms.values()):
            raise ValueError("a normalisation is not one number a dimension")
        labels, features, made = _labels(card["labels"]), card["features"], str(card["fingerprint"])
        reach = {name: Reach(**value) for name, value in card["reach"].items()} if "reach" in card else None
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise WeightsError(
            f"{folder} does not hold a trained model that can be read ({type(error).__name__}: {error}); "
            "name a fold's folder that `mmpipe train` wrote, or train the fold again with the same command"
        ) from error
    check_provenance(features, folder / _CARD)
    state = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
    try:
        model = _fitting(config, {name: len(norm.mean) for name, norm in norms.items()}, len(labels), state)
        model.load_state_dict(state)
    except (RuntimeError, TrainingError) as error:
        raise WeightsError(f"{folder / _WEIGHTS} does not fit its config: {error}") from error
    return SavedModel(model.to(device).eval(), config, labels, norms, features, made, reach)


def _labels(given: Any) -> tuple[str, ...]:
    labels = tuple(given)
    if not all(isinstance(label, str) for label in labels) or len(set(labels)) < max(1, len(labels)):
        raise ValueError("labels must be different texts")
    return labels


def _fitting(
    config: TrainConfig, widths: Mapping[str, int], num_classes: int, state: Mapping[str, torch.Tensor]
) -> Network:
    """A model of the config, built only where the tensors have its shapes: a config may ask for more than fits here.

    Raises:
        RuntimeError: they have not.
    """
    with torch.device("meta"):
        planned = build_model(config, widths, num_classes).state_dict()
    for name in sorted(planned.keys() | state.keys()):
        wanted, got = (tuple(tensors[name].shape) if name in tensors else None for tensors in (planned, state))
        if wanted != got:
            raise RuntimeError(f"tensor {name} has the shape {got}, its config wants {wanted}")
    return build_model(config, widths, num_classes)
