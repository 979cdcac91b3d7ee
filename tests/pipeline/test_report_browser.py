"""The report in a real browser: it asks nothing of the network, tables sort and filter, values are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmpipe.pipeline.report.page import build_report
from mmpipe.pipeline.report.sources import ReportSources

from .chromium import IN_CHROMIUM, errors_of
from .training.conftest import make_store

pytestmark = IN_CHROMIUM


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled store of twelve speakers and an unlabelled one, whose names say which is which."""
    folder = tmp_path_factory.mktemp("browser")
    stores = [make_store(folder / "known", speakers=12), make_store(folder / "pool", labeled=False, recording=1)]
    return build_report(ReportSources(stores), folder / "report.html")


def opened(browser: Any, report: Path, width: int = 1280, scheme: str = "light") -> tuple[Any, list[str], list[str]]:
    """A tab with the report, and the errors and requests that it makes from now on."""
    page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    errors = errors_of(page)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(report.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    return page, errors, requests


def column(table: Any, number: int) -> list[str]:
    cells: list[str] = table.locator(f"tbody tr:visible td:nth-child({number})").all_inner_texts()
    return cells


def test_tables_sort_and_filter(browser: Any, report: Path) -> None:
    page, errors, _ = opened(browser, report)
    block = page.locator(".table", has=page.locator(".caption", has_text="MADE (known) by speaker"))
    table = block.locator("table")
    names = column(table, 1)
    assert sorted(names) == sorted(f"p{n}" for n in range(12))
    table.get_by_role("button", name="speaker").click()
    assert column(table, 1) == [f"p{n}" for n in range(12)]  # p2 before p10
    table.get_by_role("button", name="speaker").click()
    assert column(table, 1) == [f"p{n}" for n in reversed(range(12))]
    table.get_by_role("button", name="anger").click()
    counts = [int(text) for text in column(table, 4)]
    assert counts == sorted(counts, reverse=True) and len(set(counts)) > 1
    block.get_by_role("searchbox").fill("P1")
    assert sorted(column(table, 1)) == ["p1", "p10", "p11"]
    assert block.locator("output").inner_text() == "3 of 12 rows"
    block.get_by_role("searchbox").fill("")
    assert len(column(table, 1)) == 12
    assert errors == []
    page.close()


def test_plots_show_values_and_change_their_colours(browser: Any, report: Path) -> None:
    page, errors, requests = opened(browser, report)
    tip = page.locator("#tip")
    assert not tip.is_visible()
    page.locator("svg[aria-label='Utterances of MADE (known) by label'] .bar").first.hover()
    assert tip.inner_text() == "anger: 24 (50.0 %)"
    page.locator("h1").hover()
    assert not tip.is_visible()
    figure = page.locator("figure", has=page.locator("svg[aria-label^='Projection of the features of stage audio']"))
    dot = figure.locator(".dot[data-tip='made/000, anger, p0']").first
    assert dot.get_attribute("class") == "dot c0"
    figure.get_by_role("button", name="corpus").click()
    legend = figure.locator(".legend:visible")
    assert legend.locator("li").all_inner_texts() == ["MADE (known)", "MADE (pool)"]
    classes = figure.locator(".dot").evaluate_all("all => all.map((each) => each.getAttribute('class'))")
    assert [classes.count(f"dot c{n}") for n in (0, 1)] == [48, 48]
    assert errors == [] and requests == [report.as_uri()]
    page.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_page_and_nothing_is_asked_of_the_network(
    browser: Any, report: Path, width: int
) -> None:
    page, errors, requests = opened(browser, report, width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    outside = page.evaluate(
        """() => [...document.querySelectorAll('main *')].filter((each) => {
            const box = each.getBoundingClientRect();
            return box.width && box.right > innerWidth + 1 && !each.closest('.scroll');
        }).map((each) => each.tagName)"""
    )
    assert outside == [] and errors == [] and requests == [report.as_uri()]
    page.close()


def test_the_dark_scheme_is_followed_and_paper_stays_white(browser: Any, report: Path) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    ink = "getComputedStyle(document.body).color"
    shades = {}
    for scheme in ("light", "dark"):
        page, errors, _ = opened(browser, report, scheme=scheme)
        shades[scheme] = [page.evaluate(ground), page.evaluate(ink)]
        assert errors == []
        if scheme == "dark":
            page.emulate_media(media="print")
            assert page.evaluate(ground) == shades["light"][0]
        page.close()
    assert shades["light"][0] == "rgb(255, 255, 255)"
    levels = {scheme: [sum(map(int, s[4:-1].split(","))) for s in values] for scheme, values in shades.items()}
    assert levels["dark"][0] < 120 < 600 < levels["dark"][1]  # light ink on a dark ground
