"""The transcript beside a clip: of the same name, or of the same name and a language (`talk.en.vtt`)."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path, PurePosixPath

from mmpipe.manifests.contract import Prepared
from mmpipe.manifests.formats.transcripts import TRANSCRIPT_ENDINGS
from mmpipe.manifests.io import is_file, lies_inside

__all__ = ["Transcripts"]

_LANGUAGE = re.compile(r"(?P<stem>.+)\.(?P<language>[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{1,8})*)", re.ASCII)


class Transcripts:
    """Finds transcripts; each folder is listed once.

    Args:
        root: the corpus root.
        prepared: takes the problems.
        follow_links: accept transcripts that are links out of the root.

    Attributes:
        given: the transcripts that belong to a clip, those in other languages included.
    """

    def __init__(self, root: Path, prepared: Prepared, *, follow_links: bool = False) -> None:
        self.given: set[Path] = set()
        self._root, self._prepared, self._follow_links = root, prepared, follow_links
        self._real_root = root.resolve()
        self._folders: dict[str, dict[str, list[Path]]] = {}

    def beside(self, uri: str) -> Path | None:
        """The transcript of a media file, relative to the root; None where there is none.

        One without a language comes first, then English, then the first language by name. Of several endings the first
        of `TRANSCRIPT_ENDINGS` counts.
        """
        clip = PurePosixPath(uri)
        names = self._listed(clip.parent.as_posix())
        plain = names.get(clip.stem, [])
        by_language = [path for path in names.get(f"{clip.stem}.", []) if path not in plain]
        usable = [path for path in (*plain, *by_language) if self._is_inside(path)]
        self.given.update(usable)
        if not usable:
            return None
        languages = sorted({path.name[len(clip.stem) + 1 :].partition(".")[0] for path in by_language})
        if usable[0] not in plain and len(languages) > 1:
            message = f"transcripts in {', '.join(languages)}: {usable[0].name} is used"
            self._prepared.problem("several_transcripts", uri, message)
        return usable[0]

    def _listed(self, folder: str) -> dict[str, list[Path]]:
        """Transcripts of a folder by name, best first; under `name.` those of a language."""
        if folder in self._folders:
            return self._folders[folder]
        ranks = {ending.lower(): rank for rank, ending in enumerate(TRANSCRIPT_ENDINGS)}
        found: dict[str, list[tuple[tuple[bool, str, int, str], Path]]] = defaultdict(list)
        path = self._root / folder
        try:
            files = sorted(path.iterdir())
        except OSError:  # no folder, or a name that is too long to exist
            files = []
        for file in files:
            stem, ending, name = file.stem, file.suffix.lower(), file.name
            if ending not in ranks or name.startswith("."):
                continue
            rank = ranks[ending]
            found[stem].append(((False, "", rank, name), file))
            if match := _LANGUAGE.fullmatch(stem):
                language = match["language"].casefold()
                is_foreign = not re.match(r"en(g|-|_|$)", language)
                found[f"{match['stem']}."].append(((is_foreign, language, rank, name), file))
        self._folders[folder] = {stem: [file for _, file in sorted(ranked)] for stem, ranked in found.items()}
        return self._folders[folder]

    def _is_inside(self, path: Path) -> bool:
        return is_file(path) and (self._follow_links or lies_inside(path, self._real_root))
