"""What a store holds equals its library called directly on the same file, crop or words: every stage of the paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import opensmile
import pytest
import torch

from mmpipe.extractors.faces.densenet import load_network
from mmpipe.extractors.faces.ferplus import FERPLUS_MEAN, FERPLUS_STD
from mmpipe.extractors.weights.bundled import FERPLUS_DENSENET, bundled
from mmpipe.extractors.weights.checkpoints import PACKAGED_MODEL, find_model, quiet
from mmpipe.manifests.samples import sample_root
from mmpipe.pipeline.store.feature_store import FeatureStore

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def rows(sample_store: Path) -> dict[str, Rows]:
    """The rows of the four good utterances, by stage, and those of the manifest."""
    store = FeatureStore(sample_store)
    tables = {stage: store.read(stage).to_pylist() for stage in ("audio", "faces", "expression", "text")}
    tables["manifest"] = store.manifest().to_pylist()
    good = [n for n, row in enumerate(tables["text"]) if row["status"] == "ok"]
    assert len(good) == 4
    assert all(tables[stage][n]["status"] == "ok" for stage in ("audio", "faces", "expression") for n in good)
    return {name: [table[n] for n in good] for name, table in tables.items()}


def test_audio_is_exactly_what_opensmile_makes_of_the_wav(rows: dict[str, Rows]) -> None:
    smile = opensmile.Smile(opensmile.FeatureSet.IS10, opensmile.FeatureLevel.Functionals)
    for utterance, row in zip(rows["manifest"], rows["audio"], strict=True):
        assert utterance["audio"]["start_seconds"] in (None, 0.0)
        expected = smile.process_file(str(sample_root("iemocap") / utterance["audio"]["uri"])).to_numpy()[0]
        assert np.array_equal(np.array(row["features"], np.float32), expected)


def test_crops_are_cut_from_the_frames_of_the_file_that_they_name(rows: dict[str, Rows]) -> None:
    for utterance, row in zip(rows["manifest"], rows["faces"], strict=True):
        span = utterance["video"]
        with av.open(str(sample_root("iemocap") / span["uri"])) as film:
            rate: Any = film.streams.video[0].average_rate
            frames = {round(frame.time * rate): frame for frame in film.decode(video=0)}  # frames may be missing
        assert all(index % 10 == 0 for index in row["frame_index"])
        for place in (0, -1):
            image = frames[row["frame_index"][place]].to_ndarray(format="rgb24")
            region = span["region"] or {"x": 0.0, "y": 0.0, "width": 1.0, "height": 1.0}
            first = round(region["x"] * image.shape[1])
            half = image[:, first : first + round(region["width"] * image.shape[1])]
            left, top, width, height = row["box"][place]
            side = round(0.95 * max(width, height))  # the margin of MTCNN is -0.05
            x, y = round(left + width / 2 - side / 2), round(top + height / 2 - side / 2)
            assert min(x, y) >= 0 and x + side <= half.shape[1] and y + side <= half.shape[0]
            method = cv2.INTER_AREA if side > 64 else cv2.INTER_LINEAR
            gray = cv2.cvtColor(half[y : y + side, x : x + side].copy(), cv2.COLOR_RGB2GRAY)
            expected = cv2.resize(gray, (64, 64), interpolation=method)
            stored: Any = cv2.imdecode(np.frombuffer(row["crops"][place], np.uint8), cv2.IMREAD_UNCHANGED)
            assert np.array_equal(stored, expected)


def test_expression_is_within_1e_5_of_the_network_on_one_face_at_a_time(rows: dict[str, Rows]) -> None:
    network = load_network(bundled(FERPLUS_DENSENET))
    for faces, row in zip(rows["faces"], rows["expression"], strict=True):
        features = np.array(row["features"], np.float32)
        assert features.shape == (len(faces["crops"]), 342)
        chosen = range(0, len(features), 4)  # first and last calls of the network, and places between
        for png, ours in ((faces["crops"][n], features[n]) for n in {*chosen, len(features) - 1}):
            face = torch.from_numpy(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)).float()
            with torch.inference_mode():
                expected = network.embed(((face - FERPLUS_MEAN) / FERPLUS_STD)[None, None]).numpy()[0]
            np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


def test_text_is_within_1e_5_of_transformers_on_one_text_at_a_time_cast_to_float16(rows: dict[str, Rows]) -> None:
    from transformers import AutoModel, AutoTokenizer

    folder = find_model(PACKAGED_MODEL, None)
    with quiet(), torch.inference_mode():
        tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        network: Any = AutoModel.from_pretrained(folder).eval()
        for utterance, row in zip(rows["manifest"], rows["text"], strict=True):
            encoding = tokenizer(utterance["text"], return_tensors="pt")
            expected = network(**encoding).last_hidden_state[0, 1:-1].numpy()
            assert row["tokens"] == encoding.tokens()[1:-1]
            features = np.array(row["features"], np.float16)
            bound = 1e-5 + 1e-5 * np.abs(expected)
            lowest, highest = ((expected + sign * bound).astype(np.float16) for sign in (-1, 1))
            assert np.all((lowest <= features) & (features <= highest))
