"""Draw the pictures of docs/browse.md: `python -m tools.browse_screenshots DEMO OUT`.

DEMO is a folder that `mmpipe demo --out DEMO` wrote. Debian's Chromium is driven by Playwright.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

__all__ = ["draw"]

_MARKS = """utterance_id,mark,label,note
iemocap/Ses01F_impro01_M000,bad,,two people speak
iemocap/Ses01M_script01_1_F002,,neutral,
"""


def draw(demo: Path, out: Path) -> list[Path]:
    """Write the pictures of a list and of an utterance, at 1280 and at 390 pixels.

    Raises:
        RuntimeError: there is no Chromium here, or the page does not start.
    """
    chromium = shutil.which("chromium")
    if chromium is None:
        raise RuntimeError("there is no Chromium here: apt-get install chromium")
    stores = [demo.resolve() / "features" / name for name in ("iemocap", "ami")]
    balanced = demo.resolve() / "balanced" / "ami.parquet"
    words = [*map(str, stores), "--sample", "--balanced", str(balanced), "--port", "0"]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "marks.csv").write_text(_MARKS)
        command = [sys.executable, "-m", "mmpipe", "browse", *words]
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as server:
            try:
                found = next((m for line in server.stdout or () if (m := re.search(r"http://\S+", line))), None)
                if found is None:
                    raise RuntimeError("the page does not start")
                with sync_playwright() as playwright:
                    browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
                    pictures = [
                        _utterance(browser, found[0], out / "browse-1280.png"),
                        _list(browser, found[0], out / "browse-390.png"),
                    ]
                    browser.close()
                    return pictures
            finally:
                server.terminate()


def _list(browser: Browser, address: str, path: Path) -> Path:
    """The list with a filter, at 390 pixels."""
    page = browser.new_page(viewport={"width": 390, "height": 1100})
    page.goto(f"{address}?label=anger")
    return _saved(page, path)


def _utterance(browser: Browser, address: str, path: Path) -> Path:
    """An utterance with pseudo-labels, its clip a little way in, at 1280 pixels."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{address}?from=ami&pseudo=anger")
    page.click("td.id a")
    page.wait_for_load_state("networkidle")
    page.evaluate("document.querySelector('#player').currentTime = 0.8")
    page.wait_for_timeout(800)
    return _saved(page, path)


def _saved(page: Page, path: Path) -> Path:
    """The tab as a PNG of 256 colours, which takes a third of the bytes."""
    with Image.open(BytesIO(page.screenshot())) as image:
        image.convert("RGB").quantize(256).save(path, optimize=True)
    page.close()
    return path


if __name__ == "__main__":
    for picture in draw(Path(sys.argv[1]), Path(sys.argv[2])):
        print(picture, picture.stat().st_size)
