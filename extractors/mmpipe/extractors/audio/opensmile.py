"""openSMILE functionals of an utterance: IS10 (paper, 4.2), the default, and eGeMAPS.

IS10 is the set of 1,582 functionals of the INTERSPEECH 2010 paralinguistic challenge. Three openSMILE configs have
1,582 columns and different numbers (`IS10_paraling`, `IS10_paraling_compat`, `emobase2010`). The default is the one
that opensmile-python calls `FeatureSet.IS10`; its name is in the metadata of the column. eGeMAPS is the extended Geneva
minimalistic set of 88 functionals (Eyben et al. 2016), in its version v02. openSMILE's licence allows research use
only.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import warnings
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mmpipe.core.errors import Rejected, UsageError
from mmpipe.extractors.contract import (
    SAMPLING_RATE_HZ,
    Audio,
    ExtractorConfig,
    InputKind,
    PerItemExtractor,
    Row,
)
from mmpipe.extractors.weights.bundled import sha256

__all__ = ["IS10", "EGeMAPS", "FunctionalsConfig"]

_INCLUDE = re.compile(r"\\\{([^\\{}]+)\}")
"""An include of another file in an openSMILE config: a backslash and the path in braces."""


class FunctionalsConfig(ExtractorConfig):
    """Config of the audio functionals."""

    config_file: Path | None = None
    """Another openSMILE config, with a level `func` and opensmile-python's source and sink; None is the extractor's
    own set."""


class IS10(PerItemExtractor):
    """A waveform float32 [T] to one vector of functionals float32 [D], D = 1,582 with the default config.

    Values equal those of `opensmile.Smile.process_signal` bit for bit; only its wrapping into pandas is left
    out. There is no state between calls, so a row does not depend on the rows before it.
    """

    input: ClassVar[InputKind] = "audio"
    Config: ClassVar[type[ExtractorConfig]] = FunctionalsConfig
    licence: ClassVar[str] = "openSMILE: free for research and education; commercial use needs a licence of audEERING."
    libraries: ClassVar[tuple[str, ...]] = ("opensmile",)
    feature_set: ClassVar[str] = "IS10"
    """Name in `opensmile.FeatureSet` of the set that is computed if there is no config file."""

    set_config: ClassVar[str] = "is09-13/IS10_paraling_compat"
    """The openSMILE config of that set, as opensmile-python names it."""

    config: FunctionalsConfig
    _smile: Any = None

    @property
    def config_name(self) -> str:
        """Name of the openSMILE config in opensmile-python, or the path of the config file."""
        return str(self.config.config_file or self.set_config)

    def feature_names(self) -> list[str]:
        """Names of the D values, in order, as openSMILE gives them.

        Raises:
            UsageError: the config file is missing, or openSMILE refuses it.
        """
        return list(self._load().feature_names)

    def columns(self) -> list[pa.Field]:
        """`features`: D float32 values; the field's metadata holds the config's name and the D names as JSON.

        Raises:
            UsageError: the config file is missing, or openSMILE refuses it.
        """
        names = self.feature_names()
        metadata = {"opensmile_config": self.config_name, "feature_names": json.dumps(names)}
        return [pa.field("features", pa.list_(pa.float32(), len(names)), metadata=metadata)]

    def weights(self) -> dict[str, str]:
        """Hashes of the config file and its includes; empty for opensmile's own sets, which its version fixes.

        Raises:
            UsageError: the config file is missing.
        """
        path = self._path
        return _hashes(path) if path else {}

    def versions(self) -> dict[str, str]:
        """The openSMILE in the Python package decides the values."""
        return {"opensmile": importlib.metadata.version("opensmile")}

    def prepare(self) -> None:
        """Read the openSMILE config."""
        self._load()

    @property
    def _path(self) -> Path | None:
        path = self.config.config_file
        if path is not None and not path.is_file():
            raise UsageError(
                f"the openSMILE config {path} does not exist; leave config_file empty for {self.feature_set}"
            )
        return path

    def _load(self) -> Any:
        if self._smile is None:
            import opensmile

            path = self._path
            feature_set = opensmile.FeatureSet[self.feature_set] if path is None else str(path)
            level = opensmile.FeatureLevel.Functionals
            try:
                self._smile = opensmile.Smile(feature_set, level, loglevel=1, num_workers=1)
            except Exception as error:  # openSMILE's own exceptions have no common public base
                raise UsageError(
                    f"openSMILE refuses the config {self.config_name} ({error}): it must read and write "
                    "through opensmile-python's source and sink, as the configs that opensmile carries do"
                ) from error
        return self._smile

    def extract_one(self, item: Audio) -> Row:
        """The functionals of one waveform.

        Raises:
            Rejected: `too_short` if the waveform is shorter than a frame of openSMILE (under 0.07 s with IS10);
                `media_error` if samples are not finite; `extractor_error` if the waveform is not float32 [T] in
                [-1, 1], or the functionals are not finite.
        """
        waveform = _checked(item.waveform)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Segment too short", UserWarning)
            # Calling the instance is opensmile's public way to the bare array [channels, D, segments].
            features = self._load()(waveform, SAMPLING_RATE_HZ)[0]
        if np.isnan(features).all():
            seconds = len(waveform) / SAMPLING_RATE_HZ
            raise Rejected("too_short", f"{seconds:.3f} s of audio is too short for openSMILE's {self.config_name}")
        if features.shape[1] != 1:
            raise Rejected(
                "extractor_error",
                f"{self.config_name} gave {features.shape[1]} vectors for one utterance, expected 1: "
                "its `func` level must summarise the whole waveform",
            )
        vector: npt.NDArray[np.float32] = features[:, 0]
        if not np.isfinite(vector).all():
            bad = self.feature_names()[int(np.flatnonzero(~np.isfinite(vector))[0])]
            raise Rejected("extractor_error", f"openSMILE gave a value that is not finite, first in {bad}")
        return {"features": vector}


class EGeMAPS(IS10):
    """A waveform float32 [T] to the 88 functionals of eGeMAPSv02."""

    feature_set: ClassVar[str] = "eGeMAPSv02"
    set_config: ClassVar[str] = "egemaps/v02/eGeMAPSv02"


def _checked(waveform: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """The waveform, if openSMILE can read it without wrapping around."""
    if waveform.dtype != np.float32 or waveform.ndim != 1:
        raise Rejected(
            "extractor_error",
            f"expected a waveform float32 [T] in [-1, 1], got {waveform.dtype} {list(waveform.shape)}",
        )
    if not np.isfinite(waveform).all():
        raise Rejected("media_error", "the audio holds samples that are not finite (NaN or infinity)")
    peak = float(np.abs(waveform).max(initial=0))
    if peak > 1:
        raise Rejected(
            "extractor_error",
            f"expected samples in [-1, 1], got a peak of {peak:g}: clip it, or scale it from integers "
            "(openSMILE reads 16 bit, larger samples would wrap around)",
        )
    return waveform


def _hashes(path: Path) -> dict[str, str]:
    """Hashes of a config and of the files that it includes by relative path, named relative to its folder."""
    todo, hashes = [path.resolve()], dict[str, str]()
    while todo:
        file = todo.pop()
        name = os.path.relpath(file, path.resolve().parent)
        if name not in hashes:
            hashes[name] = sha256(file)
            included = [(file.parent / n).resolve() for n in _INCLUDE.findall(file.read_text("utf-8", "replace"))]
            todo += [include for include in included if include.is_file()]
    return dict(sorted(hashes.items()))
