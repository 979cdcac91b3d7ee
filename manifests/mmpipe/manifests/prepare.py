"""A corpus by name, read with checked options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mmpipe.core.errors import CorpusError, UsageError
from mmpipe.core.files import is_local
from mmpipe.core.options import explain
from mmpipe.manifests.contract import Corpus, Prepared
from mmpipe.manifests.mirror import mirrored
from mmpipe.manifests.registry import CORPORA

__all__ = ["corpus_reader", "prepare_corpus"]


def corpus_reader(dataset: str, options: Mapping[str, Any]) -> Corpus:
    """The reader of a corpus.

    Args:
        dataset: a name of the registry.
        options: its options, by name.

    Raises:
        UsageError: the dataset does not exist, or an option is unknown or out of range.
    """
    corpus = CORPORA.load(dataset)
    try:
        return corpus(corpus.Options.model_validate(dict(options)))
    except ValidationError as error:
        names = corpus.Options.model_fields
        raise UsageError(f"{dataset}: {explain(error, names)}; options: {', '.join(names) or 'none'}") from error


def prepare_corpus(dataset: str, root: Path, options: Mapping[str, Any]) -> Prepared:
    """The utterances of a corpus, and what it lacks or holds that is odd.

    A corpus on an object store is read as its picture, see `mmpipe.manifests.mirror`, and gives the same utterances.

    Raises:
        UsageError: see `corpus_reader`.
        CorpusError: the folder does not look like the corpus.
        ResourceError: the object store refuses, or does not answer.
    """
    reader = corpus_reader(dataset, options)
    if is_local(root):
        return reader.prepare(root)
    with mirrored(root, reader.reads) as mirror:
        try:
            prepared = reader.prepare(mirror.path)
        except (CorpusError, UsageError) as error:
            raise type(error)(mirror.named(str(error))) from error
    named = [replace(p, message=mirror.named(p.message)) for p in prepared.problems]
    prepared.problems = [*mirror.problems, *named]
    return prepared
