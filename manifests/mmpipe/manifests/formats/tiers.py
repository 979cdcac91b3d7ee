"""TextGrids as transcripts: which tiers hold words, cues and speakers, and which intervals are not words.

A tier of words is named `words`, `word` or `ORT-MAU`, with the speaker before or after it: `Ann - words`,
`speaker1_words`, `words (Ann)`. Tiers of phones and syllables are not read. Of the other tiers, those with a name that
means speech (`speech`, `utterances`, `Ann - sentences`) hold the cues. Where no tier has such a name, a single tier
holds the cues, and several tiers are one speaker each, beside those whose name means another annotation (`emotion`,
`notes`). A tier that is not read, phones and syllables aside, is reported.

Aligners write marks where nobody says a word. These are not words:

    (nothing but punctuation)          empty, `#`, `_`, `--`, `...`
    sp sil spn nsn pau ssil usb h#     silence and noise, alone in an interval (Kaldi, MFA, HTK, TIMIT)
    <eps> <sil> <s> <p:> <usb> <nib>   anything in <>: silence, and <unk>, a word that the aligner does not know
    {LG} {NS} {SL} {BR} {CG} {LS}      anything in {}: laughter, noise, breath, cough (P2FA)
    [noise] [laughter] [bracketed]     anything in [] (MFA, Switchboard)
    ++LAUGH++                          anything in ++ (Sphinx)
    !SIL !PAU !NULL !ENTER !EXIT       HTK, as !SENT_START and !SENT_END; another text after ! is a word

Words in parentheses, `(uh)`, stay: they are words of which the transcriber was not sure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from mmpipe.core.text import clean
from mmpipe.manifests.contract import Prepared
from mmpipe.manifests.formats.spoken import Cue, TimedWord, Transcript
from mmpipe.manifests.formats.textgrid import Interval, TextGridError, parse_textgrid

__all__ = ["is_mark", "read_tiers", "tier_kind"]

_BARE = frozenset(["sp", "sil", "spn", "nsn", "pau", "ssil", "usb", "h#", "epi"])
_WHOLE = re.compile(
    r"<[^<>]*>|\{[^{}]*\}|\[[^\[\]]*\]|\+\+.*\+\+|!(?i:sil|pau|null|enter|exit|sent_start|sent_end)", re.ASCII
)
_INSIDE = re.compile(r"<[A-Za-z:/]{1,12}>|\{[A-Z]{1,8}\}", re.ASCII)

_LONGEST_NAME = 200
"""Longer names of tiers are not searched for kinds and speakers."""

_WORDS = r"words?|ort-mau|word\s*alignment"
_SOUNDS = r"phones?|phonemes?|segments?|segs?|syllables?|sylls?|mau|mas|kan|kas|kan-mau|kas-mau|sampa|ipa"
_SPEECH = (
    r"speech|utterances?|utts?|sentences?|phrases?|turns?|text|transcripts?|transcriptions?|orthography|ort|trn|ipus?"
)
_OTHER = (
    r"emotions?|labels?|notes?|comments?|noises?|events?|gestures?|gaze|laughs?|laughter|pauses?|silences?|pitch|f0|"
    r"tones?|breaks?|accents?|pos|gloss(?:es)?|translations?|misc|tags?|sentiments?|arousal|valence|activation|dominance|"
    r"topics?|vad|bells?|markers?|sections?|background|music"
)
_KINDS = {
    kind: re.compile(
        rf"(?:(?P<before>.+?)[\s_.:/|-]+)?(?:{names})(?:\s*[\s_.:/|-]\s*(?P<after>[^()]+)|\s*\((?P<within>.+)\))?",
        re.IGNORECASE,
    )
    for kind, names in (("words", _WORDS), ("sounds", _SOUNDS), ("speech", _SPEECH))
}
_OTHER_NAME = re.compile(rf"(?:.+?[\s_.:/|-]+)?(?:{_OTHER})", re.IGNORECASE)


def is_mark(text: str) -> bool:
    """Whether the text of an interval is an aligner's mark and not a word.

    Example:
        >>> [text for text in ("sp", "<eps>", "{LG}", "[noise]", "...", "so", "(uh)", "A") if not is_mark(text)]
        ['so', '(uh)', 'A']
    """
    if text[0].isalpha() and len(text) > 4:
        return False
    return text.casefold() in _BARE or _WHOLE.fullmatch(text) is not None or not any(c.isalnum() for c in text)


def tier_kind(name: str) -> tuple[str, str | None]:
    """Kind of a tier (`words`, `sounds`, `speech`, `annotation`, `named`) and the speaker that its name holds.

    Example:
        >>> tier_kind("Ann - words"), tier_kind("speaker1_words"), tier_kind("utterances"), tier_kind("Bob")
        (('words', 'Ann'), ('words', 'speaker1'), ('speech', None), ('named', 'Bob'))
    """
    if len(name) > _LONGEST_NAME:
        return "named", name
    for kind, pattern in _KINDS.items():
        if match := pattern.fullmatch(name):
            return kind, match["before"] or match["after"] or match["within"]
    return ("annotation", None) if _OTHER_NAME.fullmatch(name) else ("named", name)


def read_tiers(where: str, text: str, prepared: Prepared, tier: str | None) -> Transcript:
    """The cues and words of a TextGrid.

    Args:
        where: the file, for problems.
        text: its content.
        prepared: takes the problems.
        tier: the tier of the cues; by default by the names of the tiers.
    """
    try:
        tiers = parse_textgrid(text)
    except TextGridError as error:
        prepared.problem("file_damaged", f"{where}:{error.line}", f"{error}: the clip has no transcript")
        return Transcript("")
    if tier is not None and tier not in tiers:
        names = ", ".join(tiers)[:200]
        prepared.problem("no_transcript", where, f"there is no interval tier {tier!r}; tiers: {names}")
        return Transcript("")
    kinds = {name: tier_kind(name) for name in tiers}
    if tier is None:
        speakers = _cue_tiers(where, kinds, prepared)
    else:
        speakers = {tier: kinds[tier][1] if kinds[tier][0] == "speech" else None}
    cues: list[Cue] = []
    for name, speaker in speakers.items():
        for said, start, end in _intervals(where, tiers[name], prepared):
            cues.append(Cue(start, end, said, speaker))
    words = [
        TimedWord(said, start, end, speaker)
        for name, (kind, speaker) in kinds.items()
        if kind == "words" and name != tier
        for said, start, end in _intervals(where, tiers[name], prepared)
        if end > start
    ]
    good = [cue for cue in sorted(cues, key=lambda cue: cue.start_seconds) if cue.end_seconds > cue.start_seconds]
    spoken = sorted(words, key=lambda word: (word.start_seconds, word.end_seconds))
    if not speakers and len({word.speaker for word in spoken}) > 1:
        good = _whole_cues(spoken)
    return Transcript(" ".join(item.text for item in good or spoken), tuple(good), tuple(spoken))


def _cue_tiers(where: str, kinds: Mapping[str, tuple[str, str | None]], prepared: Prepared) -> dict[str, str | None]:
    """The tiers that hold cues, with their speakers."""
    speech = {name: speaker for name, (kind, speaker) in kinds.items() if kind == "speech"}
    named = [name for name, (kind, _) in kinds.items() if kind == "named"]
    others = [name for name, (kind, _) in kinds.items() if kind == "annotation"]
    has_words = any(kind == "words" for kind, _ in kinds.values())
    chosen: dict[str, str | None]
    if speech:
        chosen, skipped = speech, [*named, *others]
    elif len(named) > 1:
        chosen, skipped = {name: name or None for name in named}, others
    elif named:
        known = {speaker for kind, speaker in kinds.values() if kind == "words"}
        chosen, skipped = {named[0]: named[0] if named[0] in known else None}, others
    elif others and not has_words:
        chosen, skipped = {others[0]: None}, others[1:]
    else:
        chosen, skipped = {}, others
    if skipped:
        message = f"tiers that are not read: {', '.join(skipped)[:200]} (choose the tier of the cues by tier=NAME)"
        prepared.problem("skipped_tier", where, message)
    return chosen


def _whole_cues(words: Sequence[TimedWord]) -> list[Cue]:
    """One cue a speaker, from the first word to the last, where words alone name several speakers."""
    by_speaker: dict[str | None, list[TimedWord]] = {}
    for word in words:
        by_speaker.setdefault(word.speaker, []).append(word)
    return [
        Cue(
            said[0].start_seconds,
            max(word.end_seconds for word in said),
            " ".join(word.text for word in said),
            speaker,
        )
        for speaker, said in by_speaker.items()
    ]


def _intervals(where: str, intervals: Sequence[Interval], prepared: Prepared) -> Iterator[tuple[str, float, float]]:
    """Text and times where something is said; intervals with wrong times are reported and have no length."""
    for interval in intervals:
        spoken = clean(interval.text)
        if not spoken or is_mark(spoken):
            continue
        if "<" in spoken or "{" in spoken:
            spoken = clean(_INSIDE.sub(" ", spoken))
        start, end = interval.start_seconds, interval.end_seconds
        if start is None or end is None:
            message = f"{spoken[:40]!r} has no times of 0 or more: left out"
            prepared.problem("malformed_line", f"{where}:{interval.line}", message)
            start = end = 0.0
        elif end <= start:
            message = f"{spoken[:40]!r} runs from {start} to {end} s: left out"
            prepared.problem("times_backwards", f"{where}:{interval.line}", message)
        yield spoken, start, end
