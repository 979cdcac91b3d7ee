"""Balancing of unlabelled data (paper section 4.2).

A vanilla classifier (cross-entropy only) trained on the labelled store labels the unlabelled utterances. Of
the usable ones the first 20,000 in seeded order are taken; classes above `per_class` are sub-sampled, classes
below are over-sampled by repeating their utterances. A class that no utterance was given stays empty: nothing
is invented.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from mmpipe.core.errors import TrainingError
from mmpipe.core.locks import writing_alone
from mmpipe.core.parquet import write_parquet
from mmpipe.pipeline.balancing.draw import PAPER_LIMIT, draw_equally, draws_per_class, seeded_order
from mmpipe.pipeline.hardware import pick_device
from mmpipe.pipeline.outputs import claim
from mmpipe.pipeline.training.config import TrainConfig
from mmpipe.pipeline.training.data.dataset import Pool, fit_norms
from mmpipe.pipeline.training.data.inputs import TrainInput, load_input, shared_modalities
from mmpipe.pipeline.training.loop import EpochReport, Trained, fit, predict

__all__ = ["BalanceResult", "balance"]

_SCHEMA = pa.schema(
    [
        ("utterance_id", pa.string()),
        ("pseudo_label", pa.string()),
        ("probability", pa.float32()),
        ("probabilities", pa.list_(pa.float32())),
        ("draw", pa.int32()),
    ]
)


@dataclass(frozen=True)
class BalanceResult:
    """What balancing did.

    Attributes:
        path: the list: one row a draw, classes in turn, so that every beginning of it is balanced too; `draw`
            counts the repeats of an utterance from 0.
        labels: the label set.
        before: utterances by pseudo-label.
        after: draws by pseudo-label; a class that no utterance was given has none.
        per_class: draws aimed at.
        modalities: what the classifier looked at.
        valid_ua: unweighted average recall of the classifier on the speaker who chose its epoch.
        excluded: utterances of the unlabelled store that lack a modality, by reason.
    """

    path: Path
    labels: tuple[str, ...]
    before: dict[str, int]
    after: dict[str, int]
    per_class: int
    modalities: tuple[str, ...]
    valid_ua: float
    excluded: dict[str, int]


def balance(
    labeled: Path,
    unlabeled: Path,
    out: Path,
    config: TrainConfig,
    *,
    per_class: int | None = None,
    limit: int = PAPER_LIMIT,
    report: EpochReport = lambda row: None,
    device: str = "cpu",
    overwrite: bool = False,
) -> BalanceResult:
    """Label the unlabelled store and write a list with equal classes.

    The classifier has the encoders of the model and looks at those of the config's modalities that both
    stores have. It trains on all of the labelled store but the validation part of its first fold, which
    chooses the epoch.

    Args:
        labeled: the labelled store.
        unlabeled: the unlabelled store.
        out: the list (Parquet).
        config: hyper-parameters; reconstruction and matching are left out. Its seed decides the order of the
            utterances.
        per_class: draws of each class; None is the paper's 5,000 where `limit` utterances are usable, else
            the number of usable utterances divided by the number of classes.
        limit: utterances to take.
        report: called with the figures of every epoch.
        device: where the classifier runs: `cpu`, `cuda`, or `auto`: the GPU where there is one.
        overwrite: replace whatever is at `out`, not only an earlier list.

    Raises:
        StoreError: a store cannot be read.
        TrainingError: the stores do not go together, or hold nothing usable.
        UsageError: the device does not exist here, or `out` is not an earlier list.
        BusyError: another process is writing `out`.
    """
    device = pick_device(device)
    with writing_alone(out, "mmpipe balance-unlabeled"):
        claim(out, "balanced list", overwrite=overwrite)
        return _balance(labeled, unlabeled, out, config, per_class, limit, report, device)


def _balance(
    labeled: Path,
    unlabeled: Path,
    out: Path,
    config: TrainConfig,
    per_class: int | None,
    limit: int,
    report: EpochReport,
    device: str,
) -> BalanceResult:
    vanilla = _vanilla(config, labeled, unlabeled)
    data = load_input(vanilla, labeled, unlabeled)
    assert data.unlabeled is not None
    trained = _train(vanilla, data, report, device)
    target = data.unlabeled.dataset
    rows = np.array(seeded_order(target.ids, config.seed)[:limit], np.int64)
    probabilities = predict(trained.model, Pool(target, rows, data.unlabeled.norms))
    pseudo = probabilities.argmax(axis=1)
    per_class = draws_per_class(len(rows), len(data.labels)) if per_class is None else per_class
    drawn = draw_equally(pseudo, len(data.labels), per_class)
    places = np.array([place for place, _ in drawn], np.int64)
    table = pa.table(
        [
            [target.ids[row] for row in rows[places]],
            [data.labels[k] for k in pseudo[places]],
            probabilities[places].max(axis=1),
            list(probabilities[places]),
            [repeat for _, repeat in drawn],
        ],
        schema=_SCHEMA,
    )
    before, after = (Counter(pseudo[part].tolist()) for part in (np.arange(len(rows)), places))
    counts = [{label: counter[k] for k, label in enumerate(data.labels)} for counter in (before, after)]
    valid_ua = trained.history[trained.best_epoch - 1]["valid_ua"]
    stages = list(vanilla.stages)
    metadata = {
        "labels": list(data.labels),
        "before": counts[0],
        "after": counts[1],
        "per_class": per_class,
        "limit": limit,
        "seed": config.seed,
        "model": {
            "config": vanilla.model_dump(mode="json"),
            "best_epoch": trained.best_epoch,
            "valid_ua": round(valid_ua, 6),
        },
        "stores": {
            "labeled": {"stages": stages, "fingerprint": data.labeled.fingerprint},
            "unlabeled": {"stages": stages, "fingerprint": target.fingerprint},
        },
        "excluded": target.excluded,
    }
    write_parquet(out, table, metadata)
    return BalanceResult(
        path=out,
        labels=data.labels,
        before=counts[0],
        after=counts[1],
        per_class=per_class,
        modalities=vanilla.modalities,
        valid_ua=valid_ua,
        excluded=target.excluded,
    )


def _vanilla(config: TrainConfig, labeled: Path, unlabeled: Path) -> TrainConfig:
    """The classifier's config: the modalities that both stores have."""
    stores = (labeled, unlabeled)
    shared, known = shared_modalities(stores, config.modalities), shared_modalities(stores)
    if len(known) < 2:
        raise TrainingError(
            f"unlabelled data are learnt from by matching modalities, which needs two or more that {labeled} and "
            f"{unlabeled} both have; they share {','.join(known)}: extract another stage of both"
        )
    return config.vanilla().model_copy(update={"modalities": shared})


def _train(config: TrainConfig, data: TrainInput, report: EpochReport, device: str) -> Trained:
    fold = data.folds[0]
    train, valid = (data.labeled.rows_of(ids) for ids in ((*fold.train, *fold.test), fold.valid))
    norms = fit_norms(data.labeled, train)
    sides = (Pool(data.labeled, train, norms), Pool(data.labeled, valid, norms))
    return fit(config, data.labels, *sides, report=report, device=device)
