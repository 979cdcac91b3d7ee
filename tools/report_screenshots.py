"""Pictures of a report for the docs: `python -m tools.report_screenshots mmpipe-demo/report.html docs`.

Shows parts of the page at 1280 and 390 pixels, one below the other, in Debian's Chromium (`apt-get install chromium`),
and writes report-1280.png and report-390.png.
"""

from __future__ import annotations

import argparse
import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

_PARTS = {
    1280: {"summary": 255, "extraction": 655, "features": 570, "balancing": 450, "training": 655},
    390: {"summary": 450, "features": 632, "balancing": 845},
}
"""By width of the page, its sections and how many pixels of each are shown."""

_COLOURS = 256
"""Of the palette of a picture, which keeps it small."""


def shoot(browser: Any, report: Path, width: int) -> Image.Image:
    """The parts of a page of this width, one below the other."""
    parts = _PARTS[width]
    page = browser.new_page(viewport={"width": width, "height": max(parts.values())}, color_scheme="light")
    page.goto(report.absolute().as_uri())
    shots = []
    for name, height in parts.items():
        page.evaluate("name => scrollTo(0, document.getElementById(name).offsetTop - 14)", name)
        if name == "summary":
            page.evaluate("scrollTo(0, 0)")
        else:
            page.add_style_tag(content="nav { display: none !important }")
        data = page.screenshot(clip={"x": 0, "y": 0, "width": width, "height": height})
        shots.append(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
    page.close()
    whole = Image.fromarray(np.concatenate(shots))
    return whole.quantize(_COLOURS, Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE)


def main() -> None:
    """Write both pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("out", type=Path, help="folder of the pictures")
    arguments = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for width in _PARTS:
            shoot(browser, arguments.report, width).save(arguments.out / f"report-{width}.png", optimize=True)
        browser.close()


if __name__ == "__main__":
    main()
