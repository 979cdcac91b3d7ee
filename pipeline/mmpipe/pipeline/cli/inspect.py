"""`mmpipe inspect`: print what a store or a manifest holds, or one utterance in full."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmpipe.core.errors import UsageError
from mmpipe.core.files import write_bytes
from mmpipe.extractors.faces.crops import decode_crops
from mmpipe.manifests.schema import Utterance
from mmpipe.pipeline.cli.console import console, progress, table
from mmpipe.pipeline.cli.settings import dataset_root, load_settings
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.store.summary import (
    Failure,
    ManifestSummary,
    Summary,
    UtteranceView,
    inspect_store,
    inspect_utterance,
)

__all__ = ["corpus_roots", "cut_clip", "run_inspect", "run_verify", "write_contact_sheet", "write_face_strip"]

SHOWN_VALUES = 12
"""Labels, speakers or reasons that a line or table shows before it says how many more there are."""


def run_inspect(path: Path, utterance: str | None, strip: Path | None) -> None:
    """Print the summary of a store or manifest, or one utterance in full."""
    if utterance is None:
        _print_summary(inspect_store(path))
        return
    view = inspect_utterance(path, utterance)
    _print_utterance(view)
    if strip is not None:
        write_face_strip(view, strip)
        console.print(f"Face strip: {strip}", markup=False)


def run_verify(path: Path) -> bool:
    """Re-hash a store and print what is wrong with it; whether nothing is."""
    from mmpipe.pipeline.store.verify import verify_store

    store = FeatureStore(path)
    with progress("file") as bars:
        bar = bars.add_task("re-hash", total=1 + store.num_shards * len(store.info["stages"]))
        found = verify_store(path, lambda: bars.advance(bar))
    console.print(f"{found.files} files, {found.bytes / 1e6:.1f} MB re-hashed")
    if found.missing:
        console.print(f"{len(found.missing)} shards are not made yet (first: {found.missing[0]})", markup=False)
    for file, problem in found.damaged.items():
        console.print(f"damaged: {file}: {problem}", markup=False, style="red")
    if found.damaged:
        console.print("Remove the damaged files, then run the same `mmpipe extract` again: it makes them anew.")
    else:
        console.print("Every file is what was written.")
    return not found.damaged


def _print_summary(summary: Summary) -> None:
    made = (
        f", {summary.shards} shard{'s' * (summary.shards != 1)}, written by mmpipe {summary.version}"
        if summary.version
        else ""
    )
    console.print(f"{summary.path}: {summary.manifest.rows} utterances of {summary.corpus}{made}", markup=False)
    _print_manifest(summary.manifest)
    if not summary.stages:
        return
    table(
        "Stages",
        ["stage", "extractor", "shards", "statuses", "MB", "utt/s of a worker"],
        (
            (
                stage.name,
                stage.extractor,
                f"{stage.shards}/{summary.shards}",
                ", ".join(f"{status} {n}" for status, n in stage.statuses.items()) or "-",
                f"{stage.bytes / 1e6:.1f}",
                "-" if stage.utterances_per_second is None else f"{stage.utterances_per_second:.1f}",
            )
            for stage in summary.stages
        ),
    )
    _print_reasons("Without features, by reason", [(s.name, reason) for s in summary.stages for reason in s.failures])
    _print_reasons("With features and a warning", [(s.name, reason) for s in summary.stages for reason in s.warnings])
    for stage in summary.stages:
        console.print(f"\n[bold]{stage.name}[/] was made by")
        for name, value in stage.provenance.items():
            console.print(f"  {name}: {json.dumps(value, sort_keys=True)}", markup=False)
        if stage.configs > 1:
            console.print(f"  [yellow]{stage.configs} different configurations[/]: run `mmpipe extract` again")
        for file in stage.damaged:
            console.print(f"  [yellow]{file} is damaged[/]: run `mmpipe extract` again to redo it")


def _print_reasons(title: str, reasons: Sequence[tuple[str, Failure]]) -> None:
    if reasons:
        table(
            title,
            ["stage", "status", "utterances", "for example"],
            ((name, r.status, r.count, f"{r.utterance_id}: {r.example}"[:140]) for name, r in reasons[:SHOWN_VALUES]),
        )
        if len(reasons) > SHOWN_VALUES:
            console.print(f"... and {len(reasons) - SHOWN_VALUES} more reasons")


def _print_manifest(manifest: ManifestSummary) -> None:
    if manifest.median_seconds is not None:
        console.print(
            f"{manifest.hours:.2f} h; median {manifest.median_seconds:.2f} s; "
            f"80 % are no longer than {manifest.percentile_seconds:.2f} s"
        )
    console.print(f"audio {manifest.with_audio}, video {manifest.with_video}, text {manifest.with_text} utterances")
    for column, counts in manifest.counts.items():
        if counts:
            shown = ", ".join(f"{value} {n}" for value, n in list(counts.items())[:SHOWN_VALUES])
            more = f" and {len(counts) - SHOWN_VALUES} more" if len(counts) > SHOWN_VALUES else ""
            console.print(f"{column}: {shown}{more}", markup=False)
    if manifest.unlabelled:
        console.print(f"unlabelled: {manifest.unlabelled}")


def _print_utterance(view: UtteranceView) -> None:
    utterance = view.utterance
    console.print(f"[bold]{utterance.utterance_id}[/]")
    for name in ("split", "session", "dialogue", "speaker", "gender", "label", "label_source", "text"):
        if (value := getattr(utterance, name)) is not None:
            console.print(f"  {name}: {value}", markup=False)
    for name in ("audio", "video"):
        if span := getattr(utterance, name):
            end = "its end" if span.end_seconds is None else f"{span.end_seconds:.3f} s"
            region = f", region {span.region}" if span.region else ""
            console.print(f"  {name}: {span.uri} from {span.start_seconds:.3f} s to {end}{region}", markup=False)
    if utterance.annotations:
        console.print(f"  annotations: {json.dumps(dict(utterance.annotations), ensure_ascii=False)}", markup=False)
    if utterance.words:
        console.print(f"  words: {_words(utterance)}", markup=False)
    for stage, row in view.stages.items():
        console.print(f"[bold]{stage}[/]: {row['status']}" + (f" ({row['error']})" if row["error"] else ""))
        for name, value in row.items():
            if name not in ("status", "error") and value is not None:
                console.print(f"  {name}: {_brief(value)}", markup=False)


def _words(utterance: Utterance) -> str:
    return " ".join(
        word.text if word.start_seconds is None else f"{word.text}@{word.start_seconds:.2f}"
        for word in utterance.words or ()
    )


def _brief(value: Any) -> str:
    """A cell in one line."""
    if isinstance(value, np.ndarray):
        shape = "x".join(map(str, value.shape))
        if value.size == 0:
            return f"{value.dtype} [{shape}]"
        first = ", ".join(f"{number:.4g}" for number in value.reshape(-1)[:4])
        spread = f"mean {value.mean(dtype=float):.4g}, deviation {value.std(dtype=float):.4g}"
        return f"{value.dtype} [{shape}], {spread}, from {value.min():.4g} to {value.max():.4g}; starts {first}"
    if isinstance(value, list) and value and isinstance(value[0], bytes):
        return f"{len(value)} images, {sum(map(len, value))} bytes"
    if isinstance(value, list) and value and isinstance(value[0], bool):
        return f"{sum(value)} of {len(value)}"
    return str(value)


def write_face_strip(view: UtteranceView, out: Path) -> None:
    """Save the crops of an utterance side by side as one PNG, those without a detection darkened.

    Raises:
        UsageError: `out` exists, or the utterance has no crops.
    """
    row = view.stages.get("faces", {})
    if not row.get("crops"):
        reason = row.get("error") or "the store has no such row of stage faces"
        raise UsageError(f"{view.utterance.utterance_id} has no face crops: {reason}")
    if out.exists():
        raise UsageError(f"{out} exists: name another file, or remove it")
    shade = np.where(row["detected"], 1.0, 0.5)[:, None, None]
    strip = np.concatenate(list((decode_crops(row["crops"]) * shade).astype(np.uint8)), axis=1)
    write_bytes(out, cv2.imencode(".png", strip)[1].tobytes())


def cut_clip(
    store_path: Path, utterance: str, out: Path, root: Path | None, *, sample: bool, config: Path | None
) -> None:
    """Cut an utterance of a store from its corpus's media."""
    from mmpipe.pipeline.media.cut import write_clip

    folder = dataset_root(FeatureStore(store_path).corpus, root, load_settings(config), sample=sample)
    clip = write_clip(inspect_utterance(store_path, utterance).utterance, folder, out)
    console.print(f"Clip: {clip}", markup=False)


