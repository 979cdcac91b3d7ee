"""The report as Markdown, with its charts and pictures as PNG files beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmpipe.core.files import write_bytes
from mmpipe.core.text import printable
from mmpipe.pipeline.outputs import PAGE_MARK, claim, marked_png
from mmpipe.pipeline.report.blocks import (
    Block,
    Cards,
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
from mmpipe.pipeline.report.png import draw_png

__all__ = ["write_markdown"]

_MARKS = re.compile(r"([\\`*_\[\]|#~])")


def write_markdown(title: str, sections: Sequence[Section], out: Path, *, overwrite: bool = False) -> None:
    """Write the report and its pictures, which are called after it: `report-01.png` and so on.

    Raises:
        UsageError: a picture's place holds something that mmpipe did not write.
    """
    pictures: list[bytes] = []
    lines = [f"<!-- {PAGE_MARK} -->", "", f"# {_text(title)}", ""]
    for section in sections:
        lines += [f"## {_text(section.title)}", "", *_blocks(section.blocks, out, pictures)]
    files = [_picture(out, number) for number in range(1, 1 + len(pictures))]
    for file in files:
        claim(file, "picture", overwrite=overwrite)
    for file, data in zip(files, pictures, strict=True):
        write_bytes(file, marked_png(data))
    write_bytes(out, "\n".join(lines).encode())


def _picture(out: Path, number: int) -> Path:
    return out.with_name(f"{out.stem}-{number:02d}.png")


def _blocks(blocks: Sequence[Block], out: Path, pictures: list[bytes]) -> Iterator[str]:
    for block in blocks:
        match block:
            case Heading():
                yield f"### {_text(block.text)}"
            case Text():
                yield _text(block.text)
            case Cards():
                yield from (f"- **{_text(value)}** {_text(text)}" for value, text in block.cards)
            case Table():
                yield from _table(block)
            case Figure():
                yield _image(draw_png(block.chart), block.caption, out, pictures)
            case Grid():
                yield from _blocks(block.figures, out, pictures)
                continue
            case Sheet():
                for strip in block.strips:
                    yield from _strip(strip, out, pictures)
                    yield ""
            case Details():
                yield from (f"**{_text(block.summary)}**", "")
                yield from _blocks(block.blocks, out, pictures)
                continue
        yield ""


def _image(data: bytes, text: str, out: Path, pictures: list[bytes]) -> str:
    pictures.append(data)
    name = _picture(out, len(pictures)).name.replace(" ", "%20").replace("(", "%28").replace(")", "%29")
    return f"![{_text(text)}]({name})"


def _strip(strip: Strip, out: Path, pictures: list[bytes]) -> Iterator[str]:
    if strip.frame is not None:
        yield _image(strip.frame, f"frame of {strip.name}", out, pictures)
        yield ""
    yield _image(strip.image, f"crops of {strip.name}", out, pictures)
    yield ""
    said = f" “{_text(strip.said)}”" if strip.said else ""
    yield f"{_text(strip.text)}{said} {_text(strip.name)}, {_text(strip.note)}{strip.without}".strip()


def _table(table: Table) -> Iterator[str]:
    if table.caption:
        yield from (_text(table.caption), "")
    yield f"| {' | '.join(map(_text, table.columns))} |"
    yield f"| {' | '.join('---:' if table.is_number(n) else '---' for n in range(len(table.columns)))} |"
    for row in table.rows:
        yield f"| {' | '.join(_text(cell.text) for cell in row)} |"


def _text(text: str) -> str:
    r"""A text of data as one line of Markdown that shows it and nothing else.

    Example:
        >>> _text("<b> a|b")
        '&lt;b&gt; a\\|b'
    """
    plain = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKS.sub(r"\\\1", plain)
