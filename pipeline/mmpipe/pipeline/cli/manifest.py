"""`mmpipe manifest`: a corpus becomes a manifest, checked against its release and its media."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from mmpipe.core.errors import UsageError
from mmpipe.core.parquet import read_metadata
from mmpipe.manifests.contract import Corpus, Prepared, Problem
from mmpipe.manifests.counts import compare_counts, count_problems, explain
from mmpipe.manifests.io import refuse_links, write_manifest
from mmpipe.manifests.registry import CORPORA
from mmpipe.manifests.schema import to_table
from mmpipe.manifests.splits import crossing_speakers
from mmpipe.pipeline.cli.console import console, next_command, progress, table
from mmpipe.pipeline.cli.extract import corpus_options, prepare, show_problems
from mmpipe.pipeline.cli.settings import dataset_root, load_settings, parse_assignments
from mmpipe.pipeline.media.header_checks import check_headers, media_uses, read_headers, write_problems

__all__ = ["run_manifest"]

SHOWN_COUNTS = 12
SHOWN_NAMES = 5


def run_manifest(
    dataset: str,
    root: Path | None,
    out: Path | None,
    assignments: Sequence[str],
    options: Mapping[str, Any],
    *,
    check: bool,
    sample: bool,
    config: Path | None,
) -> Path:
    """Make the manifest of a corpus, write it, and say what is missing or odd.

    Args:
        dataset: a name of the registry.
        root: where the corpus lies; None as for `dataset_root`.
        out: the manifest; None for DATASET.parquet.
        assignments: texts of --set.
        options: options of the corpus that have a command line option of their own; they win over --set.
        check: whether to read the headers of all media, and to write OUT.check.csv.
        sample: whether to read the bundled sample.
        config: the configuration file.

    Raises:
        UsageError: an option is wrong, or `out` is a file that is no manifest.
        CorpusError: the folder does not look like the corpus.
        ManifestError: a media file is a link that leaves the root.
    """
    settings = load_settings(config)
    corpus = CORPORA.load(dataset)
    folder = dataset_root(dataset, root, settings, sample=sample)
    _refuse_foreign(corpus, options)
    given = parse_assignments(f"{dataset}.{text}" for text in assignments).get(dataset, {})
    chosen = corpus_options(dataset, settings) | given | dict(options)
    target = out or Path(f"{dataset}.parquet")
    _keep_others(target)
    prepared = prepare(dataset, folder, chosen)
    manifest = to_table(prepared.utterances)
    refuse_links(manifest, folder)
    write_manifest(manifest, target, {"corpus": dataset, "options": chosen})
    reader = corpus(corpus.Options.model_validate(chosen))
    if check:
        problems = [*prepared.problems, *([] if sample else count_problems(reader, prepared))]
        problems += _checked(prepared, folder, manifest)
        show_problems(problems)
        report = target.with_name(f"{target.stem}.check.csv")
        write_problems(problems, report)
        console.print(f"{len(problems)} things missing or odd, each with its place, in {report}", markup=False)
    else:
        show_problems(prepared.problems)
    if not sample:
        _show_counts(reader, prepared)
    _show_labels(manifest)
    _show_left_out(prepared)
    console.print(f"{manifest.num_rows} utterances in {target}", markup=False)
    next_command(f"mmpipe extract --dataset {dataset} --root {folder} --manifest {target}")
    return target


def _refuse_foreign(corpus: type[Corpus], options: Mapping[str, Any]) -> None:
    known = corpus.Options.model_fields
    if foreign := sorted(options.keys() - known.keys()):
        names = ", ".join(known) or "none"
        raise UsageError(f"{corpus.name} has no option {', '.join(foreign)}; its options: {names}")


def _keep_others(target: Path) -> None:
    """Refuse to replace a file that is no manifest: it would be somebody's data."""
    if not target.exists():
        return
    try:
        is_manifest = "corpus" in read_metadata(target)
    except (OSError, pa.ArrowInvalid, ValueError):
        is_manifest = False
    if not is_manifest:
        raise UsageError(f"--out {target} exists and is no manifest: name another file, or remove it")


def _checked(prepared: Prepared, root: Path, manifest: pa.Table) -> list[Problem]:
    """Problems of media and splits that the reader did not note itself."""
    uses = media_uses(prepared.utterances)
    with progress("files") as bars:
        bar = bars.add_task("headers", total=len(uses))
        headers = read_headers(root, list(uses), lambda: bars.advance(bar))
    told = {(problem.category, problem.where) for problem in prepared.problems}
    found = [p for p in check_headers(headers, uses) if (p.category, p.where) not in told]
    if crossing := crossing_speakers(manifest):
        names = list(crossing)
        shown = ", ".join(names[:SHOWN_NAMES]) + (" ..." if len(names) > SHOWN_NAMES else "")
        message = (
            f"{len(names)} speakers stand in two splits or more, so the corpus's own split hears them all: {shown}"
        )
        found.append(Problem("speaker_crosses", "split", message))
    return found


def _show_counts(reader: Corpus, prepared: Prepared) -> None:
    counts = compare_counts(reader, prepared)
    if not counts:
        return
    differing = [count for count in counts if count.got != count.expected]
    if not differing:
        console.print(f"[green]All {len(counts)} counts are those of the complete release.[/]")
        return
    rows = [(c.attribute, c.value, c.expected, c.got) for c in differing[:SHOWN_COUNTS]]
    table("Counts that differ from the complete release", ["of", "value", "release", "here"], rows)
    if len(differing) > SHOWN_COUNTS:
        console.print(f"... and {len(differing) - SHOWN_COUNTS} more")
    for sentence in explain(counts, prepared):
        console.print(f"  {sentence}", markup=False)


def _show_labels(manifest: pa.Table) -> None:
    labels = manifest.column("label").value_counts().to_pylist()
    rows = [(entry["values"] or "(unlabelled)", entry["counts"]) for entry in labels]
    table("Labels", ["label", "utterances"], sorted(rows, key=lambda row: -row[1]))


def _show_left_out(prepared: Prepared) -> None:
    for reason, number in prepared.left_out.most_common():
        if number:
            console.print(f"left out: {reason} {number}", markup=False)
    whole = [reason for reason, number in prepared.left_out.items() if not number]
    if whole:
        more = f" and {len(whole) - SHOWN_NAMES} more" if len(whole) > SHOWN_NAMES else ""
        console.print(f"left out: {', '.join(whole[:SHOWN_NAMES])}{more}", markup=False)
