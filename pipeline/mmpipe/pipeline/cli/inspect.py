"""`mmpipe inspect`: print what a store, manifest, list or run holds, check its files, or show one utterance in full."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmpipe.core.errors import UsageError
from mmpipe.pipeline.cli.console import console
from mmpipe.pipeline.cli.inspect_view import show_summary, show_utterance
from mmpipe.pipeline.cli.missing import show_missing
from mmpipe.pipeline.cli.modes import one_mode, refuse_ignored
from mmpipe.pipeline.cli.options import Config, Overwrite, Root, Sample, located
from mmpipe.pipeline.cli.result_view import list_to_json, run_to_json, show_list, show_run, show_tables, tables_to_json

if TYPE_CHECKING:
    from mmpipe.pipeline.report.sources import Kind
    from mmpipe.pipeline.store.verify import Verification

__all__ = ["inspect"]


def inspect(
    path: Annotated[
        Path,
        typer.Argument(
            parser=located,
            metavar="PATH",
            help="A feature store, manifest, balanced list, run folder or folder of tables.",
        ),
    ],
    utterance: Annotated[str | None, typer.Option(help="Show this utterance in full.")] = None,
    strip: Annotated[Path | None, typer.Option(help="With --utterance: save its face strip as this PNG.")] = None,
    clip: Annotated[Path | None, typer.Option(help="With --utterance: cut it from its media into this .mp4.")] = None,
    faces: Annotated[
        Path | None, typer.Option(help="Save a contact sheet as this PNG: crops, boxes on frames, missing ones marked.")
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Hash every file of a store, manifest, list or run again; exit with 1 if one changed."
        ),
    ] = False,
    missing: Annotated[
        bool, typer.Option("--missing", help="List the shards that are due, and why; exit with 3 if there are any.")
    ] = False,
    slices: Annotated[
        int | None, typer.Option(min=1, help="With --missing: of a job array. Default: those of the last run.")
    ] = None,
    overwrite: Overwrite = False,
    json_: Annotated[
        bool, typer.Option("--json", help="Print it, or what --verify or --missing finds, as JSON.")
    ] = False,
    csv_: Annotated[bool, typer.Option("--csv", help="With --missing: print CSV, one line a shard.")] = False,
    root: Root = None,
    sample: Sample = False,
    config: Config = None,
) -> None:
    """Show the essentials of a store, manifest, balanced list or run, or one utterance of a store in full."""
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
        _show(path, as_json=json_)


def _show(path: Path, *, as_json: bool) -> None:
    """Print the essentials of whatever `path` is."""
    from mmpipe.pipeline.report.sources import kind_of

    match kind_of(path):
        case "runs":
            _print_json({"kind": "run"} | run_to_json(path)) if as_json else show_run(path)
        case "balanced":
            _print_json({"kind": "list"} | list_to_json(path)) if as_json else show_list(path)
        case "grids":
            _print_json({"kind": "tables"} | tables_to_json(path)) if as_json else show_tables(path)
        case "stores":
            _show_store(path, as_json=as_json)


def _show_store(path: Path, *, as_json: bool) -> None:
    from mmpipe.pipeline.extraction.contents import look_into
    from mmpipe.pipeline.store.summary import inspect_store

    summary = inspect_store(path)
    contents = look_into(path, summary)
    if as_json:
        kind = "store" if summary.version else "manifest"
        _print_json({"kind": kind} | asdict(summary) | (asdict(contents) if summary.version else {}))
    else:
        show_summary(summary, contents)


def _print_json(value: Mapping[str, Any]) -> None:
    """One JSON document on standard output, in ASCII, so that every reader and terminal takes it."""
    typer.echo(json.dumps(value, indent=2, default=str, allow_nan=False))


_MAKE_AGAIN = {
    "stores": "Run the same `mmpipe extract` again: it makes damaged shards again, and names what to remove.",
    "balanced": "Run the same `mmpipe balance-unlabeled` again.",
    "runs": "Run the same `mmpipe train` again: it trains what is damaged again.",
}
"""What to do about damage, by the kind of what is damaged."""


def _verify(path: Path, *, as_json: bool) -> None:
    """Hash the files of a store, manifest, list or run again; print what is wrong, and exit with 1 if anything is."""
    from mmpipe.pipeline.report.sources import kind_of

    console.quiet = as_json
    kind = kind_of(path)
    found = _hash_again(path, kind)
    if as_json:
        _print_json(asdict(found))
    console.print(f"{found.files} files, {found.bytes / 1e6:.1f} MB re-hashed")
    if found.missing:
        console.print(f"{len(found.missing)} shards are not made yet (first: {found.missing[0]})", markup=False)
    for file, problem in found.damaged.items():
        console.print(f"damaged: {file}: {problem}", markup=False, style="red")
    if found.damaged:
        made_by_manifest = kind == "stores" and path.is_file()
        console.print("Run the same `mmpipe manifest` again." if made_by_manifest else _MAKE_AGAIN[kind])
        raise typer.Exit(1)
    console.print("Every file is what was written.")


def _hash_again(path: Path, kind: Kind) -> Verification:
    """What a re-hash finds.

    Raises:
        UsageError: it is a folder of tables.
    """
    from mmpipe.pipeline.cli.progress import progress
    from mmpipe.pipeline.store.verify import verify_file, verify_store

    if kind == "grids":
        raise UsageError(
            f"--verify is of feature stores, manifests, balanced lists and run folders; {path} holds tables, which "
            "have no hashes: name one of its runs"
        )
    if kind == "runs":
        from mmpipe.pipeline.training.verify import verify_run

        return verify_run(path)
    if path.is_file():
        return verify_file(path)
    from mmpipe.pipeline.store.feature_store import FeatureStore

    store = FeatureStore(path)
    with progress("file") as bars:
        bar = bars.add_task("re-hash", total=1 + store.num_shards * len(store.info["stages"]))
        return verify_store(path, lambda: bars.advance(bar))


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
    console.print(str(counts))
    console.print(f"Contact sheet: {out}", markup=False)


def _show_utterance(path: Path, utterance: str, strip: Path | None, *, overwrite: bool) -> None:
    from mmpipe.pipeline.report.face_strip import write_face_strip
    from mmpipe.pipeline.store.utterance_view import inspect_utterance

    view = inspect_utterance(path, utterance)
    show_utterance(view)
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
