"""Every relative link of every page leads to a file, a heading or a definition that exists."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("docs", "examples", "tools", "docker", "manifests")
PAGES = sorted([*ROOT.glob("*.md"), *(page for name in FOLDERS for page in (ROOT / name).rglob("*.md"))])
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))

_FENCED = re.compile(r"^(```|~~~).*?^\1\s*$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[((?:[^\]\[]|\[[^\]]*\])*)\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)


def prose(page: Path) -> str:
    """The text of a page or of the text cells of a notebook, without code blocks."""
    text = page.read_text("utf-8")
    if page.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return _FENCED.sub("", text)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    found: dict[str, int] = {}
    for heading in _HEADING.findall(prose(page)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        number = found.get(slug, 0)
        found[slug] = number + 1
        if number:
            found[f"{slug}-{number}"] = 1
    return set(found)


def broken(page: Path) -> list[str]:
    """The links of a page that lead nowhere, each with the reason."""
    problems = []
    for text, target in _LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        file = (page.parent / place).resolve() if place else page
        if not file.exists() or not file.is_relative_to(ROOT):
            problems.append(f"{target}: there is no such file in the repository")
        elif anchor and (file.suffix != ".md" or anchor not in anchors(file)):
            problems.append(f"{target}: there is no such heading")
        elif file.suffix == ".py" and (name := re.fullmatch(r"`(?:\w+\.)*(\w+)`", text)):
            defined = rf"^ *(?:(?:def|class) {name[1]}\b|{name[1]}\b.* = )"
            if not re.search(defined, file.read_text("utf-8"), re.MULTILINE):
                problems.append(f"{target}: it does not define {name[1]}")
    return problems


@pytest.mark.parametrize("page", [*PAGES, *NOTEBOOKS], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_relative_link_of_a_page_leads_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_a_link_to_a_wrong_file_heading_or_name_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    (tmp_path / "code.py").write_text("def here() -> None: ...\n")
    (tmp_path / "other.md").write_text("# One `two`, three\n## Twice\n## Twice\n```\n# in a block\n```\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md) [b](other.md#one-two-three) [c](other.md#twice-1) [`here`](code.py) [web](https://x.org/y)\n"
        "```\n[not a link](gone.md)\n```\n"
        "[d](gone.md) [e](other.md#four) [f](other.md#in-a-block) [`there`](code.py) [g](../outside.md)\n"
    )
    assert [problem.partition(":")[0] for problem in broken(page)] == [
        "gone.md", "other.md#four", "other.md#in-a-block", "code.py", "../outside.md",
    ]  # fmt: skip


def test_the_index_of_the_docs_names_every_page_once() -> None:
    index = ROOT / "docs" / "README.md"
    linked = [target for _, target in _LINK.findall(prose(index)) if re.fullmatch(r"[\w-]+\.md", target)]
    assert sorted(linked) == sorted(page.name for page in index.parent.glob("*.md") if page != index)
