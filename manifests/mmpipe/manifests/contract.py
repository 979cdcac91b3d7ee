"""The contract of a corpus reader: a root in, utterances and problems out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from mmpipe.core.errors import CorpusError
from mmpipe.core.options import Options
from mmpipe.core.statuses import CATEGORIES, Category
from mmpipe.core.text import printable
from mmpipe.manifests.schema import Utterance

__all__ = ["Corpus", "CorpusOptions", "Prepared", "Problem", "require"]


class CorpusOptions(Options):
    """Base of every corpus's options: frozen, unknown ones refused."""

    def ignored(self) -> dict[str, str]:
        """Options that have no effect beside the others, each with the option that it needs, such as `table`."""
        return {}


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is missing or odd in a corpus: it is reported and counted, and does not stop the run.

    Attributes:
        category: a name in `CATEGORIES`.
        where: the file, relative to the root, with the line where there is one.
        message: what is wrong and what becomes of it.
        lost: utterances that are left out because of it.
    """

    category: Category
    where: str
    message: str
    lost: int = 0


@dataclass
class Prepared:
    """What a reader found.

    Attributes:
        utterances: in an order that depends on the corpus and the options alone.
        problems: what is missing or odd, in the order of reading.
        left_out: utterances that the options leave out, by reason.
        counts: numbers of what was read besides utterances, by name.
    """

    utterances: list[Utterance] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)

    def problem(self, category: Category, where: Path | str, message: str, *, lost: int = 0) -> None:
        """Note a problem."""
        assert category in CATEGORIES, category
        self.problems.append(Problem(category, printable(str(where)), printable(message), lost))


class Corpus(ABC):
    """A corpus reader. Subclasses set the class variables and are named in the registry."""

    name: ClassVar[str]
    Options: ClassVar[type[CorpusOptions]] = CorpusOptions
    stages: ClassVar[tuple[str, ...]] = ("audio", "faces", "expression", "text")
    """The stages that `mmpipe extract` runs by default."""
    licence: ClassVar[str | None] = None
    """What its users should know of its licence, in a sentence for the card of an export."""

    def __init__(self, options: CorpusOptions) -> None:
        self.options = options

    def check(self, root: Path) -> None:
        """Make sure that a folder looks like the corpus, which takes no time.

        Raises:
            CorpusError: it does not.
        """
        require(root, self.name, (), "the corpus")

    @abstractmethod
    def prepare(self, root: Path) -> Prepared:
        """List the utterances of the corpus at `root`.

        Raises:
            CorpusError: the folder does not look like the corpus.
        """

    def reads(self, uri: str) -> bool:
        """Whether `prepare` reads what is in a file, and not only its name and size.

        Asked of every file of a corpus on an object store. Of WAV and AVI files that are read, only the headers are
        fetched, of other files the whole.

        Args:
            uri: the file's path relative to the root.
        """
        return True

    def expected(self) -> Mapping[str, Mapping[str, int]]:
        """Counts of the complete release under these options.

        Returns: By attribute of utterances ("label", or "split/label" for two of them) and value. The attribute
            "read" means `Prepared.counts`. Empty where there is nothing to expect.
        """
        return {}


def require(root: Path, corpus: str, patterns: tuple[str, ...], hint: str) -> None:
    """Check that `root` holds something for each glob pattern.

    Raises:
        CorpusError: it does not; the message says what was expected, what was found and what to do.
    """
    if not root.is_dir():
        state = "is not a folder" if root.exists() else "does not exist"
        raise CorpusError(f"{printable(root)} {state}: expected the root of {corpus}, {hint}")
    for pattern in patterns:
        if next(root.glob(pattern), None) is None:
            names = sorted(path.name for path in root.iterdir())
            found = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
            raise CorpusError(
                f"{printable(root)} does not look like {corpus}: expected {pattern} in it, "
                f"found {printable(found) or 'nothing'}. {_remedy(root, patterns, hint)}"
            )


def _remedy(root: Path, patterns: tuple[str, ...], hint: str) -> str:
    """A hint where the corpus probably is: a folder below the root that was given, or the folder above it."""
    below = sorted(path for path in root.iterdir() if path.is_dir())
    for folder in (*below[:50], root.parent):
        if all(next(folder.glob(pattern), None) for pattern in patterns):
            return f"{printable(folder)} does: give that as --root"
    return f"Give --root the folder of {hint}"
