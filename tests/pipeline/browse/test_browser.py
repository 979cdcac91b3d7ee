"""The page in a real browser: filters, player, marks and keys; nothing is asked of another host."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from ..chromium import IN_CHROMIUM, errors_of
from .conftest import SCRIPT, served

pytestmark = IN_CHROMIUM


@pytest.fixture(scope="module")
def address(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a page, and the list of its marks."""
    folder = tmp_path_factory.mktemp("served")
    words = (str(place / "store"), "--root", str(place / "corpus"), "--balanced", str(place / "balanced.parquet"))
    with served(*words, folder=folder) as (url, _):
        yield url, folder / "marks.csv"


@pytest.fixture(params=[1280, 390])
def page(browser: Any, address: tuple[str, Path], request: pytest.FixtureRequest) -> Iterator[Any]:
    """An empty tab; at its end no error was printed, nothing asked of another host, and nothing wider than the tab."""
    width = getattr(request, "param", 1280)
    tab = browser.new_page(viewport={"width": width, "height": 850}, color_scheme="dark" if width < 800 else "light")
    errors = errors_of(tab)
    hosts: set[str] = set()
    tab.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    tab.goto(address[0])
    yield tab
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert errors == [] and hosts == {urlsplit(address[0]).netloc}
    tab.close()


def wide(test: Any) -> Any:
    return pytest.mark.parametrize("page", [1280], indirect=True)(test)


def ids(page: Any) -> list[str]:
    return [str(text) for text in page.locator("td.id a").all_inner_texts()]


def until(page: Any, expression: str) -> None:
    """Wait until an expression holds (the page's policy does not allow Playwright's own way, which needs `eval`)."""
    for _ in range(100):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"still not so: {expression}")


def press(page: Any, key: str) -> None:
    """Press a key that leads to another page."""
    with page.expect_navigation():
        page.keyboard.press(key)


def paused(page: Any) -> bool:
    return bool(page.evaluate("document.querySelector('#player').paused"))


def test_a_visitor_filters_opens_and_plays_an_utterance(page: Any) -> None:
    assert len(ids(page)) == 6 and SCRIPT in page.inner_text("main")
    page.select_option("select[name=label]", "joy")
    page.fill("#search", "good")
    page.click("text=Filter")
    assert "label=joy" in page.url and "q=good" in page.url
    assert ids(page) == ["t/film"]
    with page.expect_navigation():  # until the script of the page has run, too: a key before that is lost
        page.click("td.id a")
    until(page, "document.querySelector('#player').readyState >= 2")
    assert page.evaluate("document.querySelector('#player').videoWidth") == 64
    assert abs(page.evaluate("document.querySelector('#player').duration") - 1) < 0.2
    page.keyboard.press("Space")
    until(page, "document.querySelector('#player').currentTime > 0.2")
    until(page, "[...document.images].every((image) => image.naturalWidth === 64)")
    page.click("button.word >> nth=1")
    page.reload()
    assert "t/film" in page.inner_text("h1")


@wide
def test_keys_move_play_mark_search_and_explain(page: Any, address: tuple[str, Path]) -> None:
    page.goto(f"{address[0]}?session=s1")
    order = ids(page)
    assert sorted(order) == ["t/film", "t/sound"]
    page.keyboard.press("?")
    assert page.is_visible("#help") and "mark as bad" in page.inner_text("#help")
    page.keyboard.press("Escape")
    assert not page.is_visible("#help")
    page.keyboard.press("/")
    page.keyboard.type("jbk?")  # letters of a field are letters
    assert page.input_value("#search") == "jbk?"
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("j")
    press(page, "Enter")
    assert order[1] in page.inner_text("h1")
    press(page, "k")
    assert order[0] in page.inner_text("h1")
    page.goto(f"{address[0]}utterance?store=store&id=t/sound&session=s1")
    until(page, "document.querySelector('#player').readyState >= 2")
    page.keyboard.press("Space")
    until(page, "document.querySelector('#player').currentTime > 0.1")
    assert not paused(page)
    page.keyboard.press("Space")
    assert paused(page)
    press(page, "b")
    assert page.is_visible("h1 .tag.bad")
    assert "t/sound,bad,," in address[1].read_text()
    press(page, "b")
    assert not page.is_visible("h1 .tag.bad")
    assert "t/sound" not in address[1].read_text()
    press(page, "u")
    assert ids(page) == order
    page.goto(f"{address[0]}utterance?store=store&id=t/sound")
    press(page, "/")
    assert page.evaluate("document.activeElement.id") == "search"


@wide
def test_a_corrected_label_and_a_note_are_kept(page: Any, address: tuple[str, Path]) -> None:
    page.goto(f"{address[0]}utterance?store=store&id=t/film&label=joy")
    page.keyboard.press("e")
    page.keyboard.type("anger")
    page.fill("textarea", "<script>alert(2)</script>")
    with page.expect_navigation():
        page.click("text=Save")
    assert page.inner_text("ins") == "anger" and "label=joy" in page.url
    assert page.input_value("textarea") == "<script>alert(2)</script>"
    assert re.search(r"^t/film,,anger,<script>alert\(2\)</script>$", address[1].read_text(), re.MULTILINE)


@wide
def test_a_clip_that_cannot_be_cut_says_why(browser: Any, address: tuple[str, Path], page: Any) -> None:
    other = browser.new_page()  # a failed request is printed as an error there
    other.goto(f"{address[0]}utterance?store=store&id=t/broken")
    other.wait_for_selector("#unplayable", state="visible")
    other.click("#unplayable a")
    assert "cannot be decoded" in other.inner_text("main")
    other.close()
