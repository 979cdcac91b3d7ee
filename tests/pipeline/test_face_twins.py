"""Faces that are in several parts of FERPlus are found, left out of the training, and counted apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import skimage.data
import torch
from sklearn.metrics import accuracy_score, f1_score, recall_score
from typer.testing import CliRunner

from mmpipe.core.errors import CorpusError, UsageError
from mmpipe.extractors.faces.densenet import load_network
from mmpipe.extractors.weights.bundled import FERPLUS_DENSENET, bundled
from mmpipe.pipeline.cli.app import app
from mmpipe.pipeline.face_training.augmentation import normalise, resize
from mmpipe.pipeline.face_training.config import FaceTraining
from mmpipe.pipeline.face_training.ferplus import read_ferplus
from mmpipe.pipeline.face_training.loop import FaceRun
from mmpipe.pipeline.face_training.recipe import train_face
from mmpipe.pipeline.face_training.strategy import StepStrategy
from mmpipe.pipeline.face_training.twins import NEAR_TWINS, TrainingFaces, near_groups, read_training_faces, twins_in

from .ferplus import VOTES, votes, write_official


def pictures(number: int) -> Any:
    """Unlike pieces of a photograph, uint8 [number, 48, 48]."""
    photo = cv2.cvtColor(skimage.data.astronaut(), cv2.COLOR_RGB2GRAY)  # type: ignore[no-untyped-call]
    places = [(y, x) for y in range(0, 400, 64) for x in range(0, 400, 64)][:number]
    return np.stack(
        [cv2.resize(photo[y : y + 96, x : x + 96], (48, 48), interpolation=cv2.INTER_AREA) for y, x in places]
    )


def jpeg(face: Any) -> Any:
    return cv2.imdecode(cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_GRAYSCALE)


def write_part(folder: Path, part: str, faces: Any) -> None:
    table = pd.DataFrame(votes(len(faces)), columns=VOTES)
    table["png"] = [cv2.imencode(".png", face)[1].tobytes() for face in faces]
    folder.mkdir(exist_ok=True)
    table.to_parquet(folder / f"{part}.parquet")


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    """A FERPlus whose parts share faces: training faces 0 (copied), 1 (JPEG) and 2 (mirrored) are in valid, 3 in test.

    Training face 4 is face 0, brighter.
    """
    faces = pictures(24)
    train = np.concatenate([faces[:4], (faces[:1] * 0.7 + 60).astype(np.uint8), faces[4:12]])
    write_part(tmp_path / "ferplus", "train", train)
    write_part(tmp_path / "ferplus", "valid", np.stack([faces[0], jpeg(faces[1]), faces[2][:, ::-1], *faces[12:18]]))
    write_part(tmp_path / "ferplus", "test", np.stack([faces[3], *faces[18:24]]))
    return tmp_path / "ferplus"


def test_copies_shades_jpeg_and_mirror_images_are_twins_and_other_pictures_and_noise_are_not() -> None:
    face, other = pictures(2)
    noise = np.random.default_rng(0).integers(0, 256, face.shape, dtype=np.uint8)
    shifted = np.roll(face, 1, axis=1)
    asked = [face, (face * 0.6 + 50).astype(np.uint8), jpeg(face), face[:, ::-1], shifted, other, face[::-1], noise]
    exact, near = twins_in(face[None], np.stack(asked))
    assert exact.tolist() == [True, *[False] * 7]
    assert near.tolist() == [True] * 5 + [False] * 3
    flat = np.full((3, 48, 48), 90, np.uint8)
    flat[2] = 91
    assert near_groups(np.concatenate([flat, face[None]])).tolist() == [0, 0, 1, 2]  # without contrast: equal or not


def test_groups_are_those_that_numpys_correlation_gives() -> None:
    """Shades of noise between faces, in two blocks and more; chains of twins are one group."""
    generator, base = np.random.default_rng(1), pictures(20).astype(np.float64)
    spread = generator.uniform(5, 60, (60, 1, 1))
    noisy = np.repeat(base, 3, axis=0) + spread * generator.standard_normal((60, 48, 48))
    faces = np.clip(noisy, 0, 255).astype(np.uint8)
    faces[::7] = faces[::7, :, ::-1]
    small = [
        cv2.resize(face, (16, 16), interpolation=cv2.INTER_AREA).astype(float) for face in faces.astype(np.float64)
    ]
    mirrored = [image[:, ::-1] for image in small]
    table = np.corrcoef([image.ravel() for image in [*small, *mirrored]])
    linked = np.maximum(table[:60, :60], table[:60, 60:]) > NEAR_TWINS
    assert 60 < linked.sum() < 60 * 6
    expected = list(range(60))
    for _ in range(60):  # every face takes the smallest number of those that it is linked to
        expected = [min(expected[other] for other in np.flatnonzero(linked[face])) for face in range(60)]
    groups = near_groups(faces)
    assert np.array_equal(groups[:, None] == groups, np.equal.outer(expected, expected))


def test_blocks_of_any_size_give_the_same_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    faces = np.concatenate([pictures(9), pictures(9)[::-1]])
    whole = near_groups(faces)
    monkeypatch.setattr("mmpipe.pipeline.face_training.twins._BLOCK_FACES", 4)
    assert near_groups(faces).tolist() == whole.tolist() == [*range(9), *range(8, -1, -1)]


def test_no_group_is_split_between_training_and_evaluation(leaky: Path) -> None:
    train = read_ferplus(leaky, "train")
    found = read_training_faces(leaky)
    assert (found.left_out, found.compared_with) == (5, ("valid", "test"))
    np.testing.assert_array_equal(found.part.faces, train.faces[5:])
    np.testing.assert_array_equal(found.part.targets, train.targets[5:])
    (leaky / "test.parquet").unlink()
    found = read_training_faces(leaky)
    assert (found.left_out, found.compared_with) == (4, ("valid",))
    np.testing.assert_array_equal(found.part.faces, train.faces[[3, *range(5, 13)]])


def test_as_published_keeps_the_published_part(leaky: Path) -> None:
    train, found = read_ferplus(leaky, "train"), read_training_faces(leaky, as_published=True)
    assert isinstance(found, TrainingFaces) and (found.left_out, found.compared_with) == (0, ())
    np.testing.assert_array_equal(found.part.faces, train.faces)
    np.testing.assert_array_equal(found.part.targets, train.targets)


def test_the_choice_is_printed_and_written_with_the_weights(leaky: Path, tmp_path: Path) -> None:
    few = ["--data", str(leaky), "--epochs", "1", "--threads", "1", "--device", "cpu", "--set", "batch_size=8"]
    for name, options, faces, left_out, said in (
        ("apart", [], 8, 5, "8 training faces; 5 more with a twin in valid and test are left out"),
        ("published", ["--as-published"], 13, 0, "13 training faces, as published"),
    ):
        out = tmp_path / f"{name}.safetensors"
        done = CliRunner().invoke(app, ["train-face", "--out", str(out), *few, *options])
        assert done.exit_code == 0 and said in " ".join(done.output.split()), done.output
        card = json.loads(out.with_suffix(".json").read_text())
        assert card["config"]["as_published"] is bool(options)
        assert (card["training_faces"]["faces"], card["training_faces"]["left_out"]) == (faces, left_out)
        assert card["training_faces"]["compared_with"] == ([] if options else ["valid", "test"])
        assert card["valid"]["faces"] == 9


def test_a_run_goes_on_with_its_own_choice_and_faces_only(leaky: Path, tmp_path: Path) -> None:
    out, config = tmp_path / "w.safetensors", FaceTraining(epochs=1, batch_size=8, small_side=32, as_published=True)
    train_face(leaky, out, config)
    with pytest.raises(UsageError, match="another config"):
        train_face(leaky, out, config.model_copy(update={"as_published": False}))
    write_part(leaky, "train", pictures(12))
    with pytest.raises(UsageError, match="other training faces, as when a part of FERPlus was added or removed"):
        train_face(leaky, out, config)
    checkpoint = out.with_suffix(".checkpoint")
    state = torch.load(checkpoint, weights_only=True)
    del state["config"]["as_published"], state["faces_sha256"]  # as versions without the choice wrote it
    torch.save(state, checkpoint)
    FaceRun(read_ferplus(leaky, "train"), config, checkpoint, StepStrategy())
    with pytest.raises(UsageError, match="another config"):
        FaceRun(
            read_ferplus(leaky, "train"), config.model_copy(update={"as_published": False}), checkpoint, StepStrategy()
        )


def test_a_part_of_twins_alone_and_one_smaller_than_a_batch_are_refused(tmp_path: Path) -> None:
    for part in ("train", "valid"):
        write_part(tmp_path / "d", part, pictures(8))
    with pytest.raises(CorpusError, match="all 8 training faces have a twin in the parts valid: give --as-published"):
        read_training_faces(tmp_path / "d")
    with pytest.raises(UsageError, match="batch_size 64 is more than the 8 training faces"):
        train_face(tmp_path / "d", tmp_path / "w.safetensors", FaceTraining(as_published=True))


def test_evaluate_prints_the_figures_with_and_without_twins(leaky: Path) -> None:
    done = CliRunner().invoke(app, ["train-face", "--data", str(leaky), "--evaluate", "valid", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    part, network = read_ferplus(leaky, "valid"), load_network(bundled(FERPLUS_DENSENET)).eval()
    with torch.inference_mode():
        guess = network(resize(normalise(torch.from_numpy(part.faces)))).argmax(dim=1).numpy()
    screen = " ".join(done.output.split())
    for name, kept in (
        ("all, as published", slice(0, 9)),
        ("without exact twins", slice(1, 9)),
        ("without near twins", slice(3, 9)),
    ):
        truth, said = part.labels[kept], guess[kept]
        uar = recall_score(truth, said, labels=range(8), average="macro", zero_division=0)
        macro = f1_score(truth, said, labels=range(8), average="macro", zero_division=0)
        figures = f"accuracy {accuracy_score(truth, said):.2%}, UAR {uar:.2%}, macro F1 {macro:.2%} {name}"
        assert figures in screen.rpartition("on the valid part:")[2]
        assert any(line.split()[-4:-3] == [str(len(truth))] for line in done.output.splitlines() if name in line)


def test_evaluate_without_the_training_part_says_so(leaky: Path, tmp_path: Path) -> None:
    (leaky / "train.parquet").unlink()
    done = CliRunner().invoke(app, ["train-face", "--data", str(leaky), "--evaluate", "test", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert "faces with a twin in it are not counted apart" in " ".join(done.output.split())
    assert "without near twins" not in done.output
    with pytest.raises(CorpusError, match=r"no FERPlus part 'test': .* rows of the usage PrivateTest"):
        read_ferplus(write_official(tmp_path), "test")  # the CSV files have no row of it
