"""docs/corpora.md names every category, every option of a folder and of AMI, every alias and every ending."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mmpipe.core.statuses import CATEGORIES
from mmpipe.manifests.corpora.ami import AmiOptions
from mmpipe.manifests.corpora.folder import FolderOptions
from mmpipe.manifests.corpora.folder_clips import AUDIO_ENDINGS, VIDEO_ENDINGS
from mmpipe.manifests.corpora.folder_columns import ALIASES
from mmpipe.manifests.formats.tiers import is_mark

PAGE = (Path(__file__).parents[2] / "docs" / "corpora.md").read_text("utf-8")
NAMED = set(re.findall(r"`([^`\s]+)`", PAGE))


def test_every_category_has_a_row() -> None:
    rows = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    assert CATEGORIES.keys() - set(re.findall(r"`(\w+)`", " ".join(rows))) == set()


@pytest.mark.parametrize("options", [AmiOptions, FolderOptions])
def test_every_option_is_named(options: type[AmiOptions | FolderOptions]) -> None:
    flags = {f"--{'crop' if name == 'crop_seconds' else name.replace('_', '-')}" for name in options.model_fields}
    assert flags - set(re.findall(r"--[a-z-]+", PAGE)) == set()


def test_the_table_of_columns_is_that_of_the_reader() -> None:
    section = PAGE[PAGE.index("| column | other names |") : PAGE.index("Times by another name")]
    rows = [re.findall(r"`(\w+)`", line) for line in section.splitlines() if line.startswith("| `")]
    assert {row[0]: tuple(row[1:]) for row in rows} == ALIASES


def test_every_ending_is_named() -> None:
    listed = re.findall(r"\.\w+", PAGE[PAGE.index("Clips: video") : PAGE.index("with a transcript of the same name")])
    assert set(listed) == {*AUDIO_ENDINGS, *VIDEO_ENDINGS}


def test_the_marks_of_aligners_that_the_page_names_are_marks() -> None:
    section = (
        " ".join(PAGE.split()).partition("The marks that aligners write")[2].partition("Words in parentheses stay")[0]
    )
    marks = {mark for code in re.findall(r"`([^`]+)`", section) for mark in code.split()} - {"<>", "{}", "[]"}
    assert len(marks) > 12 and all(is_mark(mark) for mark in marks)
