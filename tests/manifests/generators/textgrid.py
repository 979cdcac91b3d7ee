"""TextGrids for tests."""

from __future__ import annotations


def grid(tiers: dict[str, list[tuple[float, float, str]]]) -> str:
    """A TextGrid in the long form, as Praat writes it."""
    end = max(interval[1] for intervals in tiers.values() for interval in intervals)
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {end}",
        "tiers? <exists>",
    ]
    lines += [f"size = {len(tiers)}", "item []:"]
    for number, (name, intervals) in enumerate(tiers.items(), 1):
        lines += [
            f"    item [{number}]:",
            '        class = "IntervalTier"',
            f'        name = "{name}"',
            "        xmin = 0",
        ]
        lines += [f"        xmax = {end}", f"        intervals: size = {len(intervals)}"]
        for place, (start, stop, text) in enumerate(intervals, 1):
            lines += [f"        intervals [{place}]:", f"            xmin = {start}", f"            xmax = {stop}"]
            lines.append(f'            text = "{text}"')
    return "\n".join(lines) + "\n"
