"""The recipe of the face weights reads FERPlus in both forms and goes on where it stopped."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tools.face_weights.processes import average_over_processes, joined, processes, rank

from mmpipe.core.errors import CorpusError, UsageError
from mmpipe.extractors.faces.densenet import FerplusDenseNet, load_network
from mmpipe.extractors.faces.ferplus import FERPLUS_CLASSES
from mmpipe.extractors.weights.bundled import FERPLUS_DENSENET, bundled, sha256
from mmpipe.pipeline.cli.train_face import run_train_face
from mmpipe.pipeline.face_training.ferplus import FerplusPart, read_ferplus
from mmpipe.pipeline.face_training.recipe import FaceTraining, draw_weights, epoch_order, evaluate, train_face

VOTES = [*FERPLUS_CLASSES, "unknown", "NF"]
TINY = FaceTraining(epochs=2, batch_size=4, checkpoint_steps=1)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def faces(number: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, (number, 48, 48), dtype=np.uint8)


def votes(number: int) -> Any:
    """Eight votes for one class in turn, a stray vote for the next, one vote of unknown."""
    table = np.zeros((number, len(VOTES)), np.int64)
    for row in range(number):
        table[row, row % 8], table[row, (row + 1) % 8], table[row, 8] = 8, 1, 1
    return table


@pytest.fixture
def official(tmp_path: Path) -> Path:
    """The official pair of CSV files: nine training rows (the last one without a face) and eight public-test rows."""
    counts = np.concatenate([votes(9), votes(8)])
    counts[8] = 0
    counts[8, 9] = 10
    usage = ["Training"] * 9 + ["PublicTest"] * 8
    names = [f"fer{n:07d}.png" for n in range(17)]
    frame = pd.DataFrame(counts, columns=VOTES)
    frame.insert(0, "Image name", names)
    frame.insert(0, "Usage", usage)
    frame.to_csv(tmp_path / "fer2013new.csv", index=False)
    pixels = [" ".join(map(str, face.reshape(-1))) for face in faces(17)]
    pd.DataFrame({"emotion": 0, "pixels": pixels, "Usage": usage}).to_csv(tmp_path / "fer2013.csv", index=False)
    return tmp_path


def test_votes_become_distributions_and_images_without_a_face_are_dropped(official: Path) -> None:
    part = read_ferplus(official, "train")
    assert (len(part.faces), part.dropped) == (8, 1)
    np.testing.assert_array_equal(part.faces, faces(17)[:8])
    np.testing.assert_allclose(part.targets, np.eye(8))  # single votes are outliers
    assert part.labels.tolist() == list(range(8))


def test_the_parquet_form_gives_the_same_part(official: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("parquet")
    frame = pd.read_csv(official / "fer2013new.csv").iloc[:9][VOTES]
    frame["png"] = [cv2.imencode(".png", face)[1].tobytes() for face in faces(17)[:9]]
    frame.to_parquet(folder / "train.parquet")
    one, other = read_ferplus(official, "train"), read_ferplus(folder, "train")
    np.testing.assert_array_equal(one.faces, other.faces)
    np.testing.assert_array_equal(one.targets, other.targets)


def test_image_folders_give_the_same_part(official: Path, tmp_path: Path) -> None:
    folder = tmp_path / "FER2013Train"
    folder.mkdir()
    for number, face in enumerate(faces(17)[:9]):
        cv2.imwrite(str(folder / f"fer{number:07d}.png"), face)
    table = pd.read_csv(official / "fer2013new.csv").iloc[:9]
    table = table.assign(box="(0, 0, 48, 48)")[["Image name", "box", *VOTES]]
    table.to_csv(folder / "label.csv", header=False, index=False)
    one, other = read_ferplus(official, "train"), read_ferplus(tmp_path, "train")
    np.testing.assert_array_equal(one.faces, other.faces)
    np.testing.assert_array_equal(one.targets, other.targets)


def test_an_image_that_a_label_names_and_the_folder_lacks_is_named(tmp_path: Path) -> None:
    (tmp_path / "FER2013Train").mkdir()
    (tmp_path / "FER2013Train" / "label.csv").write_text('fer0.png,"(0, 0, 48, 48)",8,0,0,0,0,0,0,0,0,0\n')
    with pytest.raises(CorpusError, match=r"label\.csv, row 0: expected a 48x48 image, got None"):
        read_ferplus(tmp_path, "train")


def test_faces_of_rare_classes_are_drawn_more_often_and_every_epoch_has_the_same_length() -> None:
    labels = np.repeat([0, 1], [990, 10])  # shares of 0.99 and 0.01
    weights = draw_weights(labels, 0.04)
    order = epoch_order(weights, torch.Generator().manual_seed(0))
    assert len(order) == 1000
    counts = np.bincount(order.numpy(), minlength=1000)
    assert counts[990:].sum() == pytest.approx(20, abs=1)  # sqrt(0.04 / 0.01) = 2 times
    assert counts[:990].max() == 1
    assert sorted(epoch_order(draw_weights(labels, 0.0), torch.Generator().manual_seed(1)).tolist()) == list(
        range(1000)
    )


def test_a_run_can_start_from_weights(official: Path, tmp_path: Path) -> None:
    start = bundled(FERPLUS_DENSENET)
    train_face(official, tmp_path / "w.safetensors", TINY.model_copy(update={"start": start, "peak_rate": 1e-9}))
    before, after = load_file(start), load_file(tmp_path / "w.safetensors")
    torch.testing.assert_close(before["classifier.weight"], after["classifier.weight"], atol=1e-6, rtol=0)
    assert json.loads((tmp_path / "w.json").read_text())["start_sha256"] == sha256(start)


def test_an_unknown_hyper_parameter_is_answered_with_the_known_ones(official: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="peak_rate"):
        run_train_face(official, tmp_path / "w.safetensors", {}, ["peek_rate=1"], threads=1)


def test_a_folder_without_ferplus_is_refused_with_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"fer2013new\.csv"):
        read_ferplus(tmp_path, "valid")


def test_processes_share_a_step_and_a_stopped_run_of_them_goes_on(official: Path, tmp_path: Path) -> None:
    config = TINY.model_copy(update={"processes": 2})
    train_face(official, tmp_path / "whole.safetensors", config)

    def report(row: dict[str, Any]) -> None:
        if row["step"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_face(official, tmp_path / "parts.safetensors", config, report)
    train_face(official, tmp_path / "parts.safetensors", config)
    assert (tmp_path / "whole.safetensors").read_bytes() == (tmp_path / "parts.safetensors").read_bytes()
    train_face(official, tmp_path / "alone.safetensors", TINY)
    assert (tmp_path / "alone.safetensors").read_bytes() != (tmp_path / "parts.safetensors").read_bytes()


def _averaged(folder: Path) -> None:
    values = [torch.tensor([1.0, 2.0]) * (1 + rank()), torch.tensor(float(rank()))]
    average_over_processes(values)
    (folder / f"{rank()}.txt").write_text(f"{values[0].tolist()} {values[1].item()}")


def test_every_process_gets_the_mean(tmp_path: Path) -> None:
    with joined(2, _averaged, tmp_path):
        _averaged(tmp_path)
        assert processes() == 2
    assert processes() == 1
    assert (tmp_path / "0.txt").read_text() == "[1.5, 3.0] 0.5"


def test_a_run_that_was_stopped_ends_with_the_same_weights_and_log(official: Path, tmp_path: Path) -> None:
    train_face(official, tmp_path / "whole.safetensors", TINY)
    for stop in (2, 3):  # at the end of an epoch, and within one

        def report(row: dict[str, Any], stop: int = stop) -> None:
            if row["step"] == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train_face(official, tmp_path / "parts.safetensors", TINY, report)
    train_face(official, tmp_path / "parts.safetensors", TINY)
    for ending in (".safetensors", ".csv", ".json"):
        assert (tmp_path / f"whole{ending}").read_bytes() == (tmp_path / f"parts{ending}").read_bytes()
    with (tmp_path / "parts.csv").open() as stream:
        assert [row["epoch"] for row in csv.DictReader(stream)] == ["1", "2"]
    load_network(tmp_path / "parts.safetensors")


def test_a_checkpoint_of_another_config_is_refused(official: Path, tmp_path: Path) -> None:
    train_face(official, tmp_path / "w.safetensors", TINY)
    with pytest.raises(UsageError, match="another config"):
        train_face(official, tmp_path / "w.safetensors", TINY.model_copy(update={"seed": 1}))


def test_figures_count_what_the_network_says() -> None:
    network = FerplusDenseNet()
    with torch.no_grad():
        network.classifier.weight.zero_()
        network.classifier.bias.copy_(torch.eye(8)[1])  # always the second class
    part = FerplusPart(faces(4), np.eye(8, dtype=np.float32)[[1, 1, 1, 0]], 0)
    figures = evaluate(network, part)
    assert figures["accuracy"] == 0.75
    assert figures["confusion"][0][1] == 1 and figures["confusion"][1][1] == 3
    assert figures["recall"][FERPLUS_CLASSES[1]] == 1.0 and figures["uar"] == pytest.approx(1 / 8)


def test_the_weights_that_ship_are_named_as_torchvision_names_them() -> None:
    tensors = load_file(bundled(FERPLUS_DENSENET))
    assert tensors["features.denseblock1.denselayer1.conv1.weight"].shape == (48, 24, 1, 1)
    assert tensors["classifier.weight"].shape == (8, 342)
