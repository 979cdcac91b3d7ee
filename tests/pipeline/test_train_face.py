"""The recipe of the face weights reads FERPlus in all forms and goes on where it stopped."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from mmpipe.core.errors import BusyError, CorpusError, UsageError
from mmpipe.extractors.faces.densenet import FerplusDenseNet, load_network
from mmpipe.extractors.faces.ferplus import FERPLUS_CLASSES
from mmpipe.extractors.weights.bundled import FERPLUS_DENSENET, bundled, sha256
from mmpipe.pipeline import hardware
from mmpipe.pipeline.cli.app import app
from mmpipe.pipeline.cli.train_face import Part
from mmpipe.pipeline.cli.train_face import train_face as train_face_command
from mmpipe.pipeline.face_training.augmentation import normalise, resize
from mmpipe.pipeline.face_training.config import FaceTraining
from mmpipe.pipeline.face_training.evaluation import evaluate
from mmpipe.pipeline.face_training.ferplus import PARTS, FerplusPart, read_ferplus
from mmpipe.pipeline.face_training.loop import FaceProgress
from mmpipe.pipeline.face_training.recipe import train_face
from mmpipe.pipeline.face_training.sampling import draw_weights, epoch_order

from .ferplus import VOTES, faces, votes, write_official

TINY = FaceTraining(epochs=2, batch_size=4, checkpoint_steps=1)


@pytest.fixture
def official(tmp_path: Path) -> Path:
    """The official pair of CSV files."""
    return write_official(tmp_path)


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
        train_face_command(official, tmp_path / "w.safetensors", set_=["peek_rate=1"], threads=1)


def test_a_folder_without_ferplus_is_refused_with_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"fer2013new\.csv"):
        read_ferplus(tmp_path, "valid")


def test_a_run_that_was_stopped_ends_with_the_same_weights_and_log(official: Path, tmp_path: Path) -> None:
    train_face(official, tmp_path / "whole.safetensors", TINY)
    for stop in (2, 3):  # at the end of an epoch, and within one

        def stop_at(progress: FaceProgress, stop: int = stop) -> None:
            if progress.step == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train_face(official, tmp_path / "parts.safetensors", TINY, stop_at)
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


def test_a_second_training_of_the_same_weights_is_refused_while_the_first_runs(official: Path, tmp_path: Path) -> None:
    refused: list[str] = []

    def again(progress: FaceProgress) -> None:
        with pytest.raises(BusyError, match=r"w\.safetensors is being written by .*: mmpipe train-face") as caught:
            train_face(official, tmp_path / "w.safetensors", TINY)
        refused.append(str(caught.value))

    train_face(official, tmp_path / "w.safetensors", TINY, again)
    assert refused
    assert not [path.name for path in tmp_path.iterdir() if path.name.endswith((".lock", ".part"))]


def test_figures_count_what_the_network_says() -> None:
    network = FerplusDenseNet()
    with torch.no_grad():
        network.classifier.weight.zero_()
        network.classifier.bias.copy_(torch.eye(8)[1])  # always the second class
    part = FerplusPart(faces(4), np.eye(8, dtype=np.float32)[[1, 1, 1, 0]], 0)
    scores = evaluate(network, part)
    assert (scores.faces, scores.accuracy) == (4, 0.75)
    assert scores.confusion[0][1] == 1 and scores.confusion[1][1] == 3
    assert scores.recall[FERPLUS_CLASSES[1]] == 1.0 and scores.uar == pytest.approx(1 / 8)


def test_the_card_holds_the_config_the_scores_and_no_option_of_other_trainers(official: Path, tmp_path: Path) -> None:
    scores = train_face(official, tmp_path / "w.safetensors", TINY)
    card = json.loads((tmp_path / "w.json").read_text())
    assert card["config"] == TINY.model_dump(mode="json")
    assert card["config"].keys().isdisjoint({"native", "processes"})
    assert list(card["valid"]) == ["faces", "accuracy", "uar", "macro_f1", "recall", "confusion"]
    assert card["valid"] == dataclasses.asdict(scores)
    assert card["valid"]["faces"] == 8 and sum(map(sum, card["valid"]["confusion"])) == 8


def test_a_step_follows_the_gradient_of_torchvisions_modules(tmp_path: Path) -> None:
    """One step on faces that are their own mirror image, without augmentation; the gradient is computed here."""
    halves = faces(8)[:, :, :24]
    mirrored = np.concatenate([halves, halves[:, :, ::-1]], axis=2)
    table = pd.DataFrame(votes(8), columns=VOTES)
    table["png"] = [cv2.imencode(".png", face)[1].tobytes() for face in mirrored]
    for part in ("train", "valid"):
        table.to_parquet(tmp_path / f"{part}.parquet")
    plain = dict.fromkeys(("rotation_degrees", "scale", "shift", "erasing", "weight_decay", "small_part"), 0.0)
    start = bundled(FERPLUS_DENSENET)
    config = FaceTraining.model_validate(
        {"epochs": 1, "batch_size": 8, "momentum": 0.5, "peak_rate": 0.1, "rare_share": 0.0, "start": start, **plain}
        | {"as_published": True}  # the same faces are both parts
    )
    train_face(tmp_path, tmp_path / "w.safetensors", config)
    network = load_network(start).train()
    logits = network(resize(normalise(torch.from_numpy(mirrored))))
    names, parameters = zip(*network.named_parameters(), strict=True)
    loss = torch.nn.functional.cross_entropy(logits, torch.eye(8))
    gradients = dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))
    after = torch.load(tmp_path / "w.checkpoint", weights_only=True)["network"]
    first_rate, nesterov = 0.04 * 0.1, 1 + 0.5
    for name, parameter in network.named_parameters():
        if name.startswith("classifier") or name.endswith("norm5.weight"):
            moved, expected = after[name] - parameter.detach(), -first_rate * nesterov * gradients[name]
            assert float((moved - expected).norm()) <= 0.05 * float(expected.norm()), name  # bfloat16 against float32
    tracked = "features.norm5.running_mean"
    torch.testing.assert_close(after[tracked], network.state_dict()[tracked], atol=0.01, rtol=0.02)


def test_a_gpu_that_is_not_there_is_refused_before_anything_is_written(
    official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "_has_cuda", lambda: False)
    out = tmp_path / "new" / "w.safetensors"
    done = CliRunner().invoke(app, ["train-face", "--data", str(official), "--out", str(out), "--device", "cuda"])
    assert isinstance(done.exception, UsageError)
    assert "valid values on this machine are auto, cpu" in str(done.exception)
    assert not out.parent.exists()


def test_the_command_trains_and_evaluates_what_it_trained(official: Path, tmp_path: Path) -> None:
    out, few = tmp_path / "w.safetensors", ["--threads", "1", "--device", "cpu"]
    trained = CliRunner().invoke(
        app, ["train-face", "--data", str(official), "--out", str(out), "--epochs", "1", "--set", "batch_size=4", *few]
    )
    assert trained.exit_code == 0, trained.output
    assert json.loads(out.with_suffix(".json").read_text())["config"]["batch_size"] == 4
    done = CliRunner().invoke(
        app, ["train-face", "--data", str(official), "--evaluate", "valid", "--weights", str(out), *few]
    )
    assert done.exit_code == 0, done.output
    assert f"w.safetensors, SHA-256 {sha256(out)}" in done.output
    confusions = [output.split("Confusion")[1].splitlines()[:-1] for output in (done.output, trained.output)]
    assert confusions[0] == confusions[1] and len(confusions[0]) > 8
    assert "on the valid part" in done.output.splitlines()[-1]
    wrong = CliRunner().invoke(app, ["train-face", "--data", str(official), "--evaluate", "all"])
    assert wrong.exit_code == 2
    assert [part.value for part in Part] == list(PARTS)


def test_the_weights_that_ship_are_named_as_torchvision_names_them() -> None:
    tensors = load_file(bundled(FERPLUS_DENSENET))
    assert tensors["features.denseblock1.denselayer1.conv1.weight"].shape == (48, 24, 1, 1)
    assert tensors["classifier.weight"].shape == (8, 342)
