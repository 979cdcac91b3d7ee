"""What a training is asked for: stores, balanced list, run folder, with the places where commands put them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from mmpipe.core.errors import UsageError
from mmpipe.core.parquet import fingerprint
from mmpipe.pipeline.store.exclusions import read_exclusions
from mmpipe.pipeline.store.feature_store import FeatureStore, default_store
from mmpipe.pipeline.training.config import TrainConfig

__all__ = ["Sources", "TrainRequest", "balanced_path", "default_run", "find_sources", "find_store"]


@dataclass(frozen=True)
class Sources:
    """What a run reads.

    Attributes:
        labeled: the labelled store.
        unlabeled: the unlabelled store; None trains supervised.
        balanced: a list of `mmpipe balance-unlabeled`; None draws from all usable rows of `unlabeled`.
        exclude: a list of marks: bad utterances are left out, corrected labels are taken.
    """

    labeled: Path
    unlabeled: Path | None = None
    balanced: Path | None = None
    exclude: Path | None = None

    @property
    def objective(self) -> str:
        """`supervised` or `semi`."""
        return "supervised" if self.unlabeled is None else "semi"


@dataclass(frozen=True)
class TrainRequest:
    """A cross-validated run to make.

    Attributes:
        config: hyper-parameters.
        sources: what it reads.
        out: the run folder.
        seeds: trainings of each fold, with the seeds `config.seed`, `config.seed` + 1 and so on.
        device: `cpu`, `cuda`, or `auto`: the GPU where there is one.
        tensorboard: write event files beside the CSV.
        save_seconds: between two states of an unfinished fold.
        overwrite: replace a finished run of another config or of other data that the folder holds, instead of refusing.
    """

    config: TrainConfig
    sources: Sources
    out: Path
    seeds: int = 1
    device: str = "cpu"
    tensorboard: bool = False
    save_seconds: float = 30.0
    overwrite: bool = False

    @property
    def objective(self) -> str:
        """`supervised` or `semi`."""
        return self.sources.objective


def find_store(given: Path | None, dataset: str, *, sample: bool = False) -> Path:
    """The store `given`, else where `mmpipe extract` writes that of the dataset.

    Raises:
        UsageError: it does not exist.
    """
    path = given or default_store(dataset, sample=sample)
    if not path.is_dir():
        flag = " --sample" if sample else ""
        raise UsageError(
            f"the feature store {path} does not exist: make it with `mmpipe extract --dataset {dataset}{flag}`"
        )
    return path


def balanced_path(unlabeled: Path) -> Path:
    """Where `mmpipe balance-unlabeled` writes the list of a store.

    Example:
        >>> balanced_path(Path("features/ami")).as_posix()
        'balanced/ami.parquet'
    """
    return Path("balanced") / f"{unlabeled.name}.parquet"


def default_run(config: TrainConfig, sources: Sources, seeds: int = 1) -> Path:
    """The run folder that is named by what it holds: runs/STORE-OBJECTIVE-MODALITIES-SIZE-HASH.

    The hash is of the config, the number of seeds, the features, labels and speakers of the stores, and the balanced
    list: a run on a store that has grown gets a folder of its own.

    Raises:
        StoreError: a store cannot be read.
    """
    held = [_content(path, config.stages) for path in (sources.labeled, sources.unlabeled) if path is not None]
    drawn = [
        sha256(path.read_bytes()).hexdigest() for path in (sources.balanced,) if path is not None and path.is_file()
    ]
    drawn += [] if sources.exclude is None else [read_exclusions(sources.exclude).sha256]
    made = fingerprint([config.model_dump(mode="json"), seeds, held, drawn])[:8]
    parts = (sources.labeled.name, sources.objective, "".join(config.modalities), config.size, made)
    return Path("runs") / "-".join(parts)


def _content(path: Path, stages: Sequence[str]) -> list[Any]:
    store = FeatureStore(path)
    rows = store.manifest().select(["utterance_id", "label", "speaker"])
    return [store.fingerprint(stages), rows.to_pydict()]


def find_sources(
    labeled: Path | None = None,
    unlabeled: Path | None = None,
    balanced: Path | None = None,
    *,
    semi: bool = True,
    sample: bool = False,
    corpus: str = "iemocap",
    list_needed: bool = True,
    exclude: Path | None = None,
) -> Sources:
    """The stores and the list that are given, else those that the commands write.

    Args:
        labeled: the labelled store; None is that of `corpus`.
        unlabeled: the unlabelled store; None is that of AMI.
        balanced: its balanced list.
        semi: whether unlabelled data are used.
        sample: whether the default stores are those of the sample corpora.
        corpus: the labelled corpus.
        list_needed: whether a list that is not given and does not exist is an error; else all usable rows are drawn.
        exclude: a list of marks.

    Raises:
        UsageError: one does not exist; or a supervised run names unlabelled data.
    """
    labeled = find_store(labeled, corpus, sample=sample)
    if not semi:
        if unlabeled or balanced:
            raise UsageError("a supervised run uses the labelled store alone: leave out --unlabeled and --balanced")
        return Sources(labeled, exclude=exclude)
    unlabeled = find_store(unlabeled, "ami", sample=sample)
    if balanced is None and not list_needed and not balanced_path(unlabeled).is_file():
        return Sources(labeled, unlabeled, exclude=exclude)
    balanced = balanced or balanced_path(unlabeled)
    if not balanced.is_file():
        raise UsageError(
            f"the balanced list {balanced} does not exist: make it with `mmpipe balance-unlabeled`, "
            "or give --supervised"
        )
    return Sources(labeled, unlabeled, balanced, exclude)
