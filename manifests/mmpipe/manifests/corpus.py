"""The contract of a corpus reader: a root in, utterances and problems out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from mmpipe.manifests.errors import CorpusError
from mmpipe.manifests.schema import Utterance

__all__ = ["Corpus", "CorpusOptions", "Prepared", "Problem", "require"]


class CorpusOptions(BaseModel):
    """Base of every corpus's options: frozen, unknown ones refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Problem:
    """Something that a corpus lacks or holds that is odd: it is told, counted, and does not stop the run.

    Attributes:
        category: a short name by which problems are counted.
        where: the file, relative to the root, with the line where there is one.
        message: what is wrong and what becomes of it.
    """

    category: str
    where: str
    message: str


@dataclass
class Prepared:
    """What a reader found: utterances in a stable order, and problems."""

    utterances: list[Utterance] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def problem(self, category: str, where: Path | str, message: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(category, str(where), message))


class Corpus(ABC):
    """A reader. Subclasses set the class variables and are named in the registry."""

    name: ClassVar[str]
    Options: ClassVar[type[CorpusOptions]] = CorpusOptions
    stages: ClassVar[tuple[str, ...]] = ("audio", "faces", "expression", "text")
    """The stages that `mmpipe extract` runs unless told otherwise."""

    def __init__(self, options: CorpusOptions) -> None:
        self.options = options

    @abstractmethod
    def prepare(self, root: Path) -> Prepared:
        """List the utterances of the corpus at `root`.

        Raises:
            CorpusError: the folder does not look like the corpus.
        """


def require(root: Path, corpus: str, patterns: tuple[str, ...], hint: str) -> None:
    """Check that `root` holds something for each glob pattern.

    Raises:
        CorpusError: it does not; the message says what was expected and what was found.
    """
    if not root.is_dir():
        raise CorpusError(f"{root} is not a folder: expected the root of {corpus} ({hint})")
    for pattern in patterns:
        if next(root.glob(pattern), None) is None:
            found = ", ".join(sorted(path.name for path in root.iterdir())[:8]) or "nothing"
            raise CorpusError(
                f"{root} does not look like {corpus}: expected {pattern} in it, found {found}. "
                f"Give --root the folder of {hint}"
            )
