"""The paper's model: one auto-encoder a modality and a classifier on their latents (section 3.1, table 3).

Legend: B batch, T steps of a sequence (faces or words), D width of a feature, Z width of a latent, K classes.

Where the paper is silent: every sub-layer is followed by dropout, the residual sum and LayerNorm (Vaswani et
al. 2017); a width that the heads do not divide (342 by 4) is projected to heads of the next whole width (86)
and back; ReLU is between linear and between convolutional layers; the decoder is not autoregressive, its
queries are positional encodings, so nothing but the latent and the number of steps reaches a reconstruction.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmpipe.core.errors import TrainingError
from mmpipe.pipeline.training.autoencoders import SIZES, SequenceAutoEncoder, Size, VectorAutoEncoder, make_auto_encoder
from mmpipe.pipeline.training.config import TrainConfig

__all__ = ["EmotionModel", "Network", "Output", "build_network", "noisy_views"]


@dataclass(frozen=True)
class Output:
    """What the model makes of a batch.

    Attributes:
        logits: [B, K]; where there are several classifiers, the logarithm of the mean of their probabilities.
        latents: [B, Z] by modality.
        reconstructions: by modality, of a vector [B, D], of a sequence [B, T, D], reversed; empty unless asked for.
        heads: logits [B, K] of each classifier, which are trained one by one.
    """

    logits: Tensor
    latents: dict[str, Tensor]
    reconstructions: dict[str, Tensor]
    heads: tuple[Tensor, ...] = ()

    @property
    def trained(self) -> tuple[Tensor, ...]:
        """The logits that a loss is of."""
        return self.heads or (self.logits,)


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
        config: modalities, lengths of the sequences, size, dropout, and how latents are classified.
        widths: D by modality.
        num_classes: K.

    Raises:
        TrainingError: a sequence is too short or too narrow for the convolutions.
    """

    def __init__(self, config: TrainConfig, widths: Mapping[str, int], num_classes: int) -> None:
        super().__init__()
        size = SIZES[config.size]
        self.config = config
        self.noisy = False
        self.widths = {name: widths[name] for name in config.modalities}
        encoders = {m.letter: make_auto_encoder(m, self.widths[m.letter], config) for m in config.chosen_modalities}
        self.num_classes = num_classes
        self.auto_encoders = nn.ModuleDict(encoders)
        late = config.fusion == "late"
        self.classifier = _classifier(size, 1 if late else len(encoders), num_classes, config)
        self.others = nn.ModuleList(
            _classifier(size, 1, num_classes, config) for _ in range(len(encoders) - 1 if late else 0)
        )
        self.norms = nn.ModuleDict({name: nn.LayerNorm(size.latent) for name in encoders if config.latent_norm})
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
            coder, x = self.auto_encoders[name], self._seen(features[name])
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
        heads = self._classify(latents)
        return Output(_mean_of(heads), latents, reconstructions, heads)

    def _seen(self, x: Tensor) -> Tensor:
        """Features as the encoder gets them: within limits, and in training mode with dropout."""
        config = self.config
        if config.clip is not None:
            x = x.clamp(-config.clip, config.clip)
        dropout = config.view_dropout if self.noisy else config.input_dropout
        return F.dropout(x, dropout) if dropout and self.training else x

    def _classify(self, latents: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Logits [B, K] of each classifier."""
        parts = [self.norms[name](z) if name in self.norms else z for name, z in latents.items()]
        if self.others:
            classifiers = [self.classifier, *self.others]
            return tuple(classify(z).float() for classify, z in zip(classifiers, parts, strict=True))
        dropout = self.config.view_dropout if self.noisy else self.config.modality_dropout
        if dropout and self.training and len(parts) > 1:
            parts = _without_modalities(parts, dropout)
        return (self.classifier(torch.cat(parts, dim=1)).float(),)


class _Committee(Network):
    """Networks of one config with other initial weights, trained side by side: `ensemble` of the config.

    The latents and reconstructions are those of the first.

    Args:
        config: of each network.
        widths: D by modality.
        num_classes: K.
    """

    def __init__(self, config: TrainConfig, widths: Mapping[str, int], num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.members = nn.ModuleList(EmotionModel(config, widths, num_classes) for _ in range(config.ensemble))

    def forward(
        self, features: Mapping[str, Tensor], keep: Mapping[str, Tensor], *, reconstruct: bool = False
    ) -> Output:
        """Logits of a batch, of all members and of each."""
        outputs: list[Output] = [member(features, keep, reconstruct=reconstruct) for member in self.members]
        heads = tuple(head for output in outputs for head in output.heads)
        return Output(_mean_of(heads), outputs[0].latents, outputs[0].reconstructions, heads)


@contextmanager
def noisy_views(model: Network) -> Iterator[None]:
    """Within, training mode has the dropout of the noisy views of unlabelled rows, instead of that of labelled ones."""
    parts = [part for part in model.modules() if isinstance(part, EmotionModel)]
    for part in parts:
        part.noisy = True
    try:
        yield
    finally:
        for part in parts:
            part.noisy = False


def build_network(config: TrainConfig, widths: Mapping[str, int], num_classes: int) -> Network:
    """The network of a config: one, or an ensemble.

    Raises:
        TrainingError: a sequence is too short or too narrow for the convolutions.
    """
    return (EmotionModel if config.ensemble == 1 else _Committee)(config, widths, num_classes)


def _classifier(size: Size, latents: int, num_classes: int, config: TrainConfig) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(latents * size.latent, size.classifier),
        nn.ReLU(),
        nn.Dropout(config.classifier_dropout),
        nn.Linear(size.classifier, num_classes),
    )


def _mean_of(heads: Sequence[Tensor]) -> Tensor:
    """Logits of the mean of the probabilities; of a single classifier its logits."""
    if len(heads) == 1:
        return heads[0]
    return torch.stack(list(heads)).log_softmax(dim=-1).logsumexp(dim=0) - math.log(len(heads))


def _without_modalities(parts: Sequence[Tensor], share: float) -> list[Tensor]:
    """Latents [B, Z] with those of some modalities 0; each row keeps one modality at least."""
    first = parts[0]
    keep_BM = torch.rand(len(first), len(parts), device=first.device) >= share
    spared_B = torch.randint(len(parts), (len(first),), device=first.device)
    keep_BM |= ~keep_BM.any(dim=1, keepdim=True) & (torch.arange(len(parts), device=first.device) == spared_B[:, None])
    return [z * keep_BM[:, m : m + 1] for m, z in enumerate(parts)]
