"""The hyper-parameters of a training, with what the options leave open taken from the stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpipe.pipeline.cli.console import console
from mmpipe.pipeline.cli.modes import ignored_assignments, refuse_ignored

if TYPE_CHECKING:
    from mmpipe.pipeline.training.config import TrainConfig

__all__ = ["config_for"]


def config_for(
    assigned: Mapping[str, Any], chosen: Mapping[str, Any], stores: Sequence[Path], *, sample: bool, fixed: bool = False
) -> TrainConfig:
    """The config, with what it leaves open taken from the stores, the labelled one first: modalities and lengths.

    `fixed`: an experiment chooses the modalities itself.

    Raises:
        UsageError: a hyper-parameter that is assigned has no effect with these modalities, or is out of range.
    """
    from mmpipe.pipeline.cli.settings import training_config
    from mmpipe.pipeline.store.feature_store import FeatureStore
    from mmpipe.pipeline.training.data.inputs import shared_modalities
    from mmpipe.pipeline.training.data.lengths import resolve_lengths
    from mmpipe.pipeline.training.usage import unused_by_modalities, unused_by_objective

    lengths = tuple(name for name in ("faces", "words") if assigned.get(name) == "auto")
    config = training_config({k: v for k, v in assigned.items() if k not in lengths}, sample=sample, **chosen)
    if not fixed and "modalities" not in {*assigned, *chosen}:
        found = shared_modalities(stores)
        if found != config.modalities:
            names = " and ".join(str(store) for store in stores)
            console.print(f"Modalities {','.join(found)}: those that {names} {'have' if len(stores) > 1 else 'has'}")
        config = config.model_copy(update={"modalities": found})
    if not fixed:
        unused = ignored_assignments(assigned, unused_by_modalities(config.modalities))
        refuse_ignored(f"with modalities {','.join(config.modalities)}", unused)
        unused = ignored_assignments(assigned, unused_by_objective(config))
        refuse_ignored(f"with objective {config.objective}", unused)
    if lengths:
        config = resolve_lengths(config, FeatureStore(stores[0]), lengths)
        numbers = ", ".join(f"{name}={getattr(config, name)}" for name in lengths)
        console.print(f"{numbers}: 95 % of the labelled utterances are no longer")
    return config