def corpus_roots(stores: Sequence[Path], *, sample: bool, config: Path | None) -> dict[Path, Path]:
    """The corpus root of each store, where the environment or mmpipe.toml names it or the samples are asked for."""
    settings, roots = load_settings(config), {}
    for store in stores:
        if (store / "store.json").exists():
            with suppress(UsageError):
                roots[store] = dataset_root(FeatureStore(store).corpus, None, settings, sample=sample)
    return roots


def write_contact_sheet(store_path: Path, out: Path, root: Path | None, *, sample: bool, config: Path | None) -> None:
    """Save a contact sheet of a store's faces and print how many were found.

    Raises:
        UsageError: `out` exists.
        StoreError: the stage `faces` is incomplete, or holds no face.
    """
    from mmpipe.pipeline.report.contact_sheet import contact_sheet, count_faces

    if out.exists():
        raise UsageError(f"{out} exists: name another file, or remove it")
    store = FeatureStore(store_path)
    counts = count_faces(store)
    try:
        folder: Path | None = dataset_root(store.corpus, root, load_settings(config), sample=sample)
    except UsageError as error:
        folder = None
        console.print(f"Without frames: {error}", markup=False)
    write_bytes(out, cv2.imencode(".png", contact_sheet(store, folder))[1].tobytes())
    share = counts.without_face / counts.utterances if counts.utterances else 0.0
    console.print(
        f"{counts.without_face} of {counts.utterances} utterances without a face ({share:.1%}); in the others it was "
        f"found in {counts.detected} of {counts.frames} sampled frames"
    )
    console.print(f"Contact sheet: {out}", markup=False)
