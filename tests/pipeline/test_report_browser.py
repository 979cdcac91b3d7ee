"""The report in a real browser: it asks nothing of the network, tables sort and filter, values are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmpipe.pipeline.report.blocks import Block, Cell, Details, Figure, Grid, Heading, Section, Table, Text
from mmpipe.pipeline.report.charts import Bars, Histogram, Intervals, Lines, Points, Series
from mmpipe.pipeline.report.html import to_html
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


LONG = [f"avl-supervised-no-rec-{what}-at-the-second-attempt" for what in ("mmd", "kl", "none")]
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def marks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of charts and tables with long names, of which one table is folded away."""
    figures = [f"{value:.1f} ± 10.0 [100.0, 100.0]" for value in (90, 95, 100)]
    metrics = ("WAP", "UA", "weighted F1", "macro F1")
    columns = ("run", "objective", "modalities", "folds", "seeds", "utterances", *metrics)
    settings = ("self-train+consistency", "A+V+L", "10", "1", "5,531")
    rows = [
        [Cell(name), *map(Cell, settings), *(Cell(text, value) for _ in metrics)]
        for value, (name, text) in enumerate(zip(LONG, figures, strict=True))
    ]
    share = [Series("here", [50.0, 60.0, 70.0]), Series("paper", [55.0, 65.0, 72.5])]
    curves = [
        Series(name, [start, start + 1, start + 2], [1, 2, 3]) for name, start in (("first", 0.0), ("second", 5.0))
    ]
    confusion = [
        [Cell(label), *(Cell(str(n), n, n / 9, f"{label} as {other}: {n}") for n, other in ((place, "x"), (9, "y")))]
        for place, label in enumerate("xy")
    ]
    line = [float(number) for number in range(300)]
    cloud = Points("Cloud", line, line, ["left"] * 299 + [SCRIPT], {"label": ["x", "unlabelled"] * 150}, "one", "two")
    grid = Grid([
        Figure(Bars("Table 7", LONG, share, "UA in per cent", 100), "UA"),
        Figure(Intervals("Differences", LONG, [1.0, 2.0, 3.0], [-1.0] * 3, [4.0] * 3, "UA"), "UA"),
        Figure(Lines("Curves", curves, "epoch"), "Loss"),
        Figure(Histogram("Lengths", [3, 4], [0.5, 1.5, 2.5], "words", "utterances", (1.0, "80 %"), True), "Words"),
        Figure(cloud, "Cloud"),
    ])  # fmt: skip
    folded = [[Cell(f"name{number}"), Cell("a" * 400)] for number in range(20)]
    blocks: list[Block] = [
        Heading("One"),
        grid,
        Table(columns, rows, "Runs"),
        Table(("", "x", "y"), confusion, "Confusion", matrix=True),
        Details("Hyper-parameters", [Table(("name", "value"), folded, "Folded")]),
        Text("A remark.", quiet=True),
    ]
    out = tmp_path_factory.mktemp("marks") / "marks.html"
    out.write_text(to_html("Marks", [Section("one", "Section", blocks)]))
    return out


def test_names_of_bars_stay_whole_and_different(browser: Any, marks: Path) -> None:
    page, _, _ = opened(browser, marks)
    for label in ("Table 7", "Differences"):
        chart = page.locator(f"svg[aria-label='{label}']")
        names = [text for text in chart.locator("text").all_text_contents() if "avl" in text or "attempt" in text]
        assert len(set(names)) == len(LONG)
        assert set(chart.locator("text[data-tip]").evaluate_all("a => a.map((e) => e.dataset.tip)")) == set(LONG)
        overlaps = chart.evaluate(
            """(svg) => {
                const box = svg.getBoundingClientRect();
                const all = [...svg.querySelectorAll('text, rect.bar')].map((e) => [e, e.getBoundingClientRect()]);
                const isOut = ([, b]) => b.left < box.left - 1 || b.right > box.right + 1;
                const out = all.filter(isOut).map(([e]) => e.outerHTML);
                for (const [e, a] of all) for (const [f, b] of all)
                    if (e.tagName === 'text' && e !== f && a.left < b.right - 1 && b.left < a.right - 1
                        && a.top + 4 < b.bottom && b.top + 4 < a.bottom) out.push(e.textContent + ' ' + f.outerHTML);
                return out;
            }"""
        )
        assert overlaps == []
    page.close()


