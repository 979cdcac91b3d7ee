"""The auto-encoders of table 3, for any width of the features and any length of the sequences.

Legend: B batch, T steps of a sequence (faces or words), D width of a feature, N unpadded steps of a batch, C
channels, Z width of a latent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmpipe.core.errors import TrainingError
from mmpipe.pipeline.training.config import TrainConfig
from mmpipe.pipeline.training.layers import Block, Layout, mlp, positions
from mmpipe.pipeline.training.modalities import Modality

__all__ = [
    "SIZES",
    "SequenceAutoEncoder",
    "Size",
    "VectorAutoEncoder",
    "conv_shapes",
    "make_auto_encoder",
    "shortest_steps",
]


_PIECE, _SMALL_PIECE = 4, 64
"""Utterances that are convolved together on a CPU, of large maps and of size `small`: few, so that the maps between
convolutions stay in its cache. The objective `paper` always takes four, which gives the bits of earlier versions."""


@dataclass(frozen=True)
class _Conv:
    """A convolution over the [T, D] plane of a sequence: table 3's c, k, s, p."""

    channels: int
    kernel: int
    stride: int
    padding: int = 1


@dataclass(frozen=True)
class _SequenceSize:
    """Size of a visual or lexical auto-encoder.

    Attributes:
        convs: the down-sampling convolutions; transposed ones mirror them.
        hidden: widths of the linear layers between the flattened maps and the latent.
        width: width of the Transformer; None is the feature's own, as in the paper.
        blocks: Transformer blocks of the encoder, and of the decoder.
        heads: attention heads.
        mean: whether the mean of the steps reaches the latent by a linear layer as well, beside the convolutions.
    """

    convs: tuple[_Conv, ...]
    hidden: tuple[int, ...] = ()
    width: int | None = None
    blocks: int = 2
    heads: int = 4
    mean: bool = False


@dataclass(frozen=True)
class Size:
    """Sizes of the whole model; `acoustic` are the hidden widths of the acoustic auto-encoder."""

    latent: int
    acoustic: tuple[int, ...]
    visual: _SequenceSize
    lexical: _SequenceSize
    classifier: int

    def layers(self, modality: Modality) -> tuple[int, ...] | _SequenceSize:
        """Of the auto-encoder of a modality."""
        found: tuple[int, ...] | _SequenceSize = getattr(self, modality.name)
        return found


SIZES: dict[str, Size] = {
    "paper": Size(
        latent=128,
        acoustic=(512, 256),
        visual=_SequenceSize(convs=(_Conv(16, 4, 2), _Conv(64, 5, 2), _Conv(32, 3, 3))),
        lexical=_SequenceSize(convs=(_Conv(64, 4, 2), _Conv(4, 4, 3)), hidden=(512,)),
        classifier=128,
    ),
    "small": Size(
        latent=64,
        acoustic=(128,),
        visual=_SequenceSize(convs=(_Conv(8, 4, 2), _Conv(16, 5, 2), _Conv(16, 3, 3)), width=64, blocks=1, mean=True),
        lexical=_SequenceSize(convs=(_Conv(16, 4, 2), _Conv(4, 4, 3)), hidden=(128,), width=64, blocks=1, mean=True),
        classifier=64,
    ),
}
"""`paper` is table 3; `small`, for laptops and small corpora, narrows every layer and leads the mean of the steps past
the convolutions, which learn little from a thousand utterances."""


