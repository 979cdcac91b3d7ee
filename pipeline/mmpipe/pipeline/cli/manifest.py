"""`mmpipe manifest`: a corpus becomes a manifest, checked against its release and its media."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmpipe.core.errors import UsageError
from mmpipe.pipeline.cli.console import console, next_command, styled, table
from mmpipe.pipeline.cli.options import Config, FollowLinks, Root, Sample, allow_links

if TYPE_CHECKING:
    import pyarrow as pa

    from mmpipe.manifests.contract import Corpus, Prepared, Problem

__all__ = ["manifest"]

_WINDOWS, _FOLDER, _IEMOCAP = "Word-centred windows (ami, folder)", "Options of folder", "Options of iemocap"
"""Headings in the help."""

_SHOWN_COUNTS = 12
_SHOWN_NAMES = 5


def manifest(
    dataset: Annotated[str, typer.Argument(help="ami, iemocap, meld or folder.")],
    root: Root = None,
    out: Annotated[Path | None, typer.Option(help="The manifest. Default: DATASET.parquet.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Read the header of every media file; list what is odd in OUT.check.csv.")
    ] = False,
    labels: Annotated[str | None, typer.Option(help="merge, drop-exc or all.", rich_help_panel=_IEMOCAP)] = None,
    crop: Annotated[
        float | None, typer.Option(help="Seconds of a window: 7.2 or 3.5.", rich_help_panel=_WINDOWS)
    ] = None,
    num_crops: Annotated[int | None, typer.Option(help="Windows to draw.", rich_help_panel=_WINDOWS)] = None,
    seed: Annotated[int | None, typer.Option(help="Decides which are drawn.", rich_help_panel=_WINDOWS)] = None,
    max_overlap: Annotated[
        float | None, typer.Option(help="Share of a window that another may cover, 0 to 1.", rich_help_panel=_WINDOWS)
    ] = None,
    spread: Annotated[
        str | None, typer.Option(help="proportional to words, or uniform over speakers.", rich_help_panel=_WINDOWS)
    ] = None,
    annotations: Annotated[
        Path | None, typer.Option(help="AMI: the folder of its annotations, if apart.", rich_help_panel=_WINDOWS)
    ] = None,
    exclude: Annotated[
        list[str], typer.Option(help="AMI: a meeting, or how names begin. Repeatable.", rich_help_panel=_WINDOWS)
    ] = [],  # noqa: B006
    utterances: Annotated[
        str | None, typer.Option(help="One utterance a clip, cue or crop (a window).", rich_help_panel=_FOLDER)
    ] = None,
    table_: Annotated[
        str | None,
        typer.Option("--table", help="CSV, TSV or JSONL below the root, one row a clip.", rich_help_panel=_FOLDER),
    ] = None,
    column: Annotated[
        list[str], typer.Option(help="A column by another name: label=Emotion. Repeatable.", rich_help_panel=_FOLDER)
    ] = [],  # noqa: B006
    label: Annotated[str | None, typer.Option(help="none, or folder: its name.", rich_help_panel=_FOLDER)] = None,
    label_map: Annotated[
        str | None, typer.Option(help="Labels by your own: angry=anger,06=fear.", rich_help_panel=_FOLDER)
    ] = None,
    pattern: Annotated[
        str | None, typer.Option(help="Names of files: '{speaker}_{sentence}_{label}'.", rich_help_panel=_FOLDER)
    ] = None,
    speaker: Annotated[str | None, typer.Option(help="none, or folder: its name.", rich_help_panel=_FOLDER)] = None,
    tier: Annotated[str | None, typer.Option(help="TextGrid tier of the cues.", rich_help_panel=_FOLDER)] = None,
    follow_links: FollowLinks = False,
    set_: Annotated[list[str], typer.Option("--set", help="Any of these options: NAME=VALUE. Repeatable.")] = [],  # noqa: B006
    sample: Sample = False,
    config: Config = None,
) -> None:
    """Make the manifest of a corpus: one row an utterance, counted against the complete release."""
    from mmpipe.core.text import printable
    from mmpipe.manifests.io import refuse_links, write_manifest
    from mmpipe.manifests.prepare import corpus_reader, prepare_corpus
    from mmpipe.manifests.schema import to_table
    from mmpipe.pipeline.cli.extract_view import show_problems
    from mmpipe.pipeline.cli.settings import corpus_options, dataset_root, load_settings, parse_assignments

    options = {
        "labels": labels,
        "crop_seconds": crop,
        "num_crops": num_crops,
        "seed": seed,
        "max_overlap": max_overlap,
        "spread": spread,
        "annotations": None if annotations is None else str(annotations),
        "exclude": exclude or None,
        "utterances": utterances,
        "table": table_,
        "column": column or None,
        "label": label,
        "label_map": label_map,
        "pattern": pattern,
        "speaker": speaker,
        "tier": tier,
    }
    given = {name: value for name, value in options.items() if value is not None}
    allow_links(follow_links)
    settings = load_settings(config)
    assigned = parse_assignments(f"{dataset}.{text}" for text in set_).get(dataset, {})
    chosen = corpus_options(dataset, settings) | assigned | given
    _refuse_foreign(dataset, given)
    reader = corpus_reader(dataset, chosen)
    folder = dataset_root(dataset, root, settings, sample=sample)
    target = out or Path(f"{dataset}.parquet")
    _keep_others(target)
    prepared = prepare_corpus(dataset, folder, chosen)
    rows = to_table(prepared.utterances)
    refuse_links(rows, folder)
    write_manifest(rows, target, {"corpus": dataset, "options": chosen})
    if check:
        _show_check(reader, prepared, folder, rows, target, sample=sample)
    else:
        show_problems(prepared.problems)
    if not sample:
        _show_counts(reader, prepared)
    _show_labels(rows)
    _show_left_out(prepared)
    console.print(f"{rows.num_rows} utterances in {printable(str(target))}", markup=False)
    links = " --follow-links" if follow_links else ""
    next_command(f"mmpipe extract --dataset {dataset} --root {folder} --manifest {target}{links}")


def _refuse_foreign(dataset: str, options: Mapping[str, Any]) -> None:
    from mmpipe.manifests.registry import CORPORA

    known = CORPORA.load(dataset).Options.model_fields
    if foreign := sorted(options.keys() - known.keys()):
        names = ", ".join(known) or "none"
        raise UsageError(f"{dataset} has no option {', '.join(foreign)}; its options: {names}")


def _keep_others(target: Path) -> None:
    """Refuse to replace a file that is not a manifest: it would be somebody's data."""
    import pyarrow as pa

    from mmpipe.core.parquet import read_metadata

    if not target.exists():
        return
    try:
        is_manifest = "corpus" in read_metadata(target)
    except (OSError, pa.ArrowInvalid, ValueError):
        is_manifest = False
    if not is_manifest:
        raise UsageError(f"--out {target} exists and is not a manifest: name another file, or remove it")