def test_the_table_of_runs_fits_a_desktop_and_scrolls_inside_its_box_on_a_phone(browser: Any, marks: Path) -> None:
    page, _, _ = opened(browser, marks)
    for width, scrolls in ((1280, False), (390, True)):
        page.set_viewport_size({"width": width, "height": 844})
        box = page.locator(".table", has=page.locator(".caption", has_text="Runs")).locator(".scroll")
        assert box.evaluate("(e) => e.scrollWidth > e.clientWidth") is scrolls
        assert box.evaluate("(e) => e.tabIndex === 0") is scrolls
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_values_are_reached_and_announced_by_keyboard(browser: Any, marks: Path) -> None:
    page, errors, _ = opened(browser, marks)
    stops = page.evaluate("[...document.querySelectorAll('*')].filter((each) => each.tabIndex >= 0).length")
    assert page.locator(".dot").count() == 300 > 10 * stops
    tip, said = page.locator("#tip"), page.locator("[role=status]")

    def after(*keys: str) -> str:
        for key in keys:
            page.keyboard.press(key)
        assert tip.is_visible()
        assert tip.inner_text() == said.inner_text()
        return str(said.inner_text())

    page.locator("svg[aria-label='Curves']").focus()
    assert after("ArrowRight") == "first: 0 (epoch 1)"
    assert after("ArrowRight") == "first: 1 (epoch 2)"
    outline = "(e) => [getComputedStyle(e).outlineStyle, getComputedStyle(e).outlineOffset]"
    assert page.locator(":focus").evaluate(outline) == ["solid", "-2px"]  # its box would cut what is outside
    assert after("ArrowUp") == "second: 6 (epoch 2)"
    assert after("ArrowDown") == "first: 1 (epoch 2)"
    assert after("End") == "second: 7 (epoch 3)"
    assert after("Home", "ArrowLeft") == "first: 0 (epoch 1)"
    assert page.locator(".current").count() == 1
    page.keyboard.press("Escape")
    assert not tip.is_visible() and page.locator(".current").count() == 0
    page.keyboard.press("Tab")  # the next chart, not the next value
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Lengths"
    assert after("ArrowRight", "ArrowRight") == "2: 4"
    page.locator("svg[aria-label='Differences']").focus()
    assert after("End") == f"{LONG[-1]}: +3.0 [-1.0, +4.0]"
    page.locator("svg[aria-label='Cloud']").focus()
    assert after("ArrowRight", "PageDown", "End") == SCRIPT
    page.locator(".matrix table").focus()
    assert after("ArrowRight", "ArrowDown", "ArrowRight") == "y as y: 9"
    page.locator("body").press("Tab")
    assert not tip.is_visible() and errors == []
    page.close()


def test_paper_shows_what_is_folded_away_and_no_controls(browser: Any, marks: Path) -> None:
    page = browser.new_page(viewport={"width": 703, "height": 1000}, color_scheme="dark")  # A4 without its margins
    page.goto(marks.as_uri())
    page.emulate_media(media="print")
    folded = page.locator(".table", has=page.locator(".caption", has_text="Folded"))
    assert not page.locator("details").evaluate("(e) => e.open")
    assert folded.locator("tr").last.is_visible()
    for what in ("nav", ".filter", "#tip"):
        assert not page.locator(what).first.is_visible()
    outside = "[...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > 704).length"
    assert page.evaluate(outside) == 0
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light"
    assert page.locator("thead th").first.evaluate("(e) => getComputedStyle(e).position") == "static"
    for what in ("figure.plot", ".matrix", "tr"):
        assert page.locator(what).first.evaluate("(e) => getComputedStyle(e).breakInside") == "avoid"
    page.emulate_media(media="screen")
    page.locator("details").evaluate("(e) => { e.open = true; }")
    folded.get_by_role("searchbox").fill("name1")
    page.emulate_media(media="print")
    assert folded.locator(".filter").is_visible()  # rows are missing, and paper says so
    page.locator("details").evaluate("(e) => { e.open = false; }")
    assert page.pdf(format="A4").startswith(b"%PDF")
    assert not page.locator("details").evaluate("(e) => e.open")  # as it was before
    page.close()


CONTRAST = """() => {
    const context = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const over = (colours) => {
        context.clearRect(0, 0, 1, 1);
        for (const colour of colours) { context.fillStyle = colour; context.fillRect(0, 0, 1, 1); }
        return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const light = (rgb) => rgb.map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
    const found = {};
    for (const each of document.querySelectorAll('body *')) {
        const own = [...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        if (!own || ['SCRIPT', 'STYLE'].includes(each.tagName) || !each.getClientRects().length) continue;
        const grounds = [];
        for (let at = each; at; at = at.parentElement) grounds.unshift(getComputedStyle(at).backgroundColor);
        const style = getComputedStyle(each), ink = each.closest('svg') ? style.fill : style.color;
        const [a, b] = [light(over(grounds)), light(over([...grounds, ink]))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) found[each.tagName + ' ' + each.textContent.slice(0, 20)] = ratio;
    }
    return found;
}"""


def test_texts_have_the_contrast_of_wcag_aa_in_both_schemes(browser: Any, marks: Path) -> None:
    page, _, _ = opened(browser, marks)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(CONTRAST) == {}
    page.close()
