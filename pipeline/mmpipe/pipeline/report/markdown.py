"""The report as Markdown with its charts and pictures as PNG files beside it, or these files alone in a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from mmpipe.core.errors import UsageError
from mmpipe.core.files import write_bytes
from mmpipe.core.scratch import scratch_beside
from mmpipe.core.text import printable
from mmpipe.pipeline.outputs import PAGE_MARK, claim, is_own, marked_png, move_into_place
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
    slug,
)
from mmpipe.pipeline.report.png import draw_matrix, draw_png

__all__ = ["write_markdown", "write_pictures"]

_MARKS = re.compile(r"([\\`*_\[\]|#~])")


def write_markdown(title: str, sections: Sequence[Section], out: Path, *, overwrite: bool = False) -> None:
    """Write the report and its pictures, which are called after it: `report-01.png` and so on.

    Pictures of an earlier report of that name that the new one has no more are removed.

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
    gone = [file for file in _pictures_of(out) if file not in files]
    for file, data in zip(files, pictures, strict=True):
        write_bytes(file, marked_png(data))
    write_bytes(out, "\n".join(lines).encode("utf-8", "backslashreplace"))
    for file in gone:
        file.unlink()


def write_pictures(sections: Sequence[Section], out: Path, *, overwrite: bool = False) -> None:
    """Write the charts and pictures alone into a folder; an earlier folder of them is replaced as a whole.

    Files are numbered in the order of the report and called after its sections and what they show:
    `01-manifest-utterances-of-ami-by-session.png`.

    Raises:
        UsageError: `out` holds something else, or there is no picture.
    """
    with scratch_beside(out) as part:
        claim(out, "folder of pictures", overwrite=overwrite)
        part.mkdir()
        pictures = [(section, *one) for section in sections for one in _section_pictures(section.blocks)]
        if not pictures:
            raise UsageError("the report has no chart or picture: name another store or run, or leave out --format png")
        for number, (section, label, data) in enumerate(pictures, 1):
            name = f"{number:02d}-{section.id}-{slug(label)}".rstrip("-")
            (part / f"{name}.png").write_bytes(marked_png(data))
        move_into_place(part, out)


def _section_pictures(blocks: Sequence[Block]) -> Iterator[tuple[str, bytes]]:
    """What each picture shows, and its PNG."""
    for block in blocks:
        match block:
            case Figure():
                yield block.chart.label, draw_png(block.chart)
            case Grid():
                yield from _section_pictures(block.figures)
            case Details():
                yield from _section_pictures(block.blocks)
            case Table() if block.matrix:
                yield block.caption, draw_matrix(block)
            case Sheet():
                for strip in block.strips:
                    yield from _strip_pictures(strip)


def _strip_pictures(strip: Strip) -> Iterator[tuple[str, bytes]]:
    if strip.frame is not None:
        yield f"frame of {strip.name}", strip.frame
    yield f"crops of {strip.name}", strip.image


def _pictures_of(out: Path) -> list[Path]:
    """The pictures that an earlier report shows, as far as mmpipe wrote them."""
    if not (out.is_file() and is_own(out, "report")):
        return []
    text = out.read_text("utf-8", "replace")
    numbers = re.findall(rf"\]\({re.escape(_linked(out.stem))}-(\d+)\.png\)", text)
    return [file for number in sorted({*map(int, numbers)}) if is_own(file := _picture(out, number), "picture")]


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
    return f"![{_text(text)}]({_linked(_picture(out, len(pictures)).name)})"


def _linked(name: str) -> str:
    """The name of a file as the target of a link."""
    return quote(os.fsencode(name), safe="")


def _strip(strip: Strip, out: Path, pictures: list[bytes]) -> Iterator[str]:
    for label, data in _strip_pictures(strip):
        yield from (_image(data, label, out, pictures), "")
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
