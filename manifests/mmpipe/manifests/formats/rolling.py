"""Rolling captions, as live and automatic captions are: each cue repeats the lines that are still on show.

A cue of such a file says only what is new in it. Files of other kinds stay as they are, so that a word that is really
said twice stays twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from mmpipe.manifests.formats.captions import Block
from mmpipe.manifests.formats.markup import has_times, read_markup

__all__ = ["without_repeats"]

_TOUCHING_SECONDS = 0.1
"""Cues with a longer pause between them do not carry lines over: the screen was empty."""

_MOMENT_SECONDS = 0.05
"""YouTube's automatic captions show a finished line alone for 0.01 s."""


def without_repeats(blocks: Sequence[Block]) -> list[Block]:
    """The blocks, without the lines that a rolling file repeats; blocks that only repeat are left out."""
    if not blocks:
        return []
    plain = [_plain(block) for block in blocks]
    carried = [0, *(_carried(a, b, x, y) for (a, b), (x, y) in zip(pairwise(blocks), pairwise(plain), strict=True))]
    if not _is_rolling(blocks, plain, carried):
        return list(blocks)
    new = [
        replace(block, lines=tuple(line for line, _ in _said(block)[count:]))
        for block, count in zip(blocks, carried, strict=True)
    ]
    return [block for block, count in zip(new, carried, strict=True) if block.lines or not count]


def _said(block: Block) -> list[tuple[str, str]]:
    """The lines with words, with and without markup."""
    lines = ((line, " ".join(said.text for said in read_markup(line))) for line in block.lines)
    return [(line, text) for line, text in lines if text or "<v" in line]


def _plain(block: Block) -> list[str]:
    return [text for _, text in _said(block)]


def _carried(before: Block, block: Block, old: Sequence[str], new: Sequence[str]) -> int:
    """How many of the first lines were the last ones of the block before; a line with inline times is new."""
    if block.times[0] - before.times[1] > _TOUCHING_SECONDS:
        return 0
    timed = [has_times(line) for line, _ in _said(block)]
    fresh = timed.index(True) if True in timed else len(new)
    return next((n for n in range(min(len(old), len(new), fresh), 0, -1) if list(old[-n:]) == list(new[:n])), 0)


def _is_rolling(blocks: Sequence[Block], plain: Sequence[Sequence[str]], carried: Sequence[int]) -> bool:
    """Whether lines roll: several cues begin with old lines and add new ones, and half of the cues repeat lines.

    One such cue is enough in a file with inline times, or with cues that show old lines for a moment, as automatic
    captions have between two lines. A refrain (cues of one line, equal to the one before) does not roll.
    """
    rolled = sum(0 < count < len(lines) for count, lines in zip(carried, plain, strict=True))
    repeating = sum(count > 0 for count in carried)
    has_inline = any(has_times(line) for block in blocks for line in block.lines)
    has_moment = any(
        count and block.times[1] - block.times[0] <= _MOMENT_SECONDS
        for block, count in zip(blocks, carried, strict=True)
    )
    return rolled >= (1 if has_inline or has_moment else 2) and 2 * repeating >= len(blocks) - 1
