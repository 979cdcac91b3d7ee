"""Every hyper-parameter of a run on one screen."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from mmpipe.core.errors import UsageError
from mmpipe.core.options import Options, explain
from mmpipe.pipeline.hardware import available_cores
from mmpipe.pipeline.training.modalities import MODALITIES, Modality, modalities_of

__all__ = ["TrainConfig", "make_config"]


class TrainConfig(Options):
    """Defaults are the paper's where it speaks (section 4.2, table 3), else as documented field by field."""

    modalities: tuple[str, ...] = tuple(MODALITIES)
    """Any of a, v, l. The first of them, in this order, is matched with each of the others."""
    size: Literal["paper", "small"] = "paper"
    """`paper`: table 3; `small`: every layer narrower, Transformers of width 64, for laptops and small
    corpora."""
    faces: int = Field(default=18, ge=1, le=100_000)
    """Faces an utterance: longer ones are cut, shorter ones padded."""
    words: int = Field(default=22, ge=1, le=100_000)
    """Words an utterance: 22 for IEMOCAP, 12 for MELD."""
    batch_size: int = Field(default=128, ge=4)
    """Labelled rows a step at most, and as many unlabelled ones beside them."""
    epochs: int = Field(default=15, ge=1)
    """Passes over the labelled rows; the paper's best epochs are 10 to 15."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Of Adam."""
    schedule: Literal["constant", "linear"] = "constant"
    """`linear` lowers the learning rate epoch by epoch towards 0: steadier on small corpora; the paper names none."""
    alpha: float = Field(default=0.2, ge=0)
    """Weight of the reconstruction; 0 builds no decoders."""
    beta: float = Field(default=0.1, ge=0)
    """Weight of the distribution matching."""
    omega: float = Field(default=0.3, ge=0)
    """Weight of the unlabelled data."""
    matching: Literal["batch", "sample", "hsic"] = "batch"
    """What is enlarged while paired modalities are matched: `batch` (equation 3 between the two halves of a
    batch, the paper read literally), `sample` (the same for single utterances) or `hsic` (the dependence of
    two modalities)."""
    bandwidth: float | None = Field(default=None, gt=0)
    """Sigma of the Gaussian kernel; None takes the median of the pooled distances."""
    kernels: tuple[float, ...] = (1.0,)
    """The kernel is the mean of Gaussians of these multiples of the bandwidth."""
    class_weights: bool = False
    """Weigh the cross-entropy of a class by the inverse of its frequency in the training part."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """In the Transformers: after the input and after every sub-layer."""
    classifier_dropout: float = Field(default=0.3, ge=0, lt=1)
    """Between the classifier's two layers."""
    normalise: Literal["corpus", "speaker"] = "corpus"
    """Whose mean and deviation z-normalise a row: those of the training rows of its corpus, or of its own
    speaker's rows (features alone, no labels; speakers that the training part lacks by their own rows)."""
    select: Literal["ua", "wap", "weighted_f1", "macro_f1"] = "ua"
    """The validation metric that chooses the epoch."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after this many epochs without a better one; None trains all epochs."""
    precision: Literal["float32", "bf16"] = "float32"
    """bf16 runs matrix products in bfloat16 (autocast); losses and parameters stay float32."""
    unlabeled_rows: int | None = Field(default=None, ge=4)
    """Draw from this many first rows of the balanced list only; a smaller number's rows are part of a larger's."""
    protocol: str = "auto"
    """How folds are made: auto, iemocap-5, iemocap-10, corpus, groups-K or clips-K (K from 2 to 20), loso or column."""
    seed: int = Field(default=0, ge=0, lt=1 << 62)
    """Decides initial weights, order and dropout."""

    @field_validator("modalities")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or len(set(value)) != len(value) or not set(value) <= set(MODALITIES):
            raise ValueError(f"valid modalities are {', '.join(MODALITIES)}, each at most once")
        return tuple(name for name in MODALITIES if name in value)

    @field_validator("kernels")
    @classmethod
    def _positive(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or min(value) <= 0:
            raise ValueError("kernels are one or more multiples above 0 of the bandwidth")
        return value

    @property
    def chosen_modalities(self) -> tuple[Modality, ...]:
        """What is known of the modalities."""
        return modalities_of(self.modalities)

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that the model reads."""
        return tuple(modality.stage for modality in self.chosen_modalities)

    @property
    def threads(self) -> int:
        """Threads that training is fastest with: all cores; one where the matrices are too small to share out."""
        return 1 if self.size == "small" else available_cores()

    def steps(self, modality: Modality) -> int:
        """Steps of a padded sequence; 1 where an utterance is one vector."""
        return 1 if modality.steps is None else int(getattr(self, modality.steps))

    def vanilla(self) -> TrainConfig:
        """The same without reconstruction and matching: cross-entropy only (first row of table 7)."""
        return self.model_copy(update={"alpha": 0.0, "beta": 0.0, "omega": 0.0})


def make_config(**values: Any) -> TrainConfig:
    """A checked config.

    Raises:
        UsageError: a hyper-parameter is unknown or out of range; the message lists the valid ones.

    Example:
        >>> make_config(modalities=("l", "a"), words=12).stages
        ('audio', 'text')
    """
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        names = TrainConfig.model_fields
        raise UsageError(f"{explain(error, names, 'hyper-parameter ')}; valid: {', '.join(names)}") from error
