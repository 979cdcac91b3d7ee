"""Every hyper-parameter of a run on one screen."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from mmpipe.core.errors import UsageError
from mmpipe.core.options import Options, explain
from mmpipe.pipeline.hardware import available_cores
from mmpipe.pipeline.training.modalities import MODALITIES, Modality, modalities_of

__all__ = ["Objective", "TrainConfig", "make_config"]

_FEW_ROWS = 16
"""Batches are not made smaller than this to get more steps."""


Objective = Literal["paper", "self-train", "consistency", "self-train+consistency"]

_SMALL_DEFAULTS: dict[str, Any] = {
    "objective": "self-train+consistency",
    "alpha": 0.0,
    "beta": 0.0,
    "omega": 1.0,
    "clip": 3.0,
    "latent_norm": True,
    "ensemble": 3,
    "lda_share": 0.5,
    "min_steps": 20,
    "unlabeled_ratio": 3.0,
}
"""What size `small` changes unless the objective is `paper`; chosen by `studies.assembled`."""


class TrainConfig(Options):
    """Defaults are the paper's where it speaks (section 4.2, table 3), else as documented field by field.

    `make_config` has other defaults for size `small`: `_SMALL_DEFAULTS`.
    """

    objective: Objective = "paper"
    """What is learnt from unlabelled rows: `paper` (reconstruction and matching of modalities, equations 7 to 9),
    `self-train` (pseudo-labels of a late fusion that was trained on the labelled rows and then, class by class, on its
    own most confident answers), `consistency` (FixMatch: the class that the network itself gives the plain features,
    where it is confident, has to follow from noisy ones) or both together. All but `paper` need no second modality."""
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
    min_steps: int = Field(default=0, ge=0)
    """Steps of an epoch, about, at least. Where the labelled rows give fewer, batches become smaller, down to 16 rows,
    and then the rows are passed over again. 0 leaves an epoch at one pass."""
    epochs: int = Field(default=15, ge=1)
    """Passes over the labelled rows (see `min_steps`); the paper's best epochs are 10 to 15."""
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
    clip: float | None = Field(default=None, gt=0)
    """Limit normalised features to minus and plus this: outliers of openSMILE reach 50 and more."""
    input_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Of the features of labelled rows, after normalisation."""
    modality_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the labelled rows whose latent of a modality is left out, one modality at least stays."""
    view_dropout: float = Field(default=0.3, ge=0, lt=1)
    """Both dropouts in the noisy views of unlabelled rows (not of the objective `paper`)."""
    latent_norm: bool = False
    """LayerNorm of the latent of each modality before the classifier."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target that is spread over all classes (Szegedy et al. 2016)."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled (AdamW); 0 is Adam."""
    fusion: Literal["joint", "late"] = "joint"
    """`joint`: one classifier on all latents; `late`: one a modality, each trained by itself, and the mean of their
    probabilities."""
    ensemble: int = Field(default=1, ge=1, le=32)
    """Networks of other initial weights that are trained side by side; the mean of their probabilities is the
    answer."""
    lda_share: float = Field(default=0.0, ge=0, lt=1)
    """Share of the answer that linear discriminant analysis gives, one of each modality on the mean of its steps, all
    classes taken for equally probable; the rest is the network's. None where the training part has fewer than 40 rows a
    class."""
    unlabeled_ratio: float = Field(default=1.0, gt=0)
    """Unlabelled rows a step for each labelled one; never more than `batch_size`."""
    threshold: float = Field(default=0.8, ge=0, lt=1)
    """Probability from which the network's own answer becomes a pseudo-label."""
    teacher_share: float = Field(default=0.7, gt=0, le=1)
    """Share of the unlabelled rows that the late fusion's answers label: its most confident ones of each class, the
    same number of every class."""
    class_weights: bool = False
    """Weigh the cross-entropy of a class by the inverse of its frequency in the training part."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """In the Transformers: after the input and after every sub-layer."""
    classifier_dropout: float = Field(default=0.3, ge=0, lt=1)
    """Between the classifier's two layers."""
    normalise: Literal["corpus", "speaker"] = "corpus"
    """Whose mean and deviation z-normalise a row: those of the training rows of its corpus, or of its own
    speaker's rows (features alone, no labels; speakers that the training part lacks by their own rows)."""
    select: Literal["ua", "wap", "weighted_f1", "macro_f1", "loss"] = "ua"
    """The validation metric that chooses the epoch, or the validation cross-entropy."""
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

    @model_validator(mode="after")
    def _one_classifier(self) -> TrainConfig:
        if self.objective == "paper" and (self.fusion == "late" or self.ensemble > 1 or self.lda_share):
            raise ValueError(
                "objective paper has one classifier: choose another objective for fusion=late, ensemble or lda_share"
            )
        return self

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

    def batch_of(self, rows: int) -> int:
        """Labelled rows a step at most, of so many labelled rows; see `min_steps`.

        Example:
            >>> TrainConfig(min_steps=20).batch_of(80), TrainConfig(min_steps=20).batch_of(5000)
            (16, 128)
        """
        if self.min_steps == 0:
            return self.batch_size
        return min(self.batch_size, max(_FEW_ROWS, rows // self.min_steps))

    def passes(self, rows: int) -> int:
        """Passes over so many labelled rows in an epoch."""
        return max(1, round(self.min_steps / math.ceil(rows / self.batch_of(rows))))

    def steps_an_epoch(self, rows: int) -> int:
        """Steps of an epoch of so many labelled rows.

        Example:
            >>> TrainConfig(min_steps=20).steps_an_epoch(80)
            20
        """
        return self.passes(rows) * math.ceil(rows / self.batch_of(rows))

    def unlabeled_rows_of(self, rows: int) -> int:
        """Unlabelled rows of a step beside so many labelled ones.

        Example:
            >>> TrainConfig(unlabeled_ratio=3).unlabeled_rows_of(16), TrainConfig().unlabeled_rows_of(128)
            (48, 128)
        """
        return rows if self.unlabeled_ratio == 1 else max(1, min(self.batch_size, round(self.unlabeled_ratio * rows)))

    def vanilla(self) -> TrainConfig:
        """The same without reconstruction and matching: cross-entropy only (first row of table 7)."""
        return self.model_copy(update={"alpha": 0.0, "beta": 0.0, "omega": 0.0})


def make_config(**values: Any) -> TrainConfig:
    """A checked config; of size `small` with the defaults of `_SMALL_DEFAULTS`, unless the objective is `paper`.

    Raises:
        UsageError: a hyper-parameter is unknown or out of range; the message lists the valid ones.

    Example:
        >>> make_config(modalities=("l", "a"), words=12).stages
        ('audio', 'text')
    """
    small = values.get("size") == "small" and values.get("objective") != "paper"
    try:
        return TrainConfig.model_validate((_SMALL_DEFAULTS if small else {}) | values)
    except ValidationError as error:
        names = TrainConfig.model_fields
        raise UsageError(f"{explain(error, names, 'hyper-parameter ')}; valid: {', '.join(names)}") from error
