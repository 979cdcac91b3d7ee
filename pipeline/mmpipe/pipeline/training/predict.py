"""From a clip to features, made as those that a model was trained on."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from mmpipe.core.errors import TrainingError, UsageError
from mmpipe.manifests.contract import Prepared
from mmpipe.manifests.corpora.folder_clips import AUDIO_ENDINGS, VIDEO_ENDINGS
from mmpipe.manifests.formats.transcripts import read_transcript
from mmpipe.manifests.schema import MediaSpan, Utterance, Word, to_table
from mmpipe.pipeline.extraction.engines.local import LocalEngine
from mmpipe.pipeline.extraction.run import plan_extraction, run_plan
from mmpipe.pipeline.extraction.stages import StageSpec
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.training.checkpoint import check_features
from mmpipe.pipeline.training.data.dataset import Dataset, load_dataset
from mmpipe.pipeline.training.ensemble import Ensemble

__all__ = ["extract_clip"]


def extract_clip(ensemble: Ensemble, clip: Path, text: str | None = None, transcript: Path | None = None) -> Dataset:
    """A dataset of one utterance: the whole clip, through the stages that the model reads, in a temporary store.

    Args:
        ensemble: its provenance says which extractors, options and weights.
        clip: a film or a sound file.
        text: what is said.
        transcript: or a file that says it; its words keep their times.

    Raises:
        UsageError: the clip or the transcript does not exist, both text and transcript are given, or the model
            needs what is not given.
        TrainingError: the features cannot be made (no face, media that cannot be read, ...), or not as the model's.
        WeightsError: an extractor's weights are missing.
    """
    if ensemble.config.normalise == "speaker":
        raise UsageError(
            "this model normalises each speaker by the speaker's other utterances, which a single clip lacks: extract "
            "a store of all clips and use `mmpipe evaluate`, or train with normalise=corpus"
        )
    utterance = _utterance(ensemble, clip, text, transcript)
    specs = [_spec(stage, made) for stage, made in ensemble.provenance.items()]
    with tempfile.TemporaryDirectory(prefix="mmpipe-predict-") as folder, LocalEngine(1) as engine:
        planned = plan_extraction(to_table([utterance]), "clip", clip.resolve().parent, Path(folder) / "store", specs)
        store = FeatureStore(run_plan(planned, engine).store)
        for stage in ensemble.config.stages:
            status, error = (store.read(stage).column(name)[0].as_py() for name in ("status", "error"))
            if status != "ok":
                raise TrainingError(f"{clip}: stage {stage}: {status}: {error}")
        dataset = load_dataset(store, ensemble.config)
        check_features(ensemble.provenance, dataset.provenance, "the model was trained on")
        return dataset


def _spec(stage: str, made: dict[str, Any]) -> StageSpec:
    """The stage as the provenance tells it."""
    options = {name: value for name, value in made["config"].items() if name != "transcode_fallback"}
    return StageSpec(
        stage,
        made["extractor"],
        options,
        "cpu",
        made.get("precision", "float32"),
        bool(made["config"].get("transcode_fallback", False)),
    )


def _utterance(ensemble: Ensemble, clip: Path, text: str | None, transcript: Path | None) -> Utterance:
    kind, needed = clip.suffix.lower(), ensemble.config.modalities
    if not clip.is_file():
        raise UsageError(f"the clip {clip} does not exist")
    if kind not in VIDEO_ENDINGS + AUDIO_ENDINGS:
        raise UsageError(f"the clip {clip} ends in {kind!r}: expected {' '.join(VIDEO_ENDINGS + AUDIO_ENDINGS)}")
    if "v" in needed and kind in AUDIO_ENDINGS:
        raise UsageError(f"the model looks at faces, {clip} is sound alone: name a film, or a model of a,l")
    if text is not None and transcript is not None:
        raise UsageError("--text and --vtt both say what is said: give one of them")
    words: tuple[Word, ...] | None = None
    if transcript is not None:
        text, words = _read(transcript)
    if "l" in needed and not (text or "").strip():
        raise UsageError("the model reads words: give them with --text WORDS or --vtt FILE")
    span = MediaSpan(clip.name)
    video = span if kind in VIDEO_ENDINGS else None
    return Utterance("clip/0", "clip", audio=span, video=video, text=text, words=words)


def _read(path: Path) -> tuple[str, tuple[Word, ...] | None]:
    if not path.is_file():
        raise UsageError(f"the transcript {path} does not exist")
    prepared = Prepared()
    found = read_transcript(path.resolve().parent, path.resolve(), prepared)
    if not found.text:
        told = "; ".join(problem.message for problem in prepared.problems) or "it holds no words"
        raise UsageError(f"the transcript {path} cannot be used: {told}")
    text, words = found.part(0.0, None)
    return text, words or None
