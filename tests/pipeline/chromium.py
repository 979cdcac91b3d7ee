"""What the tests in a real browser share."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

__all__ = ["CHROMIUM", "IN_CHROMIUM", "errors_of"]

CHROMIUM = shutil.which("chromium")

IN_CHROMIUM = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here: apt-get install chromium"),
]
"""Marks of a file of such tests; its fixture `browser` is in `conftest.py`."""


def errors_of(tab: Any) -> list[str]:
    """The errors and warnings that a tab prints from now on."""
    errors: list[str] = []
    tab.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: errors.append(str(error)))
    return errors
