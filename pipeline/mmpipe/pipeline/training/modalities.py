"""The modalities: one table, one row each. Everything that differs between them is a field of a row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

__all__ = ["MODALITIES", "Modality", "modalities_of"]


@dataclass(frozen=True)
class Modality:
    """What one modality is and where its features come from.

    Attributes:
        letter: what configs, checkpoints and tables call it.
        name: the paper's word, which is also the name of its layers in the sizes of the model.
        source: what of a clip it is made of; the name of its linear probe.
        stage: the stage of a feature store that it reads.
        steps: the field of the config that gives the steps of a padded sequence; None: an utterance is one vector.
        index: the column by which neighbouring steps of the stage are pooled to their mean (word pieces to words);
            None: a step of the stage is a step of the sequence.
        follows: further stages whose provenance decides what the features mean, where a store has them.
    """

    letter: str
    name: Literal["acoustic", "visual", "lexical"]
    source: Literal["audio", "faces", "text"]
    stage: str
    steps: Literal["faces", "words"] | None = None
    index: str | None = None
    follows: tuple[str, ...] = ()

    @property
    def is_sequence(self) -> bool:
        """Whether an utterance is a sequence of vectors, not one vector."""
        return self.steps is not None


MODALITIES: dict[str, Modality] = {
    modality.letter: modality
    for modality in (
        Modality("a", "acoustic", "audio", "audio"),
        Modality("v", "visual", "faces", "expression", steps="faces", follows=("faces",)),
        Modality("l", "lexical", "text", "text", steps="words", index="word_index"),
    )
}
"""Every modality by its letter. The first of a config, in this order, is matched with each of the others."""


def modalities_of(letters: Iterable[str]) -> tuple[Modality, ...]:
    """The rows of some letters.

    Example:
        >>> [modality.stage for modality in modalities_of("al")]
        ['audio', 'text']
    """
    return tuple(MODALITIES[letter] for letter in letters)
