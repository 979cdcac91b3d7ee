"""The made-up stores of the training tests, one labelled and one not."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..training.conftest import make_store


@pytest.fixture(scope="module")
def labeled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two labels, six speakers, 48 utterances."""
    return make_store(tmp_path_factory.mktemp("stores") / "labeled")


@pytest.fixture(scope="module")
def unlabeled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without labels; two utterances have no face."""
    return make_store(tmp_path_factory.mktemp("stores") / "unlabeled", labeled=False, missing=(3, 4))
