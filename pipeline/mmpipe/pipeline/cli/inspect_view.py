"""What `mmpipe inspect` prints of stores, manifests and single utterances."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmpipe.pipeline.cli.console import console, styled, table
from mmpipe.pipeline.cli.result_view import show_provenance

if TYPE_CHECKING:
    from mmpipe.manifests.schema import Utterance
    from mmpipe.pipeline.extraction.contents import Contents
    from mmpipe.pipeline.store.manifest_summary import ManifestSummary
    from mmpipe.pipeline.store.summary import Failure, Summary
    from mmpipe.pipeline.store.utterance_view import UtteranceView

__all__ = ["show_summary", "show_utterance"]

_SHOWN_VALUES = 12
"""Labels, speakers or reasons that a line or table shows before it says how many more there are."""


def show_summary(summary: Summary, contents: Contents) -> None:
    """A store, or a manifest alone."""
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
    if contents.faces is not None:
        console.print(str(contents.faces))
    if contents.dimensions:
        table(
            "Dimensions (nearly constant: one value in 99 % of the utterances or more)",
            ["stage", "dimensions", "constant", "nearly constant", "utterances looked at"],
            (
                (
                    name,
                    found.width,
                    len(found.constant),
                    len(found.nearly_constant),
                    f"{found.utterances}{' (all)' if found.is_all else ''}",
                )
                for name, found in contents.dimensions.items()
            ),
        )
    for name, problem in contents.unread.items():
        console.print(f"The features of {name} cannot be read: {problem}", style="yellow")
    for stage in summary.stages:
        show_provenance(stage.name, stage.provenance)
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
            ((name, r.status, r.count, f"{r.utterance_id}: {r.example}") for name, r in reasons[:_SHOWN_VALUES]),
        )
        if len(reasons) > _SHOWN_VALUES:
            console.print(f"... and {len(reasons) - _SHOWN_VALUES} more reasons")


def _print_manifest(manifest: ManifestSummary) -> None:
    if manifest.median_seconds is not None:
        total = f"{60 * manifest.hours:.1f} minutes" if manifest.hours < 2 else f"{manifest.hours:.1f} hours"
        console.print(
            f"{total} of speech; median {manifest.median_seconds:.2f} s; "
            f"80 % are no longer than {manifest.percentile_seconds:.2f} s"
        )
    if manifest.median_words is not None:
        console.print(f"{manifest.words} words; median {manifest.median_words:.0f} an utterance")
    console.print(f"audio {manifest.with_audio}, video {manifest.with_video}, text {manifest.with_text} utterances")
    for column, counts in manifest.counts.items():
        if counts:
            shown = ", ".join(f"{value} {n}" for value, n in list(counts.items())[:_SHOWN_VALUES])
            more = f" and {len(counts) - _SHOWN_VALUES} more" if len(counts) > _SHOWN_VALUES else ""
            console.print(f"{column}: {shown}{more}", markup=False)
    if manifest.unlabelled:
        console.print(f"unlabelled: {manifest.unlabelled}")


def show_utterance(view: UtteranceView) -> None:
    """One utterance in full, with its row of every stage."""
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
