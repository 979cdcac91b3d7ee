"""AMI's manual annotations 1.6.2, as many as there are: 171 meetings, 687 words files, 1,147,783 `w` elements.

The numbers are those of the release, counted with grep: 682 speakers in meetings.xml (so five words files belong to
nobody), three of them on no close-up, 352 that do not follow A = channel 0 = Closeup1, four words without times.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

MEETINGS = 171
WORDS_FILES = 687
ELEMENTS = 1_147_783
NOT_POSITIONAL = 352
WITHOUT_TIMES = 4
FIVE_SPEAKERS = ("EN2001a", "EN2001d", "EN2001e")
THREE_SPEAKERS = ("EN2002a", "EN2003a", "EN2004a", "EN2005a", "EN2006a")

SAID = (
    "yeah okay the I you and so it's that we um to a of is have but like mm-hmm what think just know with uh design "
    "remote control button caf\xe9 can't they've project really something people because should could maybe market"
)
VOCABULARY = SAID.split()
ROLES = ("PM", "ID", "UI", "ME")


@dataclass
class Written:
    """What was written.

    Attributes:
        words: words with times that are not punctuation, by meeting and agent.
        speakers: channel and camera (or None), by meeting and agent, of those that meetings.xml has.
        seconds: length by meeting.
    """

    words: dict[tuple[str, str], int] = field(default_factory=dict)
    speakers: dict[tuple[str, str], tuple[str, str | None]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def meeting_names(number: int) -> list[str]:
    """Names in the manner of the release, EN2001a first."""
    hubs = [f"EN2001{part}" for part in "abde"] + [f"EN20{n:02d}a" for n in range(2, 29)]
    scenario = [f"{hub}{first + n}" for hub, first, size in (("ES", 2002, 15), ("IS", 1000, 10), ("TS", 3003, 10))
                for n in range(size)]  # fmt: skip
    return [*hubs, *(f"{name}{part}" for name in scenario for part in "abcd")][:number]


def write_ami(root: Path, *, meetings: int = MEETINGS, elements: int = ELEMENTS, seed: int = 0) -> Written:
    """Write `words/` and `corpusResources/meetings.xml`, with `elements` `w` elements in all."""
    rng = random.Random(seed)
    written = Written()
    (root / "words").mkdir(parents=True)
    (root / "corpusResources").mkdir()
    names = meeting_names(meetings)
    cast = {name: "ABCDE"[: 5 if name in FIVE_SPEAKERS else 3 if name in THREE_SPEAKERS else 4] for name in names}
    nobody = [(name, "F") for name in names[-5:]]
    files = [(name, agent) for name in names for agent in cast[name]] + nobody
    _write_meetings(root, names, cast, written, rng)
    shares = [elements // len(files) + (place < elements % len(files)) for place in range(len(files))]
    for place, ((name, agent), share) in enumerate(zip(files, shares, strict=True)):
        without = place % (len(files) // WITHOUT_TIMES + 1) == 7
        count = _write_words(root, name, agent, share, written.seconds[name], without, rng)
        written.words[name, agent] = count
    return written


def _write_meetings(root: Path, names: list[str], cast: dict[str, str], written: Written, rng: random.Random) -> None:
    lines = [
        '<?xml version="1.0" encoding="ISO-8859-1" standalone="yes"?>',
        '<nite:root nite:id="meet.00" xmlns:nite="http://nite.sourceforge.net/">',
    ]
    speakers = sum(map(len, cast.values()))
    moved = 0
    for number, name in enumerate(names):
        seconds = round(rng.uniform(1500, 3600), 3)
        written.seconds[name] = seconds
        lines.append(
            f'   <meeting nite:id="meet_{number}" type="scenario" observation="{name}" name="AMI hub meeting" '
            f'dateOnly="08-02-2005" topic="Steve&#39;s group &amp; others" duration="{seconds}" visibility="seen">'
        )
        agents = list(cast[name])
        places = list(range(len(agents)))
        # As many speakers as in the release are not where their letter says.
        if len(agents) > 1 and moved < NOT_POSITIONAL * speakers // 682:
            places = places[1:] + places[:1]
            moved += len(agents)
        for agent, place in zip(agents, places, strict=True):
            camera = None if place == 4 else f"Closeup{place + 1}"
            written.speakers[name, agent] = (str(place), camera)
            shown = f' camera="{camera}"' if camera else ""
            lines.append(
                f'      <speaker nite:id="{name}_{place}" channel="{place}" nxt_agent="{agent}"{shown} '
                f'global_name="{"MF"[place % 2]}EE{number // 4:02d}{place}" role="{ROLES[place % 4]}"/>'
            )
        if len(agents) == 5:
            lines.append("      <!-- one is not on a closeup camera -->")
        lines.append("   </meeting>")
    lines.append("</nite:root>")
    (root / "corpusResources" / "meetings.xml").write_text("\n".join(lines) + "\n", encoding="iso-8859-1")


def _write_words(
    root: Path, meeting: str, agent: str, elements: int, seconds: float, without: bool, rng: random.Random
) -> int:
    """Write a words file with `elements` `w` elements and return how many are words with times."""
    name = f"{meeting}.{agent}.words"
    lines = [
        '<?xml version="1.0" encoding="ISO-8859-1" standalone="yes"?>',
        f'<nite:root nite:id="{name}" xmlns:nite="http://nite.sourceforge.net/">',
    ]
    clock, words, number, left = 2.0, 0, 0, elements
    pace = min(1.0, (seconds - 20) / max(elements, 1))
    while left:
        said = min(left, rng.randint(1, 14))
        for place in range(said):
            if place == said - 1 and said > 1:
                lines.append(
                    f'   <w nite:id="{name}{number}" starttime="{clock:.2f}" endtime="{clock:.2f}" punc="true">.</w>'
                )
            elif without and words == 9:
                lines.append(f'   <w nite:id="{name}{number}">oh</w>')
                without = False
            else:
                end = round(clock + rng.uniform(0.08, 0.16) * 5 * pace, 2)
                cut = ' trunc="true"' if rng.random() < 0.01 else ""
                text = rng.choice(VOCABULARY)
                lines.append(
                    f'   <w nite:id="{name}{number}" starttime="{clock:.2f}" endtime="{end:.2f}"{cut}>{text}</w>'
                )
                clock, words = end, words + 1
            number += 1
        left -= said
        kind = rng.random()
        if kind < 0.2:
            odd = ("disfmarker", "gap", "vocalsound", "transformerror")[number % 4]
            sound = ' type="laugh"' if odd == "vocalsound" else ""
            lines.append(f'   <{odd} nite:id="{name}{number}" starttime="{clock:.2f}" endtime="{clock:.2f}"{sound}/>')
            number += 1
        clock = round(clock + rng.uniform(0.0, 0.7) * said * pace, 2)
    lines.append("</nite:root>")
    (root / "words" / f"{name}.xml").write_text("\n".join(lines) + "\n", encoding="iso-8859-1")
    return words
