"""What `mmpipe extract` prints while it plans and runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.progress import TaskID

from mmpipe.core.locks import Holder
from mmpipe.core.statuses import CATEGORIES, Category
from mmpipe.manifests.contract import Problem
from mmpipe.pipeline.cli.console import console, styled, table
from mmpipe.pipeline.cli.console import result as show
from mmpipe.pipeline.cli.progress import progress
from mmpipe.pipeline.extraction.estimate import Estimate
from mmpipe.pipeline.extraction.request import ExtractListener
from mmpipe.pipeline.extraction.run import KEPT_ROWS, ExtractPlan, ExtractResult
from mmpipe.pipeline.extraction.tasks import TaskResult
from mmpipe.pipeline.store.exclusions import Exclusions

__all__ = ["ExtractView", "show_estimate", "show_problems", "show_result"]


_DROPPED_SHOWN = 3
_SHOWN_ROWS = 10


class ExtractView(ExtractListener):
    """Prints the plan, a progress bar for each stage, and what else happens."""

    def __init__(self) -> None:
        self._bars, self._bar_of = progress(), dict[str, TaskID]()

    def on_problems(self, problems: Sequence[Problem]) -> None:
        show_problems(problems)

    def on_idle_stages(self, reasons: Mapping[str, str]) -> None:
        for name, reason in reasons.items():
            console.print(styled("[yellow]Stage {} is left out[/]: {}", name, reason))

    def on_excluded(self, excluded: Exclusions, unknown: str | None) -> None:
        some = list(excluded.bad.items())[:_DROPPED_SHOWN]
        shown = ", ".join(f"{i} ({note})" if note else i for i, note in some)
        more = ", ..." if len(excluded.bad) > _DROPPED_SHOWN else ""
        console.print(f"{len(excluded.bad)} utterances are left out, {excluded.reason}: {shown or 'none'}{more}")
        if unknown is not None:
            console.print(styled("[yellow]{}[/]", unknown))

    def on_dropped(self, ids: Sequence[str]) -> None:
        shown = ", ".join(ids[:_DROPPED_SHOWN]) + (", ..." if len(ids) > _DROPPED_SHOWN else "")
        console.print(f"Dropped {len(ids)} rows whose utterances are no longer to be extracted: {shown}", markup=False)

    def on_plan(self, planned: ExtractPlan, root: Path, workers: int) -> None:
        _show_plan(planned, root, workers)
        for stage, ids in planned.kept.items():
            more = f" and {len(ids) - _SHOWN_ROWS} more (all in logs/{KEPT_ROWS})" if len(ids) > _SHOWN_ROWS else ""
            console.print(
                styled(
                    "[yellow]{} rows of stage {} keep their earlier features though their media are gone[/]: {}{}; "
                    "--accept-missing replaces them",
                    len(ids),
                    stage,
                    ", ".join(ids[:_SHOWN_ROWS]),
                    more,
                )
            )

    def on_wait(self, other: Holder) -> None:
        console.print(
            styled(
                "[yellow]The same extraction is running already[/]: {}. This one waits for its end, then does what is "
                "left. To share the work instead, start each with its own --slice I/N.",
                other,
            )
        )

    def on_run_start(self, planned: ExtractPlan) -> None:
        if not planned.tasks:
            console.print("Nothing to do: every shard is up to date.")
            return
        self._bars, due = progress(), planned.rows_due
        self._bar_of = {s.name: self._bars.add_task(s.name, total=due[s.name]) for s in planned.stages if due[s.name]}
        self._bars.start()

    def on_task(self, done: TaskResult) -> None:
        self._bars.advance(self._bar_of[done.stage], done.rows)

    def on_run_end(self) -> None:
        if self._bar_of:
            self._bars.stop()
            self._bar_of = {}

    def on_statistics(self, mean: float, std: float) -> None:
        console.print(f"The crops of this corpus: mean {mean:.2f}, deviation {std:.2f} (0..255)")


def show_problems(problems: Sequence[Problem], limit: int = 3) -> None:
    """Print what a corpus lacks or holds that is odd, by category."""
    by_category: dict[Category, list[Problem]] = {}
    for problem in problems:
        by_category.setdefault(problem.category, []).append(problem)
    for category, members in by_category.items():
        lost = sum(problem.lost for problem in members)
        cost = f" ({lost} utterances left out)" if lost else ""
        console.print(styled("[yellow]{} {}[/]: {}{}", len(members), category, CATEGORIES[category], cost))
        for problem in members[:limit]:
            console.print(f"  {problem.where}: {problem.message}", markup=False)
        if len(members) > limit:
            console.print(f"  ... and {len(members) - limit} more")


def _show_plan(planned: ExtractPlan, root: Path, workers: int) -> None:
    rows, due, (number, count) = planned.manifest.num_rows, planned.rows_due, planned.part
    if planned.damage:
        console.print(f"Written again, since damaged: {planned.damage}", markup=False, style="yellow")
    part = f", slice {number} of {count}: {len(planned.shards)} shards" if count > 1 else ""
    console.print(styled("[bold]{}[/] utterances of {} -> {} ({} workers{})", rows, root, planned.store, workers, part))
    reasons = {
        spec.name: "; ".join(f"{why} ({n} shards)" for (stage, why), n in planned.reasons.items() if stage == spec.name)
        for spec in planned.stages
    }
    table(
        "Plan",
        ["stage", "why", "extractor", "shards done", "utterances due"],
        (
            (s.name, reasons[s.name] or "-", s.extractor, planned.done.get(s.name, 0), due[s.name])
            for s in planned.stages
        ),
    )


def show_estimate(answers: Sequence[Estimate], workers: int) -> None:
    """Print what an extraction would take."""
    if not answers:
        show("Nothing to do: every shard is up to date.")
        return
    table(
        f"Estimate, from {max(a.sampled for a in answers)} utterances of each stage on this machine",
        ["stage", "utterances", "s an utterance", "minutes of a worker", "MB"],
        (
            (
                a.stage,
                a.utterances,
                f"{a.seconds / a.utterances:.3f}",
                f"{a.seconds / 60:.1f}",
                f"{a.bytes / 1e6:.1f}",
            )
            for a in answers
        ),
    )
    minutes, size = sum(a.seconds for a in answers) / 60 / workers, sum(a.bytes for a in answers) / 1e6
    show(f"About {minutes:.1f} minutes with {workers} workers and {size:.1f} MB. Dry run: nothing was written.")


def show_result(result: ExtractResult, *, is_last: bool = True) -> None:
    """Print what an extraction did; with --quiet a line of it, if it is the last step of the command."""
    table(
        "Result",
        ["stage", "shards made", "statuses"],
        (
            (name, result.shards[name], ", ".join(f"{status} {n}" for status, n in counts.items()))
            for name, counts in result.statuses.items()
        ),
    )
    line = f"{result.store} in {result.seconds:.1f} s"
    if is_last:
        show(line)
    else:
        console.print(line, markup=False)
    if result.failed:
        console.print(
            styled(
                "[yellow]{} utterances failed[/]: `mmpipe inspect {}` lists them by reason", result.failed, result.store
            )
        )
