"""The paper's model: one auto-encoder a modality and a classifier on their latents (section 3.1, table 3).

Legend: B batch, T steps of a sequence (faces or words), D width of a feature, Z width of a latent, K classes.

Where the paper is silent: every sub-layer is followed by dropout, the residual sum and LayerNorm (Vaswani et
al. 2017); a width that the heads do not divide (342 by 4) is projected to heads of the next whole width (86)
and back; ReLU is between linear and between convolutional layers; the decoder is not autoregressive, its
queries are positional encodings, so nothing but the latent and the number of steps reaches a reconstruction.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmpipe.core.errors import TrainingError
from mmpipe.pipeline.training.autoencoders import SIZES, SequenceAutoEncoder, VectorAutoEncoder, make_auto_encoder
from mmpipe.pipeline.training.config import TrainConfig

__all__ = ["EmotionModel", "Network", "Output"]


@dataclass(frozen=True)
class Output:
    """What the model makes of a batch.

    Attributes:
        logits: [B, K].
        latents: [B, Z] by modality.
        reconstructions: by modality, of a vector [B, D], of a sequence [B, T, D], reversed; empty unless asked for.
    """

    logits: Tensor
    latents: dict[str, Tensor]
    reconstructions: dict[str, Tensor]


class Network(nn.Module, ABC):
    """What can be trained: the paper's model and the baselines.

    Attributes:
        num_classes: K.
    """

    num_classes: int

    @abstractmethod
    def forward(
        self, features: Mapping[str, Tensor], keep: Mapping[str, Tensor], *, reconstruct: bool = False
    ) -> Output:
        """Latents and logits of a batch, and its reconstructions if asked for."""


class EmotionModel(Network):
    """Auto-encoders of the configured modalities and a classifier on their concatenated latents.

    Decoders are kept only where the config gives the reconstruction a weight; the other initial weights are the same
    with and without them, so that ablations start alike.

    Args:
        config: modalities, lengths of the sequences, size, dropout.
        widths: D by modality.
        num_classes: K.

    Raises:
        TrainingError: a sequence is too short or too narrow for the convolutions.
    """

    def __init__(self, config: TrainConfig, widths: Mapping[str, int], num_classes: int) -> None:
        super().__init__()
        size = SIZES[config.size]
        self.widths = {name: widths[name] for name in config.modalities}
        encoders = {m.letter: make_auto_encoder(m, self.widths[m.letter], config) for m in config.chosen_modalities}
        self.num_classes = num_classes
        self.auto_encoders = nn.ModuleDict(encoders)
        self.classifier = nn.Sequential(
            nn.Linear(len(encoders) * size.latent, size.classifier),
            nn.ReLU(),
            nn.Dropout(config.classifier_dropout),
            nn.Linear(size.classifier, num_classes),
        )
        if config.alpha == 0:
            for coder in encoders.values():
                coder.drop_decoder()

    def forward(
        self, features: Mapping[str, Tensor], keep: Mapping[str, Tensor], *, reconstruct: bool = False
    ) -> Output:
        """Latents and logits of a batch, and its reconstructions if asked for.

        Args:
            features: normalised, by modality: vectors [B, D], sequences [B, T, D].
            keep: bool [B, T] of sequences: true for the first steps, false for the padding after them.
            reconstruct: whether to decode.

        Raises:
            TrainingError: an input has another shape than the model was built for.
        """
        latents, reconstructions = {}, {}
        for name, width in self.widths.items():
            coder, x = self.auto_encoders[name], features[name]
            expected = (coder.steps, width) if isinstance(coder, SequenceAutoEncoder) else (width,)
            if tuple(x.shape[1:]) != expected:
                raise TrainingError(f"modality {name}: expected rows of shape {expected}, got {tuple(x.shape[1:])}")
            if isinstance(coder, SequenceAutoEncoder):
                lengths_B = keep[name].sum(dim=1)
                latents[name] = coder.encode(x, lengths_B).float()  # under autocast it comes in bfloat16
                if reconstruct:
                    reconstructions[name] = coder.decode(latents[name], lengths_B).float()
            elif isinstance(coder, VectorAutoEncoder):
                latents[name] = coder.encode(x).float()
                if reconstruct:
                    reconstructions[name] = coder.decode(latents[name]).float()
        logits_BK: Tensor = self.classifier(torch.cat(list(latents.values()), dim=1)).float()
        return Output(logits_BK, latents, reconstructions)