def _show_check(reader: Corpus, prepared: Prepared, root: Path, rows: pa.Table, target: Path, *, sample: bool) -> None:
    """Read the headers of all media, print what is odd and write it beside the manifest."""
    from mmpipe.manifests.counts import count_problems
    from mmpipe.pipeline.cli.extract_view import show_problems
    from mmpipe.pipeline.cli.progress import progress
    from mmpipe.pipeline.media.corpus_check import check_media
    from mmpipe.pipeline.media.header_checks import write_problems

    problems: list[Problem] = [*prepared.problems, *([] if sample else count_problems(reader, prepared))]
    with progress("files") as bars:
        bar = bars.add_task("headers", total=None)
        problems += check_media(prepared, root, rows, lambda files: bars.update(bar, total=files, advance=1))
    show_problems(problems)
    report = target.with_name(f"{target.stem}.check.csv")
    write_problems(problems, report)
    console.print(f"{len(problems)} things missing or odd, each with its place, in {report}", markup=False)


def _show_counts(reader: Corpus, prepared: Prepared) -> None:
    from mmpipe.manifests.counts import compare_counts, explain

    counts = compare_counts(reader, prepared)
    if not counts:
        return
    differing = [count for count in counts if count.got != count.expected]
    if not differing:
        console.print(styled("[green]All {} counts are those of the complete release.[/]", len(counts)))
        return
    rows = [(c.attribute, c.value, c.expected, c.got) for c in differing[:_SHOWN_COUNTS]]
    table("Counts that differ from the complete release", ["of", "value", "release", "here"], rows)
    if len(differing) > _SHOWN_COUNTS:
        console.print(f"... and {len(differing) - _SHOWN_COUNTS} more")
    for sentence in explain(counts, prepared):
        console.print(f"  {sentence}", markup=False)


def _show_labels(rows: pa.Table) -> None:
    labels = rows.column("label").value_counts().to_pylist()
    counted = [(entry["values"] or "(unlabelled)", entry["counts"]) for entry in labels]
    table("Labels", ["label", "utterances"], sorted(counted, key=lambda row: -row[1]))


def _show_left_out(prepared: Prepared) -> None:
    for reason, number in prepared.left_out.most_common():
        if number:
            console.print(f"left out: {reason} {number}", markup=False)
    whole = [reason for reason, number in prepared.left_out.items() if not number]
    if whole:
        more = f" and {len(whole) - _SHOWN_NAMES} more" if len(whole) > _SHOWN_NAMES else ""
        console.print(f"left out: {', '.join(whole[:_SHOWN_NAMES])}{more}", markup=False)
