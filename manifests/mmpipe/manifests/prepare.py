"""A corpus by name, read with checked options."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mmpipe.core.errors import UsageError
from mmpipe.core.files import is_local
from mmpipe.core.options import explain
from mmpipe.manifests.contract import Corpus, Prepared
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

    Raises:
        UsageError: see `corpus_reader`; or the corpus is on an object store.
        CorpusError: the folder does not look like the corpus.
    """
    reader = corpus_reader(dataset, options)
    if not is_local(root):
        raise UsageError(
            f"{root}: a manifest is made where the annotations are on a disk: make it there with `mmpipe manifest "
            f"{dataset} --root FOLDER`, then extract with --manifest FILE --root {root}"
        )
    return reader.prepare(root)
