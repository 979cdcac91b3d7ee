"""`mmpipe manifest`: a corpus becomes a manifest, checked against its release and its media."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmpipe.core.errors import UsageError
from mmpipe.pipeline.cli.command import end_incomplete
from mmpipe.pipeline.cli.console import console, next_command, result, styled, table
from mmpipe.pipeline.cli.corpus_options import refuse_foreign, refuse_ignored_options, takes_corpus_options
from mmpipe.pipeline.cli.modes import refuse_ignored
from mmpipe.pipeline.cli.options import Config, FollowLinks, Overwrite, Root, Sample, allow_links

if TYPE_CHECKING:
    import pyarrow as pa

    from mmpipe.manifests.contract import Corpus, Prepared, Problem

__all__ = ["manifest"]

_UNREADABLE = frozenset(
    {
        "cut_off",
        "file_damaged",
        "file_empty",
        "file_missing",
        "file_refused",
        "leaves_root",
        "media_missing",
        "media_unreadable",
        "no_decoder",
        "unusable_name",
    }
)
"""Categories of problems that mean a file cannot be read, or not to its end."""

_SHOWN_COUNTS = 12
_SHOWN_NAMES = 5


@takes_corpus_options
def manifest(
    dataset: Annotated[str, typer.Argument(help="ami, iemocap, meld or folder.")],
    root: Root = None,
    out: Annotated[Path | None, typer.Option(help="The manifest. Default: DATASET.parquet.")] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Read the headers of all media, find equal ones in two splits; list what is odd in OUT.check.csv.",
        ),
    ] = False,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="With --check: exit with 3 if a file cannot be read or a stage has no input."),
    ] = False,
    corpus: Mapping[str, Any] = {},
    follow_links: FollowLinks = False,
    overwrite: Overwrite = False,
    set_: Annotated[list[str], typer.Option("--set", help="Any of these options: NAME=VALUE. Repeatable.")] = [],  # noqa: B006
    sample: Sample = False,
    config: Config = None,
) -> None:
    """Make the manifest of a corpus: one row an utterance, counted against the complete release."""
    from mmpipe.core.locks import writing_alone
    from mmpipe.manifests.io import refuse_links, write_manifest
    from mmpipe.manifests.prepare import corpus_reader, prepare_corpus
    from mmpipe.manifests.schema import to_table
    from mmpipe.pipeline.cli.extract_view import show_problems
    from mmpipe.pipeline.cli.settings import corpus_options, dataset_root, load_settings, parse_assignments
    from mmpipe.pipeline.outputs import claim

    problems: Sequence[Problem] = ()
    if not check:
        refuse_ignored("without --check", {"--strict": strict})
    allow_links(follow_links)
    settings = load_settings(config)
    assigned = parse_assignments(f"corpus.{text}" for text in set_).get("corpus", {})
    chosen = corpus_options(dataset, settings) | assigned | dict(corpus)
    refuse_foreign(dataset, corpus)
    if twice := sorted(assigned.keys() & corpus.keys()):
        raise UsageError(f"--set {twice[0]}=... and its own option say the same: give one of them")
    refuse_ignored_options(dataset, [*assigned, *corpus], chosen)
    reader = corpus_reader(dataset, chosen)
    folder = dataset_root(dataset, root, settings, sample=sample)
    target = out or Path(f"{dataset}.parquet")
    claim(target, "manifest", overwrite=overwrite)
    listed = target.with_name(f"{target.stem}.check.csv")
    if check:
        claim(listed, "list of problems", overwrite=overwrite)
    prepared = prepare_corpus(dataset, folder, chosen)
    rows = to_table(prepared.utterances)
    refuse_links(rows, folder)
    with writing_alone(target, "mmpipe manifest"):
        write_manifest(rows, target, {"corpus": dataset, "options": chosen})
    if check:
        problems = _show_check(reader, prepared, folder, rows, listed, sample=sample)
    else:
        show_problems(prepared.problems)
    if not sample:
        _show_counts(reader, prepared)
    _show_labels(rows)
    _show_left_out(prepared)
    result(f"{rows.num_rows} utterances in {target}")
    links = " --follow-links" if follow_links else ""
    if strict and (reasons := _unusable(problems, rows, reader)):
        end_incomplete(f"--strict: {'; '.join(reasons)}")
    next_command(f"mmpipe extract --dataset {dataset} --root {folder} --manifest {target}{links}")


def _unusable(problems: Sequence[Problem], rows: pa.Table, reader: Corpus) -> list[str]:
    """What keeps a corpus from being read in full: files that cannot be read, stages without input."""
    from mmpipe.pipeline.extraction.material import split_by_material
    from mmpipe.pipeline.extraction.stages import resolve_stages

    unreadable = sum(problem.category in _UNREADABLE for problem in problems)
    _, idle = split_by_material(rows, resolve_stages(reader.stages, {}))
    reasons = [f"stage {name}: {reason}" for name, reason in idle.items()]
    return [f"{unreadable} files or parts cannot be read", *reasons] if unreadable else reasons


def _show_check(
    reader: Corpus, prepared: Prepared, root: Path, rows: pa.Table, report: Path, *, sample: bool
) -> list[Problem]:
    """Read the headers of all media, print what is odd, write it to a list and give it."""
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
    write_problems(problems, report)
    console.print(f"{len(problems)} things missing or odd, each with its place, in {report}", markup=False)
    return problems


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