def conv_shapes(steps: int, width: int, convs: Sequence[_Conv]) -> list[tuple[int, int, int]]:
    """Shapes [C, T, D] from the input, of one channel, to the last convolution.

    Raises:
        TrainingError: the sequence is too short or too narrow for the convolutions.

    Example:
        >>> conv_shapes(18, 342, SIZES["paper"].visual.convs)
        [(1, 18, 342), (16, 9, 171), (64, 4, 85), (32, 2, 29)]
    """
    shapes = [(1, steps, width)]
    for conv in convs:
        _, t, d = shapes[-1]
        t, d = ((n + 2 * conv.padding - conv.kernel) // conv.stride + 1 for n in (t, d))
        if min(t, d) < 1:
            raise TrainingError(
                f"a sequence of {steps} steps of {width} values is too small for convolution {len(shapes)} "
                f"(kernel {conv.kernel}, stride {conv.stride}): it would leave {max(t, 0)} x {max(d, 0)}; "
                "raise the number of faces or words"
            )
        shapes.append((conv.channels, t, d))
    return shapes


class VectorAutoEncoder(nn.Module):
    """The acoustic auto-encoder: stacked linear layers and their mirror (figure 3).

    Args:
        width: values in a vector.
        hidden: widths of the hidden layers.
        latent: width of the latent.
    """

    def __init__(self, width: int, hidden: Sequence[int], latent: int) -> None:
        super().__init__()
        widths = (width, *hidden, latent)
        self.encoder = mlp(widths)
        self.decoder: nn.Sequential | None = mlp(widths[::-1])

    def drop_decoder(self) -> None:
        """Forget the decoder, which a run without reconstruction has no use for."""
        self.decoder = None

    def encode(self, x_BD: Tensor) -> Tensor:
        """Vectors [B, D] to latents [B, Z]."""
        z_BZ: Tensor = self.encoder(x_BD)
        return z_BZ

    def decode(self, z_BZ: Tensor) -> Tensor:
        """Latents [B, Z] to vectors [B, D]."""
        assert self.decoder is not None
        x_BD: Tensor = self.decoder(z_BZ)
        return x_BD


class SequenceAutoEncoder(nn.Module):
    """The visual or lexical auto-encoder: Transformer, convolutions, linear layers, their mirror (figure 4).

    Args:
        steps: T, steps of a padded sequence.
        width: D, values in a step.
        size: its layers.
        latent: width of the latent.
        dropout: after each sub-layer of the Transformer and after its input.
        piece: utterances that are convolved together on a CPU.

    Raises:
        TrainingError: the sequence is too short or too narrow for the convolutions.
    """

    encoding: Tensor

    def __init__(
        self, steps: int, width: int, size: _SequenceSize, latent: int, dropout: float, piece: int = _PIECE
    ) -> None:
        super().__init__()
        inner = size.width or width
        self.steps, self.piece = steps, piece
        self.shapes = conv_shapes(steps, inner, size.convs)
        self.register_buffer("encoding", positions(steps, inner), persistent=False)
        self.dropout = nn.Dropout(dropout)
        self.input = nn.Linear(width, inner) if size.width else nn.Identity()
        self.encoder_blocks = nn.ModuleList(Block(inner, size.heads, dropout, memory=False) for _ in range(size.blocks))
        self.convs = nn.ModuleList(
            nn.Conv2d(before[0], conv.channels, conv.kernel, conv.stride, conv.padding)
            for conv, before in zip(size.convs, self.shapes, strict=False)
        )
        widths = (math.prod(self.shapes[-1]), *size.hidden, latent)
        self.to_latent = mlp(widths)
        self.from_mean = nn.Linear(width, latent) if size.mean else None
        self.has_decoder = True
        self.from_latent = mlp(widths[::-1])
        self.deconvs = nn.ModuleList(
            _mirror(conv, before, after)
            for conv, before, after in zip(size.convs[::-1], self.shapes[:0:-1], self.shapes[-2::-1], strict=True)
        )
        self.decoder_blocks = nn.ModuleList(Block(inner, size.heads, dropout, memory=True) for _ in range(size.blocks))
        self.output = nn.Linear(inner, width)
        for layers in (self.convs, self.deconvs):
            layers.to(memory_format=torch.channels_last)  # a fifth faster on CPUs

    def drop_decoder(self) -> None:
        """Forget the decoder, which a run without reconstruction has no use for."""
        self.has_decoder = False
        del self.from_latent, self.deconvs, self.decoder_blocks, self.output

    def encode(self, x_BTD: Tensor, lengths_B: Tensor) -> Tensor:
        """Sequences [B, T, D] of `lengths_B` steps to latents [B, Z]; the padding has no effect."""
        layout = Layout(lengths_B, self.steps)
        x_ND = self.input(layout.pack(x_BTD)) + self.encoding[layout.index_N % self.steps]
        x_ND = self.dropout(x_ND)
        for block in self.encoder_blocks:
            x_ND = block(x_ND, layout)
        maps_BCTD = _in_pieces(self._convolve, layout.pad(x_ND)[:, None], self.piece)
        z_BZ: Tensor = self.to_latent(maps_BCTD.flatten(1))
        if self.from_mean is not None:
            inside_BT = torch.arange(self.steps, device=x_BTD.device) < lengths_B[:, None]
            mean_BD = (x_BTD * inside_BT[..., None]).sum(dim=1) / lengths_B[:, None]
            z_BZ = z_BZ + self.from_mean(mean_BD)
        return z_BZ

    def decode(self, z_BZ: Tensor, lengths_B: Tensor) -> Tensor:
        """Latents [B, Z] to reversed sequences [B, T, D] of `lengths_B` steps, zero after them."""
        assert self.has_decoder
        layout = Layout(lengths_B, self.steps)
        maps_BCTD = torch.relu(self.from_latent(z_BZ)).view(-1, *self.shapes[-1])
        maps_BCTD = _in_pieces(self._deconvolve, maps_BCTD, self.piece)
        memory_ND = layout.pack(maps_BCTD[:, 0])
        x_ND = self.encoding[layout.index_N % self.steps]
        for block in self.decoder_blocks:
            x_ND = block(x_ND, layout, memory_ND)
        return layout.pad(self.output(x_ND))

    def _convolve(self, maps_BCTD: Tensor) -> Tensor:
        for conv in self.convs:
            maps_BCTD = conv(maps_BCTD).relu_()
        return maps_BCTD

    def _deconvolve(self, maps_BCTD: Tensor) -> Tensor:
        for number, deconv in enumerate(self.deconvs):
            maps_BCTD = deconv(maps_BCTD.relu_() if number else maps_BCTD)
        return maps_BCTD


def make_auto_encoder(modality: Modality, width: int, config: TrainConfig) -> VectorAutoEncoder | SequenceAutoEncoder:
    """The auto-encoder of a modality whose features are `width` wide, with the layers that the config's size gives it.

    Raises:
        TrainingError: the sequence is too short or too narrow for the convolutions.
    """
    size = SIZES[config.size]
    layers = size.layers(modality)
    if isinstance(layers, _SequenceSize):
        piece = _SMALL_PIECE if config.size == "small" and config.objective != "paper" else _PIECE
        return SequenceAutoEncoder(config.steps(modality), width, layers, size.latent, config.dropout, piece)
    return VectorAutoEncoder(width, layers, size.latent)


def shortest_steps(modality: Modality, config: TrainConfig) -> int:
    """The fewest steps of a padded sequence that the convolutions of the config's size take.

    Example:
        >>> from mmpipe.pipeline.training.modalities import MODALITIES
        >>> shortest_steps(MODALITIES["v"], TrainConfig())
        6
    """
    layers = SIZES[config.size].layers(modality)
    if not isinstance(layers, _SequenceSize):
        return 1
    steps = 1
    while True:
        try:
            conv_shapes(steps, 1 << 16, layers.convs)
            return steps
        except TrainingError:
            steps += 1


def _in_pieces(layers: Callable[[Tensor], Tensor], maps_BCTD: Tensor, piece: int) -> Tensor:
    """Convolutions of a few utterances at a time on a CPU, so that the large maps between them stay in its cache."""
    if maps_BCTD.device.type != "cpu":
        return layers(maps_BCTD)
    return torch.cat([layers(part) for part in torch.split(maps_BCTD, piece)])


def _mirror(conv: _Conv, before: tuple[int, int, int], after: tuple[int, int, int]) -> nn.ConvTranspose2d:
    """The transposed convolution from shape `before` to `after`, with the output padding that this needs."""
    plain = [(n - 1) * conv.stride - 2 * conv.padding + conv.kernel for n in before[1:]]
    extra = (after[1] - plain[0], after[2] - plain[1])
    return nn.ConvTranspose2d(before[0], after[0], conv.kernel, conv.stride, conv.padding, output_padding=extra)
