"""What can go wrong, as one tree.

    MmpipeError
    ├── UsageError              a wrong option, name or configuration (exit code 2)
    ├── CorpusError             a corpus folder that does not look like the corpus
    ├── ManifestError           a manifest that breaks its schema or its rules
    ├── StoreError              a feature store that cannot be read, planned or joined
    ├── StorageError            a file that cannot be written: full disk, quota, no permission
    ├── WeightsError            weights that are missing, altered or of another shape
    ├── TrainingError           data that cannot be trained on
    └── Rejected                one utterance's row cannot be made (status + message)

The tree sits in the lowest package because imports point one way: manifests <- extractors <- pipeline.
"""

from __future__ import annotations

__all__ = [
    "FAILURES",
    "STATUSES",
    "CorpusError",
    "ManifestError",
    "MmpipeError",
    "Rejected",
    "StorageError",
    "StoreError",
    "TrainingError",
    "UsageError",
    "WeightsError",
]

STATUSES: dict[str, str] = {
    "ok": "the row holds its features",
    "no_audio": "the utterance has no audio, or its file has no audio stream",
    "no_video": "the utterance has no video, or its file has no video stream",
    "no_face": "no face was found in any sampled frame",
    "no_text": "the transcript is empty",
    "too_short": "the span is too short for the extractor",
    "media_missing": "the media file does not exist",
    "media_error": "the media file cannot be read or decoded",
    "extractor_error": "the extractor raised an error on this utterance",
    "worker_crashed": "the process that worked on this utterance alone died, twice",
}
"""Every status a row can carry, and what it means."""

FAILURES = ("media_missing", "media_error", "extractor_error", "worker_crashed")
"""The statuses that say that something is broken (an utterance without a face or a transcript is not)."""


class MmpipeError(Exception):
    """Base of every error that mmpipe raises on purpose; its text is meant for users."""


class UsageError(MmpipeError):
    """A wrong option, name or configuration: the command exits with 2."""


class CorpusError(MmpipeError):
    """The corpus folder does not look like the corpus."""


class ManifestError(MmpipeError):
    """A manifest breaks its schema or its rules."""


class StoreError(MmpipeError):
    """A feature store cannot be read, planned or joined."""


class StorageError(MmpipeError):
    """A file cannot be written: the disk is full, a quota is used up, or permission is missing."""


class WeightsError(MmpipeError):
    """Weights are missing, altered or of another shape."""


class TrainingError(MmpipeError):
    """The data cannot be trained on as asked."""


class Rejected(MmpipeError):  # noqa: N818 - it ends no run
    """One utterance cannot be processed: its row gets `status` and this message, the run goes on.

    Args:
        status: one of `STATUSES` other than `ok`.
        message: what happened, to which file, and the remedy where there is one.

    Example:
        >>> Rejected("no_audio", "clip.mp4 has no audio stream").status
        'no_audio'
    """

    def __init__(self, status: str, message: str) -> None:
        if status == "ok" or status not in STATUSES:
            raise ValueError(f"status must be one of {', '.join(s for s in STATUSES if s != 'ok')}; got {status!r}")
        super().__init__(status, message)
        self.status = status
        self.message = message

    def __str__(self) -> str:
        return self.message
