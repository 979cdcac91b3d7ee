"""A drawn face, small BERT and speech checkpoints and random expression weights, all made on the spot."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch

Image = npt.NDArray[np.uint8]

VOCABULARY = [
    *(
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "the",
        "cat",
        "sat",
        "on",
        "mat",
        "un",
        "##aff",
        "##able",
        "##s",
    ),
    *("hello", "world", "do", "not", "for", "##get", "a", "jacket", ",", ".", "!"),
]
"""Word pieces of the small checkpoint."""


def drawn_face(side: int) -> Image:
    """A face that MTCNN takes for one, drawn from ellipses on a canvas of 512 pixels: RGB [side, side, 3]."""
    image = np.full((512, 512, 3), (120, 130, 140), np.uint8)

    def ellipse(x: int, y: int, axes: tuple[int, int], color: tuple[int, int, int]) -> None:
        cv2.ellipse(image, (x, y), axes, 0, 0, 360, color, -1, cv2.LINE_AA)

    ellipse(256, 250, (150, 205), (70, 50, 40))
    ellipse(256, 455, (60, 70), (205, 160, 130))
    ellipse(256, 275, (128, 175), (224, 180, 150))
    for x in (201, 311):
        ellipse(x, 240, (30, 16), (180, 130, 105))
        ellipse(x, 242, (24, 11), (245, 245, 245))
        ellipse(x, 242, (11, 11), (60, 40, 30))
        ellipse(x, 242, (5, 5), (10, 10, 10))
        cv2.ellipse(image, (x, 214), (34, 10), 0, 180, 360, (80, 55, 40), 8, cv2.LINE_AA)
        ellipse(x, 300, (30, 24), (232, 170, 145))
    ellipse(256, 290, (20, 40), (236, 196, 168))
    ellipse(256, 318, (26, 10), (190, 135, 110))
    ellipse(246, 322, (6, 4), (90, 50, 40))
    ellipse(266, 322, (6, 4), (90, 50, 40))
    ellipse(256, 372, (48, 16), (170, 70, 70))
    ellipse(256, 370, (40, 5), (90, 30, 30))
    blurred = cv2.GaussianBlur(image, (0, 0), 4)
    return cv2.resize(blurred, (side, side), interpolation=cv2.INTER_AREA).astype(np.uint8)


def scene(*faces: tuple[int, int, int], height: int = 288, width: int = 352, gray: int = 110) -> Image:
    """A plain picture with drawn faces, each given as left, top and side of its square; RGB [H, W, 3]."""
    image = np.full((height, width, 3), gray, np.uint8)
    for left, top, side in faces:
        image[top : top + side, left : left + side] = drawn_face(side)
    return image


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random BERT of 2 layers, 16 wide, 64 positions, and a word piece tokenizer."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("tiny-bert")
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 64})
    )
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def save_speech_model(folder: Path, model_type: str) -> Path:
    """A folder with a random speech encoder of 2 layers, 16 wide, and its preprocessor config."""
    transformers: Any = importlib.import_module("transformers")
    torch.manual_seed(7)
    config = transformers.AutoConfig.for_model(
        model_type,
        conv_dim=(8,) * (13 if model_type == "sew" else 7),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
    )
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small random wav2vec2."""
    return save_speech_model(tmp_path_factory.mktemp("tiny-speech"), "wav2vec2")


@pytest.fixture(scope="session")
def expression_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A safetensors file with random weights of the expression network."""
    from safetensors.torch import save_file

    from mmpipe.extractors.faces.densenet import FerplusDenseNet

    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("expression") / "random.safetensors"
    save_file(FerplusDenseNet().state_dict(), path)
    return path
