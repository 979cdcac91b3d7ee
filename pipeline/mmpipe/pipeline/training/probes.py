"""Linear probes: how much of the label each modality alone gives away.

The features of an utterance are averaged over its faces or word pieces, standardised, and classified by logistic
regression; every speaker is predicted by a model that never heard or saw that speaker's session.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mmpipe.core.errors import TrainingError
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.store.matrix import Pooled, pooled_features
from mmpipe.pipeline.training.modalities import MODALITIES

__all__ = ["Probe", "linear_probes"]


@dataclass(frozen=True)
class Probe:
    """What a linear probe of one modality reaches.

    Attributes:
        ua: unweighted average recall in [0, 1], pooled over held-out sessions.
        chance: 1 / number of labels.
        n: utterances.
    """

    ua: float
    chance: float
    n: int

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def linear_probes(store: FeatureStore) -> dict[str, Probe]:
    """Unweighted average recall of a linear probe on each modality of a labelled store.

    Returns:
        By source of the modality: audio, faces, text.

    Raises:
        TrainingError: fewer than two sessions or labels.
    """
    manifest = store.manifest()
    labels = np.array([label or "" for label in manifest.column("label").to_pylist()])
    groups = np.array(
        [s or p or "" for s, p in zip(*(manifest.column(c).to_pylist() for c in ("session", "speaker")), strict=True)]
    )
    if len(set(labels[labels != ""])) < 2 or len(set(groups)) < 2:
        raise TrainingError(f"a probe of {store.path} needs two labels and two sessions or speakers at least")
    return {
        modality.source: _probe(pooled_features(store, modality.stage), labels, groups)
        for modality in MODALITIES.values()
        if modality.stage in store.stages
    }


def _probe(pooled: Pooled, labels: npt.NDArray[Any], groups: npt.NDArray[Any]) -> Probe:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import recall_score
    from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = pooled.usable & (labels != "")
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    predicted = cross_val_predict(model, pooled.X[rows], labels[rows], groups=groups[rows], cv=LeaveOneGroupOut())
    return Probe(
        ua=float(recall_score(labels[rows], predicted, average="macro", zero_division=0)),
        chance=1 / len(set(labels[rows])),
        n=int(rows.sum()),
    )
