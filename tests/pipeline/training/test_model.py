"""The model is that of table 3 of the paper, and padding never changes what it says."""

from __future__ import annotations

import itertools

import pytest
import torch

from mmpipe.core.errors import TrainingError
from mmpipe.pipeline.training.autoencoders import SIZES, SequenceAutoEncoder, VectorAutoEncoder, conv_shapes
from mmpipe.pipeline.training.config import make_config
from mmpipe.pipeline.training.layers import reverse
from mmpipe.pipeline.training.model import EmotionModel

PAPER = {"a": 1582, "v": 342, "l": 1024}


def batch(widths: dict[str, int], steps: dict[str, int], rows: int = 3) -> tuple[dict[str, torch.Tensor], ...]:
    generator = torch.Generator().manual_seed(0)
    features = {
        name: torch.randn(rows, *([steps[name]] if name in steps else []), width, generator=generator)
        for name, width in widths.items()
    }
    lengths = {name: torch.tensor([n, max(1, n // 2), 1][:rows]) for name, n in steps.items()}
    keep = {name: torch.arange(n)[None] < lengths[name][:, None] for name, n in steps.items()}
    for name, mask in keep.items():
        features[name] *= mask[..., None]
    return features, keep


def test_convolutions_have_the_shapes_of_table_3() -> None:
    assert conv_shapes(18, 342, SIZES["paper"].visual.convs)[1:] == [(16, 9, 171), (64, 4, 85), (32, 2, 29)]
    assert conv_shapes(22, 1024, SIZES["paper"].lexical.convs)[1:] == [(64, 11, 512), (4, 4, 171)]
    assert 32 * 2 * 29 == 1856 and 4 * 4 * 171 == 2736


def test_linear_layers_have_the_widths_of_table_3() -> None:
    model = EmotionModel(make_config(), PAPER, 4)
    acoustic = model.auto_encoders["a"]
    assert isinstance(acoustic, VectorAutoEncoder) and acoustic.decoder is not None
    linear = torch.nn.Linear
    assert [m.weight.shape[::-1] for m in acoustic.encoder if isinstance(m, linear)] == [
        (1582, 512), (512, 256), (256, 128),
    ]  # fmt: skip
    assert [m.weight.shape[::-1] for m in acoustic.decoder if isinstance(m, linear)] == [
        (128, 256), (256, 512), (512, 1582),
    ]  # fmt: skip
    for name, widths in (("v", [(1856, 128)]), ("l", [(2736, 512), (512, 128)])):
        coder = model.auto_encoders[name]
        assert isinstance(coder, SequenceAutoEncoder)
        assert [tuple(m.weight.shape[::-1]) for m in coder.to_latent if isinstance(m, linear)] == widths
        assert len(coder.encoder_blocks) == len(coder.decoder_blocks) == 2
    assert [tuple(m.weight.shape[::-1]) for m in model.classifier if isinstance(m, linear)] == [(384, 128), (128, 4)]


@pytest.mark.parametrize("names", ["a", "v", "l", "av", "al", "vl", "avl"])
def test_any_subset_gives_logits_latents_and_reconstructions(names: str) -> None:
    config = make_config(modalities=tuple(names), objective="paper", size="small")
    widths = {name: PAPER[name] for name in names}
    steps = {name: n for name, n in {"v": 18, "l": 22}.items() if name in names}
    features, keep = batch(widths, steps)
    output = EmotionModel(config, widths, 4)(features, keep, reconstruct=True)
    assert output.logits.shape == (3, 4)
    assert {name: tuple(z.shape) for name, z in output.latents.items()} == dict.fromkeys(names, (3, 64))
    assert {name: x.shape for name, x in output.reconstructions.items()} == {n: x.shape for n, x in features.items()}


def test_twelve_words_and_a_narrower_text_model_are_inverted_too() -> None:
    config = make_config(modalities=("l",), words=12, size="paper")
    features, keep = batch({"l": 384}, {"l": 12})
    output = EmotionModel(config, {"l": 384}, 7)(features, keep, reconstruct=True)
    assert output.reconstructions["l"].shape == (3, 12, 384)


def test_what_stands_on_the_padding_changes_nothing() -> None:
    config = make_config(modalities=("v", "l"), objective="paper", size="small")
    widths, steps = {"v": 342, "l": 384}, {"v": 18, "l": 22}
    model = EmotionModel(config, widths, 4).eval()
    features, keep = batch(widths, steps)
    noisy = {name: x + 100 * ~keep[name][..., None] for name, x in features.items()}
    assert torch.equal(model(features, keep).logits, model(noisy, keep).logits)


def test_reconstruction_targets_are_reversed_up_to_the_padding() -> None:
    x = torch.tensor([[1.0, 2, 3, 0], [4, 5, 0, 0]])[..., None]
    assert reverse(x, torch.tensor([3, 2]))[..., 0].tolist() == [[3, 2, 1, 0], [5, 4, 0, 0]]


def test_no_decoder_is_built_where_reconstruction_has_no_weight() -> None:
    names = dict(EmotionModel(make_config(alpha=0, objective="paper", size="small"), PAPER, 4).named_parameters())
    assert not [name for name in names if "decoder" in name or "deconv" in name]


def test_inputs_of_another_shape_are_refused_with_both_shapes() -> None:
    model = EmotionModel(make_config(modalities=("a",), objective="paper", size="small"), {"a": 1582}, 4)
    with pytest.raises(TrainingError, match=r"expected rows of shape \(1582,\), got \(88,\)"):
        model({"a": torch.zeros(2, 88)}, {})
    with pytest.raises(TrainingError, match="too small"):
        EmotionModel(make_config(modalities=("v",), faces=1), {"v": 342}, 4)


def linear(*widths: int) -> int:
    """Parameters of linear layers one after the other."""
    return sum(before * after + after for before, after in itertools.pairwise(widths))


def attention(width: int, heads: int = 4) -> int:
    """Parameters of queries, keys, values and output; a width that the heads do not divide is rounded up."""
    inner = heads * -(-width // heads)
    return 3 * linear(width, inner) + linear(inner, width)


def transformer(width: int, *, decoder: bool) -> int:
    """Parameters of two blocks: attention, feed-forward of twice the width, LayerNorms."""
    attentions = 2 if decoder else 1
    norms = (attentions + 1) * 2 * width
    return 2 * (attentions * attention(width) + linear(width, 2 * width, width) + norms)


def convolution(before: int, after: int, kernel: int) -> int:
    return before * after * kernel**2 + after


def test_parameter_counts_follow_from_table_3() -> None:
    """Worked out by hand from the widths, kernels and channels of the table."""
    coders = EmotionModel(make_config(), PAPER, 4).auto_encoders
    counts = {name: sum(p.numel() for p in coder.parameters()) for name, coder in coders.items()}
    acoustic = linear(1582, 512, 256, 128) + linear(128, 256, 512, 1582)
    visual_in = convolution(1, 16, 4) + convolution(16, 64, 5) + convolution(64, 32, 3)
    visual_out = convolution(32, 64, 3) + convolution(64, 16, 5) + convolution(16, 1, 4)
    visual = visual_in + visual_out + linear(1856, 128) + linear(128, 1856) + linear(342, 342)
    lexical_in = convolution(1, 64, 4) + convolution(64, 4, 4)
    lexical_out = convolution(4, 64, 4) + convolution(64, 1, 4)
    lexical = lexical_in + lexical_out + linear(2736, 512, 128) + linear(128, 512, 2736) + linear(1024, 1024)
    for name, width in (("v", 342), ("l", 1024)):
        both = transformer(width, decoder=False) + transformer(width, decoder=True)
        visual, lexical = (visual + both, lexical) if name == "v" else (visual, lexical + both)
    assert counts == {"a": acoustic, "v": visual, "l": lexical}


def test_every_map_between_input_and_latent_and_back_has_the_shape_of_table_3() -> None:
    model = EmotionModel(make_config(modalities=("v", "l")), PAPER, 4).eval()
    seen: dict[str, list[tuple[int, ...]]] = {"v": [], "l": []}
    for name, coder in model.auto_encoders.items():
        assert isinstance(coder, SequenceAutoEncoder)
        for layer in (*coder.convs, *coder.deconvs):
            layer.register_forward_hook(lambda _, __, y, name=name: seen[name].append(tuple(y.shape[1:])))
    features, keep = batch({"v": 342, "l": 1024}, {"v": 18, "l": 22})
    with torch.no_grad():
        output = model(features, keep, reconstruct=True)
    there = [(16, 9, 171), (64, 4, 85), (32, 2, 29)]
    assert seen["v"] == [*there, *there[-2::-1], (1, 18, 342)]
    assert seen["l"] == [(64, 11, 512), (4, 4, 171), (64, 11, 512), (1, 22, 1024)]
    assert {name: z.shape[1] for name, z in output.latents.items()} == {"v": 128, "l": 128}
