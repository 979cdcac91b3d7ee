"""The exceptions of mmpipe, as one tree.

    MmpipeError
    ├── UsageError              a wrong option, name or configuration (exit code 2)
    ├── CorpusError             a corpus folder that does not look like the corpus
    ├── ManifestError           a manifest that breaks its schema or its rules
    ├── StoreError              a feature store that cannot be read, planned or joined
    ├── StorageError            a file that cannot be written: full disk, quota, no permission
    ├── ResourceError           memory, file handles or storage that a run needs and does not have
    ├── ClusterError            a cluster that cannot be reached, or whose workers cannot do what a run needs
    ├── BusyError               an output that another process is writing
    ├── WeightsError            weights that are missing, altered or of another shape
    ├── TrainingError           data that cannot be trained on
    └── Rejected                one utterance's row cannot be made (status + message)

All packages (core, manifests, extractors, pipeline) raise these errors.
"""

from __future__ import annotations

from mmpipe.core.statuses import STATUSES, Status

__all__ = [
    "BusyError",
    "ClusterError",
    "CorpusError",
    "ManifestError",
    "MmpipeError",
    "Rejected",
    "ResourceError",
    "StorageError",
    "StoreError",
    "TrainingError",
    "UsageError",
    "WeightsError",
]


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


class ResourceError(MmpipeError):
    """Memory, file handles or disk are used up, or a disk or network does not answer: no fault of one utterance."""


class ClusterError(MmpipeError):
    """A cluster cannot be reached, or its workers cannot do what a run needs: they differ from this machine."""


class BusyError(MmpipeError):
    """Another process is writing the output."""


class WeightsError(MmpipeError):
    """Weights are missing, altered or of another shape."""


class TrainingError(MmpipeError):
    """The data cannot be trained on as asked."""


class Rejected(MmpipeError):  # noqa: N818 - it ends no run
    """One utterance cannot be processed: its row gets `status` and this message, and the run continues.

    Args:
        status: one of `mmpipe.core.statuses.STATUSES` other than `ok`.
        message: what happened, to which file, and the remedy where there is one.

    Example:
        >>> Rejected("no_audio", "clip.mp4 has no audio stream").status
        'no_audio'
    """

    def __init__(self, status: Status, message: str) -> None:
        if status == "ok" or status not in STATUSES:
            raise ValueError(f"status must be one of {', '.join(s for s in STATUSES if s != 'ok')}; got {status!r}")
        super().__init__(status, message)
        self.status = status
        self.message = message

    @classmethod
    def failed(cls, who: str, error: Exception) -> Rejected:
        """What an extractor answers for an item on which a library raised an error that it does not expect.

        The error stays known as the cause, from which a run tells that memory was short, for one.

        Args:
            who: the extractor.
            error: what was raised.
        """
        rejected = cls("extractor_error", f"{who}: {type(error).__name__}: {error}")
        rejected.__cause__ = error.with_traceback(None)  # its frames would keep arrays alive
        return rejected

    def __str__(self) -> str:
        return self.message
