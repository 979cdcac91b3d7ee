"""The contract of an extractor: arrays in, one row of columns out.

An extractor does not open media files and does not know a corpus. A stage gives it the items of one shard in order, of
the kind that the extractor names in `input`. For each item it returns a row (a dict from column name to value), or a
`Rejected` that says why there is no row. A row depends on its own item, the config and the weights only, never on its
neighbours, so model calls have fixed shapes.

    input     an item is                                       example
    audio     Audio: waveform float32 [T], 16 kHz mono          IS10 functionals
    frames    an iterable of Frame (RGB uint8 [H, W, 3]);       face crops
              each iteration decodes them again
    crops     uint8 [N, 64, 64] gray face crops                 DenseNet-FERPlus features
    words     a list of N words                                 BERT token embeddings
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mmpipe.core.errors import Rejected
from mmpipe.core.options import Options

__all__ = [
    "SAMPLING_RATE_HZ",
    "Audio",
    "Extractor",
    "ExtractorConfig",
    "Frame",
    "InputKind",
    "PerItemExtractor",
    "Precision",
    "Row",
]

SAMPLING_RATE_HZ = 16_000
"""Sampling rate of every waveform that an extractor receives."""

InputKind = Literal["audio", "frames", "crops", "words"]
Precision = Literal["float32", "bf16"]
"""Precision of a model's matrix products."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Audio:
    """A mono waveform: float32 [T] in [-1, 1] at `SAMPLING_RATE_HZ`."""

    waveform: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Frame:
    """A sampled video frame.

    Attributes:
        image: RGB uint8 [H, W, 3]; where the utterance has a region, already cut to it.
        index: number of the frame in its file, counted from 0.
        time_seconds: presentation time on the utterance's own clock (0 = its start).
        source: what identifies the image beyond the utterance (file, frame, region), so that overlapping
            utterances can share a full-frame detection.
    """

    image: npt.NDArray[np.uint8]
    index: int
    time_seconds: float
    source: str


class ExtractorConfig(Options):
    """Base of every extractor's config: frozen, unknown fields refused. It enters the shard's fingerprint."""


class Extractor(ABC):
    """One way to turn items into rows. Subclasses set `input` and `Config` and are named in the registry.

    Constructing an extractor is cheap and loads no model: `prepare` does, once in every worker.
    """

    input: ClassVar[InputKind]
    libraries: ClassVar[tuple[str, ...]] = ()
    """Modules that `prepare` imports: workers import them while a run is planned."""
    Config: ClassVar[type[ExtractorConfig]]
    runs_on_device: ClassVar[bool] = False
    """Whether a model runs on the device that the user chose. Only then do device and precision enter the fingerprint:
    the rows of any other extractor are the same on a machine with a GPU and on one without."""
    precisions: ClassVar[tuple[Precision, ...]] = ("float32",)
    """Precisions in which the model of an extractor that runs on the device can compute."""
    revision: ClassVar[int] = 1
    """To be raised when the extractor's own code changes its values; it enters the shard's fingerprint."""
    licence: ClassVar[str | None] = None
    """What users of its features should know of the licence of its code and weights, for the card of an export."""

    def __init__(self, config: ExtractorConfig, *, device: str = "cpu", precision: Precision = "float32") -> None:
        self.config = config
        self.device = device
        self.precision = precision

    @abstractmethod
    def columns(self) -> list[pa.Field]:
        """Arrow fields of a row besides utterance_id, status and error.

        Raises:
            WeightsError: the width follows from a model that cannot be found.
        """

    def is_case_sensitive(self) -> bool:
        """Whether upper and lower case of a text give different values (extractors of words)."""
        return False

    @abstractmethod
    def weights(self) -> dict[str, str]:
        """Name -> SHA-256 (hex) of every weight file that decides the values; empty where there is none.

        Raises:
            WeightsError: a file is missing or altered.
        """

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Name -> version of the libraries that change the values."""

    def prepare(self) -> None:  # noqa: B027 - optional hook, most extractors without a model need none
        """Load what the extractor needs, once in every worker; raises `WeightsError` where it cannot."""

    @abstractmethod
    def extract(self, items: Iterable[Any]) -> Iterator[Row | Rejected]:
        """For each item, in order, a row or a `Rejected`.

        Items may be produced lazily; an extractor may hold many small ones (to batch rows of equal shape) but
        must consume large ones, such as frames, one at a time.
        """


class PerItemExtractor(Extractor):
    """An extractor that processes one item at a time: implement `extract_one`."""

    @abstractmethod
    def extract_one(self, item: Any) -> Row:
        """The row of one item.

        Raises:
            Rejected: there is no row for this item; any other exception becomes status `extractor_error`,
                but for those of the environment (memory is used up, say), which end the run.
        """

    def extract(self, items: Iterable[Any]) -> Iterator[Row | Rejected]:
        """Process the items one by one; an error costs its own item only."""
        for item in items:
            try:
                yield self.extract_one(item)
            except Rejected as rejected:
                yield rejected
            except Exception as error:  # a library's failure on one item must not cost the others
                yield Rejected.failed(type(self).__name__, error)
