"""Charts of the report: names, colours and values of every kind are drawn so that they can be read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import pytest

from mmpipe.pipeline.report.blocks import (
    Block,
    Cards,
    Cell,
    Details,
    Figure,
    Grid,
    Heading,
    Section,
    Sheet,
    Strip,
    Table,
    Text,
)
from mmpipe.pipeline.report.charts import Bars, Chart, Histogram, Intervals, Lines, Points, Series, Speech, Spoken
from mmpipe.pipeline.report.fitting import fitted, text_width
from mmpipe.pipeline.report.html import to_html
from mmpipe.pipeline.report.png import draw_png
from mmpipe.pipeline.report.svg import draw_svg


def seen_without(cones: str, colours: Sequence[str]) -> np.ndarray[Any, Any]:
    """Lab [N, 3] of colours as those see them who lack a kind of cones (Machado, Oliveira and Fernandes 2009)."""
    matrices = {
        "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        "none": np.eye(3).tolist(),
    }
    seen = np.clip(linear(colours) @ np.array(matrices[cones]).T, 0, 1)
    srgb = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
    return np.asarray(cv2.cvtColor(srgb[None].astype(np.float32), cv2.COLOR_RGB2Lab)[0])


def linear(colours: Sequence[str]) -> np.ndarray[Any, Any]:
    values = np.array([[int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)] for colour in colours])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize(("scheme", "ground"), [("light", "#ffffff"), ("dark", "#14181e")])
def test_colours_of_series_are_told_apart_without_red_or_green_cones(scheme: str, ground: str) -> None:
    html = to_html("t", [])
    assert f"--ground: {ground}" in html or f"--ground: {ground[:4]};" in html
    rules = re.findall(r"--c0: (.*?); --c8", html)
    colours = [part.split()[-1] for part in f"--c0: {rules[scheme == 'dark']}".split(";")]
    assert len(set(colours)) == 8
    light, dark = linear(colours) @ (0.2126, 0.7152, 0.0722), linear([ground])[0] @ (0.2126, 0.7152, 0.0722)
    assert ((np.maximum(light, dark) + 0.05) / (np.minimum(light, dark) + 0.05)).min() >= 3
    for cones in ("none", "protan", "deutan"):
        lab = seen_without(cones, colours)
        apart = np.linalg.norm(lab[:, None] - lab[None], axis=2)[np.triu_indices(8, 1)]
        assert apart.min() >= 10, cones  # 2 is the least that is seen side by side


def test_shortened_names_stay_different() -> None:
    names = ["a" * 30 + middle + "b" * 30 for middle in "xyz"] + ["short", "a" * 30 + "x" + "b" * 30]
    shown = fitted(names, 100)
    assert shown[0] == shown[-1] and len(set(shown)) == 4 and shown[3] == "short"
    assert all(text_width(name) <= 100 and "\u2026" in name for name in shown[:3])


@pytest.mark.parametrize("value", [float("nan"), -1e308])
def test_charts_are_drawn_whatever_their_values(value: float) -> None:
    wild = [Series("a", [1.0, value], [1, 2], [0.5, value], [2.0, value])]
    outside = Series("paper", [1.0, 3.0], [1, 2], [2.0, 2.0], [2.5, 2.5])  # a mean beside its interval
    many = [Series(f"s{number}", [1.0, 2.0], [1, 2]) for number in range(8)]
    charts: list[Chart] = [
        Lines("l", [*wild, *many], "x"),
        Bars("b", ["x", "y"], [*wild, outside, *many], "v"),
        Intervals("i", ["x", "y"], [1.0, value], [2.0, value], [3.0, value], "v"),
        Points("p", [1.0, value], [value, 1.0], ["x", "y"], {"label": ["x", "y"]}, "a", "b"),
    ]
    for chart in charts:
        drawn = str(draw_svg(chart))
        assert not re.search(r"nan|inf|\d{30}", drawn)
        assert len(set(re.findall(r'class="\w+ (c\d+)"', drawn))) <= 8
        image = cv2.imdecode(np.frombuffer(draw_png(chart), np.uint8), cv2.IMREAD_COLOR)
        assert image is not None


def test_every_kind_of_block_shows_texts_of_data_as_text() -> None:
    bad = "<script>\"'&</script>"
    words = (Spoken(bad, 0.0, 0.5),)
    speech = Speech(bad, 1.0, [-1.0, 0.0], [1.0, 0.0], np.zeros((4, 4), np.uint8), 8000.0, words)
    charts: list[Chart] = [
        Bars(bad, [bad], [Series(bad, [1.0], tips=[bad]), Series(bad, [1.0])], bad),
        Lines(bad, [Series(bad, [1.0], [1.0]), Series(bad, [2.0], [1.0])], bad, bad),
        Intervals(bad, [bad], [1.0], [0.0], [2.0], bad),
        Histogram(bad, [1], [0.0, 1.0], bad, bad, (0.5, bad)),
        Points(bad, [1.0], [1.0], [bad], {bad: [bad], "other": [bad]}, bad, bad),
        speech,
    ]
    strip = Strip(bad, bad, bad, bad, b"", [True])
    table = Table((bad, "n"), [[Cell(bad, tip=bad), Cell(f"1 [{bad}]", 1.0)] for _ in range(9)], bad)
    matrix = Table(("", bad), [[Cell(bad), Cell(bad, 1.0, 0.5, bad)]], bad, matrix=True)
    blocks: list[Block] = [
        Heading(bad), Text(bad), Cards([(bad, bad)]), Details(bad, [table, matrix]), Sheet([strip]),
        Grid([Figure(chart, bad) for chart in charts]),
    ]  # fmt: skip
    html = to_html(bad, [Section("one", bad, blocks)])
    assert html.count("<script") == html.count("</script") == 1  # the page's own
    assert not re.search(r"\"'&(?!\w+;|#)", html)


def test_a_legend_has_the_colours_of_its_lines() -> None:
    lines = Lines("l", [Series(f"s{number}", [1.0, 2.0], [1, 2]) for number in range(12)], "x")
    html = to_html("t", [Section("one", "One", [Figure(lines, "Lines")])])
    drawn = re.findall(r'class="line (c\d)"', html)
    assert len(drawn) == 12 and re.findall(r'<li class="(c\d+)">', html) == drawn
