"""From a clip to features, made as those that a model was trained on."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mmpipe.core.errors import TrainingError, UsageError
from mmpipe.manifests.contract import Prepared
from mmpipe.manifests.formats.transcripts import read_transcript
from mmpipe.manifests.schema import Word
from mmpipe.pipeline.extraction.clips import Clips, clip_store, read_clips
from mmpipe.pipeline.extraction.stages import StageSpec, describe
from mmpipe.pipeline.hardware import pick_device
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.training.checkpoint import check_features
from mmpipe.pipeline.training.config import TrainConfig
from mmpipe.pipeline.training.data.dataset import Dataset, Norm, fit_norms, load_dataset
from mmpipe.pipeline.training.ensemble import Ensemble, load_ensemble
from mmpipe.pipeline.training.trust import refuse_foreign

__all__ = ["predict"]


def _warn(text: str) -> None:
    warnings.warn(text, UserWarning, stacklevel=4)


def predict(
    model: str | Path,
    clip: str | Path,
    text: str | None = None,
    transcript: str | Path | None = None,
    *,
    like: str | Path | None = None,
    device: str = "cpu",
    trust: bool = False,
    note: Callable[[str], None] = _warn,
) -> dict[str, float]:
    """Class probabilities of a clip, by label, the most probable first.

    The features are normalised by the statistics of the training rows, or by those of a store of clips of the same
    recording conditions. Where they lie farther out than those of the training corpus, the answer means little: a note
    says so.

    Args:
        model: a run folder of `mmpipe train` (the mean of its models), or a fold's.
        clip: a video or audio file.
        text: what is said; without it and without a transcript, the transcript beside the clip says it.
        transcript: or a file that says it; its words keep their times.
        like: a feature store of clips recorded as this one, whose statistics normalise the features; None takes those
            of the training rows. A model with normalise=speaker needs it: other utterances of the clip's speaker.
        device: `cpu`, `cuda`, or `auto`: the GPU where there is one.
        trust: import the extractors and open the files that the run folder names; without it, extractors must be
            installed by name and no option may name a file of this machine.
        note: called with a sentence where the features lie outside the training range, or that cannot be measured, or
            something is odd with the transcript; by default it becomes a UserWarning.

    Raises:
        UsageError: the run folder names code or files and `trust` is not given, the clip or the transcript does not
            exist, both text and transcript are given, the model needs what is not given or does not read words that are
            given, or the device does not exist here.
        TrainingError: the features cannot be made (no face, media that cannot be read, ...), or not as the model's.
        WeightsError: the folder does not hold a model, or an extractor's weights are missing.
    """
    device = pick_device(device)
    ensemble, clip = load_ensemble(Path(model), device), Path(clip)
    config = ensemble.config.model_copy(update={"normalise": "corpus"})
    if ensemble.config.normalise == "speaker" and like is None:
        raise UsageError(
            "this model normalises each speaker by the speaker's other utterances, which a single clip lacks: extract "
            "a store of them and name it with --like, use `mmpipe evaluate`, or train with normalise=corpus"
        )
    norms = None if like is None else _statistics(ensemble, config, Path(like))
    clips = _read_clip(ensemble, clip, text, None if transcript is None else Path(transcript))
    if not trust:
        refuse_foreign(ensemble.provenance, Path(model))
    dataset = _extract(ensemble, config, clips, clip, device)
    for problem in clips.problems:
        note(f"{problem.where}: {problem.message}")
    _note_shift(ensemble, dataset, norms, note)
    probabilities = ensemble.predict(dataset, np.array([0]), norms)[0]
    answer = {label: float(p) for label, p in zip(ensemble.labels, probabilities, strict=True)}
    return dict(sorted(answer.items(), key=lambda item: -item[1]))


def _statistics(ensemble: Ensemble, config: TrainConfig, like: Path) -> dict[str, Norm]:
    """Mean and deviation of all usable utterances of a store."""
    if not like.is_dir():
        raise UsageError(f"--like {like}: the feature store does not exist")
    dataset = load_dataset(FeatureStore(like), config)
    check_features(ensemble.provenance, dataset.provenance, f"--like {like}: the model was trained on")
    if len(dataset.ids) < 2:
        raise UsageError(f"--like {like} holds one usable utterance: a deviation needs two or more")
    return fit_norms(dataset, np.arange(len(dataset.ids)))


def _note_shift(
    ensemble: Ensemble, dataset: Dataset, norms: Mapping[str, Norm] | None, note: Callable[[str], None]
) -> None:
    shifts = ensemble.shift(dataset, 0, norms)
    if shifts is None:
        note(
            "this model was saved without the range of its training features: "
            "how far the clip lies outside is not known"
        )
    elif outside := [str(shift) for shift in shifts if shift.is_outside]:
        remedy = (
            "name a feature store of clips recorded as this one with --like STORE"
            if norms is None
            else "the store of --like is not of clips such as this one"
        )
        note(
            "the clip lies outside the training range, so that its probabilities mean little "
            f"({'; '.join(outside)}): {remedy}"
        )


def _extract(ensemble: Ensemble, config: TrainConfig, clips: Clips, clip: Path, device: str) -> Dataset:
    """A dataset of one utterance: the whole clip, through the stages that the model reads."""
    specs = [_spec(stage, made, device) for stage, made in ensemble.provenance.items()]
    for spec in specs:  # before any weights are loaded
        here = {spec.name: describe(spec).to_json()}
        check_features({spec.name: ensemble.provenance[spec.name]}, here, "the model was trained on")
    with clip_store(clips, specs) as store:
        for stage in ensemble.config.stages:
            status, error = (store.read(stage).column(name)[0].as_py() for name in ("status", "error"))
            if status != "ok":
                raise TrainingError(f"{clip}: stage {stage}: {status}: {error}")
        dataset = load_dataset(store, config)
        check_features(ensemble.provenance, dataset.provenance, "the model was trained on")
        return dataset


def _spec(stage: str, made: dict[str, Any], device: str) -> StageSpec:
    """The stage as the provenance says it was made."""
    config = made.get("config", {})
    options = {name: value for name, value in config.items() if name != "transcode_fallback"}
    spec = StageSpec(
        stage,
        made["extractor"],
        options,
        "cpu",
        made.get("precision", "float32"),
        bool(config.get("transcode_fallback", False)),
    )
    return replace(spec, device=device) if spec.kind.runs_on_device else spec


def _read_clip(ensemble: Ensemble, clip: Path, text: str | None, transcript: Path | None) -> Clips:
    needed = {modality.source for modality in ensemble.config.chosen_modalities}
    if text is not None and transcript is not None:
        raise UsageError("--text and --vtt both say what is said: give one of them")
    if "text" not in needed and (text is not None or transcript is not None):
        raise UsageError(
            f"the model does not read words (its modalities are {','.join(ensemble.config.modalities)}): leave out "
            f"{'--vtt' if text is None else '--text'}"
        )
    clips = read_clips([clip], [text if "text" in needed and transcript is None else ""])
    (utterance,) = clips.utterances
    if "faces" in needed and utterance.video is None:
        raise UsageError(f"the model looks at faces, {clip} is audio alone: name a video, or a model without faces")
    if transcript is not None:
        text, words = _read(transcript)
        utterance = clips.utterances[0] = replace(utterance, text=text, words=words)
    if "text" in needed and not (utterance.text or "").strip():
        raise UsageError(
            "the model reads words: give them with --text WORDS or --vtt FILE, or as a transcript beside the clip"
        )
    return clips


def _read(path: Path) -> tuple[str, tuple[Word, ...] | None]:
    if not path.is_file():
        raise UsageError(f"the transcript {path} does not exist")
    prepared = Prepared()
    found = read_transcript(path.resolve().parent, path.resolve(), prepared)
    if not found.text:
        reasons = "; ".join(problem.message for problem in prepared.problems) or "it holds no words"
        raise UsageError(f"the transcript {path} cannot be used: {reasons}")
    text, words = found.part(0.0, None)
    return text, words or None
