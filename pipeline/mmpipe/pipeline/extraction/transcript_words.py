"""The words that a text stage reads: the transcript, aligned to the words with times where they cover it.

A transcript has case and punctuation (`Excuse me.`); the words of a forced alignment often have neither (`EXCUSE ME`).
Both say the same if their letters and digits are the same, whatever the case, the accents' form and the punctuation.
Then the pieces of the transcript belong to the words with times, so that an index of a word means a word of the
manifest. Where words are missing or differ, the transcript's own words are used: nothing of what is said is lost.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Literal

__all__ = ["Source", "aligned", "transcript_words"]

Source = Literal["transcript", "words"]


def transcript_words(text: str | None, words: Sequence[str], source: Source = "transcript") -> list[str]:
    """The words of an utterance.

    Args:
        text: the transcript.
        words: the words with times; empty where there are none.
        source: `transcript` takes the spelling of the transcript, `words` that of the words, if they cover it.

    Returns:
        One text for each word with times where these cover the transcript, else the transcript cut at white space.

    Example:
        >>> transcript_words("Excuse me.", ["EXCUSE", "ME"]), transcript_words("Excuse me.", ["EXCUSE", "ME"], "words")
        (['Excuse', 'me.'], ['EXCUSE', 'ME'])
        >>> transcript_words("he said no", ["said"], "words")
        ['he', 'said', 'no']
    """
    tokens = (text or "").split()
    if not tokens or not words:
        return tokens or list(words)
    spelled = aligned(tokens, words)
    if spelled is None:
        return tokens
    return spelled if source == "transcript" else list(words)


def aligned(tokens: Sequence[str], words: Sequence[str]) -> list[str] | None:
    """The tokens of a transcript that belong to each word; None where the words do not cover the transcript.

    A token belongs to the word that has its first letter, one without letters to the word before it (at the start, to
    the first).

    Example:
        >>> aligned(["--", "Twenty-five", ",", "it's", "gonna"], ["TWENTY", "FIVE", "IT'S", "GON", "NA"])
        ['-- Twenty-five ,', '', "it's", 'gonna', '']
    """
    letters_of_tokens = [_letters(token) for token in tokens]
    letters_of_words = [_letters(word) for word in words]
    if "".join(letters_of_tokens) != "".join(letters_of_words):
        return None
    owner_of_letter = [place for place, letters in enumerate(letters_of_words) for _ in letters]
    spelled: list[list[str]] = [[] for _ in words]
    at, owner = 0, owner_of_letter[0] if owner_of_letter else 0
    for token, letters in zip(tokens, letters_of_tokens, strict=True):
        if letters:
            owner = owner_of_letter[at]
            at += len(letters)
        spelled[owner].append(token)
    return [" ".join(parts) for parts in spelled]


def _letters(text: str) -> str:
    """Letters and digits without case."""
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())
