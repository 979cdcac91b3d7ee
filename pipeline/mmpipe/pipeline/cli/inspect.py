"""`mmpipe inspect`: print what a store or a manifest holds, check its files, or show one utterance in full."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmpipe.core.errors import UsageError
from mmpipe.pipeline.cli.console import console, styled, table
from mmpipe.pipeline.cli.missing import show_missing
from mmpipe.pipeline.cli.modes import one_mode, refuse_ignored
from mmpipe.pipeline.cli.options import Config, Overwrite, Root, Sample, located

if TYPE_CHECKING:
    from mmpipe.manifests.schema import Utterance
    from mmpipe.pipeline.store.manifest_summary import ManifestSummary
    from mmpipe.pipeline.store.summary import Failure, Summary
    from mmpipe.pipeline.store.utterance_view import UtteranceView

__all__ = ["inspect"]

_SHOWN_VALUES = 12
"""Labels, speakers or reasons that a line or table shows before it says how many more there are."""


def inspect(
    path: Annotated[Path, typer.Argument(parser=located, metavar="PATH", help="A feature store, or a manifest.")],
    utterance: Annotated[str | None, typer.Option(help="Show this utterance in full.")] = None,
    strip: Annotated[Path | None, typer.Option(help="With --utterance: save its face strip as this PNG.")] = None,
    clip: Annotated[Path | None, typer.Option(help="With --utterance: cut it from its media into this .mp4.")] = None,
    faces: Annotated[
        Path | None, typer.Option(help="Save a contact sheet as this PNG: crops, boxes on frames, missing ones marked.")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Hash every file again; exit with 1 if one changed.")
    ] = False,
    missing: Annotated[
        bool, typer.Option("--missing", help="List the shards that are due, and why; exit with 3 if there are any.")
    ] = False,
    slices: Annotated[
        int | None, typer.Option(min=1, help="With --missing: of a job array. Default: those of the last run.")
    ] = None,
    overwrite: Overwrite = False,
    json_: Annotated[
        bool, typer.Option("--json", help="Print the counts, or what --verify or --missing finds, as JSON.")
    ] = False,
    csv_: Annotated[bool, typer.Option("--csv", help="With --missing: print CSV, one line a shard.")] = False,
    root: Root = None,
    sample: Sample = False,
    config: Config = None,
) -> None:
    """Show what a store holds: statuses, failures by reason, provenance, or one utterance in full."""
    one_mode({"--utterance": utterance, "--faces": faces, "--verify": verify, "--missing": missing})
    one_mode({"--json": json_, "--csv": csv_})
    if not missing:
        refuse_ignored("without --missing", {"--slices": slices, "--csv": csv_})
    if utterance is not None or faces is not None:
        refuse_ignored("with --utterance or --faces", {"--json": json_})
    if utterance is None:
        refuse_ignored("without --utterance", {"--strip": strip, "--clip": clip})
    if faces is None and strip is None and clip is None:
        refuse_ignored("without --faces, --strip or --clip", {"--overwrite": overwrite})
    if clip is None and faces is None:
        refuse_ignored("without --clip or --faces", {"--root": root, "--sample": sample, "--config": config})
    one_mode({"--root": root, "--sample": sample, "--config": config})
    if missing:
        show_missing(path, slices, as_json=json_, as_csv=csv_)
    elif verify:
        _verify(path, as_json=json_)
    elif faces is not None:
        _write_sheet(path, faces, root, sample=sample, config=config, overwrite=overwrite)
    elif utterance is not None:
        _show_utterance(path, utterance, strip, overwrite=overwrite)
        if clip is not None:
            _cut_clip(path, utterance, clip, root, sample=sample, config=config, overwrite=overwrite)
    else:
        from mmpipe.pipeline.store.summary import inspect_store

        summary = inspect_store(path)
        if json_:
            _print_json(asdict(summary))
        else:
            _print_summary(summary)


def _print_json(value: Mapping[str, Any]) -> None:
    """One JSON document on standard output, in ASCII, so that every reader and terminal takes it."""
    typer.echo(json.dumps(value, indent=2, default=str, allow_nan=False))


def _verify(path: Path, *, as_json: bool) -> None:
    """Hash a store's files again and print what is wrong; exit with 1 if anything is."""
    from mmpipe.pipeline.cli.progress import progress
    from mmpipe.pipeline.store.feature_store import FeatureStore
    from mmpipe.pipeline.store.verify import verify_store

    store = FeatureStore(path)
    console.quiet = as_json
    with progress("file") as bars:
        bar = bars.add_task("re-hash", total=1 + store.num_shards * len(store.info["stages"]))
        found = verify_store(path, lambda: bars.advance(bar))
    if as_json:
        _print_json(asdict(found))
    console.print(f"{found.files} files, {found.bytes / 1e6:.1f} MB re-hashed")
    if found.missing:
        console.print(f"{len(found.missing)} shards are not made yet (first: {found.missing[0]})", markup=False)
    for file, problem in found.damaged.items():
        console.print(f"damaged: {file}: {problem}", markup=False, style="red")
    if found.damaged:
        console.print("Run the same `mmpipe extract` again: it makes damaged shards again, and names what to remove.")
        raise typer.Exit(1)
    console.print("Every file is what was written.")


def _write_sheet(
    path: Path, out: Path, root: Path | None, *, sample: bool, config: Path | None, overwrite: bool
) -> None:
    """Save a contact sheet, with frames where the corpus root is known, and print how many faces were found."""
    from mmpipe.pipeline.cli.settings import dataset_root, load_settings
    from mmpipe.pipeline.report.contact_sheet import write_contact_sheet
    from mmpipe.pipeline.store.feature_store import FeatureStore

    store, settings = FeatureStore(path), load_settings(config)
    try:
        folder: Path | None = dataset_root(store.corpus, root, settings, sample=sample)
    except UsageError as error:
        folder = None
        console.print("Without frames:")
        for line in str(error).splitlines():
            console.print(line)
    counts = write_contact_sheet(store, folder, out, overwrite=overwrite)
    share = counts.without_face / counts.utterances if counts.utterances else 0.0
    console.print(
        f"{counts.without_face} of {counts.utterances} utterances without a face ({share:.1%}); in the others it was "
        f"found in {counts.detected} of {counts.frames} sampled frames"
    )
    console.print(f"Contact sheet: {out}", markup=False)


def _show_utterance(path: Path, utterance: str, strip: Path | None, *, overwrite: bool) -> None:
    from mmpipe.pipeline.report.face_strip import write_face_strip
    from mmpipe.pipeline.store.utterance_view import inspect_utterance

    view = inspect_utterance(path, utterance)
    _print_utterance(view)
    if strip is not None:
        write_face_strip(view, strip, overwrite=overwrite)
        console.print(f"Face strip: {strip}", markup=False)


def _cut_clip(
    path: Path,
    utterance: str,
    out: Path,
    root: Path | None,
    *,
    sample: bool,
    config: Path | None,
    overwrite: bool,
) -> None:
    from mmpipe.pipeline.cli.settings import dataset_root, load_settings
    from mmpipe.pipeline.media.cut import write_clip
    from mmpipe.pipeline.store.feature_store import FeatureStore
    from mmpipe.pipeline.store.utterance_view import inspect_utterance

    folder = dataset_root(FeatureStore(path).corpus, root, load_settings(config), sample=sample)
    clip = write_clip(inspect_utterance(path, utterance).utterance, folder, out, overwrite=overwrite)
    console.print(f"Clip: {clip}", markup=False)


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
        console.print(styled("\n[bold]{}[/] was made by", stage.name))
        for name, value in stage.provenance.items():
            console.print(f"  {name}: {json.dumps(value, sort_keys=True)}", markup=False)
        if stage.configs > 1:
            console.print(styled("  [yellow]{} different configurations[/]: run `mmpipe extract` again", stage.configs))
        if stage.difference:
            console.print(f"  not made alike: {stage.difference}", style="yellow")
        for file, problem in stage.damaged.items():
            console.print(f"  {file} is damaged: {problem}", style="yellow")


def _print_reasons(title: str, reasons: Sequence[tuple[str, Failure]]) -> None:
    if reasons:
        table(
            title,
            ["stage", "status", "utterances", "for example"],
            ((name, r.status, r.count, f"{r.utterance_id}: {r.example}"[:140]) for name, r in reasons[:_SHOWN_VALUES]),
        )
        if len(reasons) > _SHOWN_VALUES:
            console.print(f"... and {len(reasons) - _SHOWN_VALUES} more reasons")


def _print_manifest(manifest: ManifestSummary) -> None:
    if manifest.median_seconds is not None:
        console.print(
            f"{manifest.hours:.2f} h; median {manifest.median_seconds:.2f} s; "
            f"80 % are no longer than {manifest.percentile_seconds:.2f} s"
        )
    console.print(f"audio {manifest.with_audio}, video {manifest.with_video}, text {manifest.with_text} utterances")
    for column, counts in manifest.counts.items():
        if counts:
            shown = ", ".join(f"{value} {n}" for value, n in list(counts.items())[:_SHOWN_VALUES])
            more = f" and {len(counts) - _SHOWN_VALUES} more" if len(counts) > _SHOWN_VALUES else ""
            console.print(f"{column}: {shown}{more}", markup=False)
    if manifest.unlabelled:
        console.print(f"unlabelled: {manifest.unlabelled}")


def _print_utterance(view: UtteranceView) -> None:
    utterance = view.utterance
    console.print(styled("[bold]{}[/]", utterance.utterance_id))
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
        error = f" ({row['error']})" if row["error"] else ""
        console.print(styled("[bold]{}[/]: {}{}", stage, row["status"], error))
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
    import numpy as np

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
