"""The text of a script that submits the jobs of an array to Slurm.

Every word is quoted for the shell. Options are given to `sbatch` as words, since lines of `#SBATCH` take no quotes.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["MARK", "Resources", "extract_script", "train_script"]

MARK = "# Written by `mmpipe slurm-script`: start it with bash, where sbatch works."
"""The second line of a script, by which mmpipe knows its own."""

_TASK = '"$SLURM_ARRAY_TASK_ID/{}"'


@dataclass(frozen=True)
class Resources:
    """What the jobs ask Slurm for.

    Attributes:
        slices: jobs of the array.
        time: limit of each job, in a form of Slurm; None is the cluster's own.
        cpus: cores of each job.
        mem: memory of each job, such as `8G`; None is the cluster's own.
        partition: None is the cluster's own.
        gres: such as `gpu:1`, for the jobs of the array.
        setup: lines of shell that each job runs first.
        logs: the folder of the jobs' output.
    """

    slices: int
    time: str | None = None
    cpus: int = 4
    mem: str | None = None
    partition: str | None = None
    gres: str | None = None
    setup: tuple[str, ...] = ()
    logs: str = "slurm-logs"


def extract_script(name: str, store: str, plan: Sequence[str], part: Sequence[str], resources: Resources) -> str:
    """A script that plans a store, extracts it with an array of jobs, and lists what is missing then.

    Args:
        name: of the jobs.
        store: the feature store.
        plan: the options of `mmpipe extract` that plan it.
        part: the options of each slice, without `--slice`.
        resources: of the jobs.
    """
    workers = "" if any(word.startswith("--workers=") for word in part) else ' --workers "$SLURM_CPUS_PER_TASK"'
    count = resources.slices
    missing = shlex.join(["mmpipe", "inspect", "--missing", "--slices", str(count), "--", store])
    about = [
        f"# Three jobs: the plan of the store, an array of {count} slices, and a list of what is missing then.",
        "# Slices that were stopped go on where they were: run this script again at any time.",
    ]
    jobs = [
        _job("plan", f"{name}-plan", resources, shlex.join(["mmpipe", "extract", *plan, "--plan-only"])),
        _job(
            "array",
            name,
            resources,
            f"{shlex.join(['mmpipe', 'extract', *part])} --slice {_TASK.format(count)}{workers}",
            after="afterok:plan",
            is_array=True,
        ),
        _job("missing", f"{name}-missing", resources, missing, after="afterany:array"),
    ]
    return _script(about, jobs, resources)


def train_script(name: str, words: Sequence[str], resources: Resources) -> str:
    """A script that trains a run or a table with an array of jobs, then does what is left and prints the figures.

    Args:
        name: of the jobs.
        words: the options of `mmpipe train`, without `--slice`.
        resources: of the jobs.
    """
    count, command = resources.slices, shlex.join(["mmpipe", "train", *words])
    about = [
        f"# Two jobs: an array of {count} slices, and one that trains what is left and prints the figures.",
        "# Folds that were stopped go on where they were: run this script again at any time.",
    ]
    jobs = [
        _job("array", name, resources, f"{command} --slice {_TASK.format(count)}", is_array=True),
        _job("rest", f"{name}-rest", resources, command, after="afterany:array", with_gres=True),
    ]
    return _script(about, jobs, resources)


def _script(about: Sequence[str], jobs: Sequence[tuple[str, str]], resources: Resources) -> str:
    shown = ", ".join(f"{variable} ${{{variable}}}" for variable, _ in jobs)
    return "\n".join(
        [
            "#!/bin/bash",
            MARK,
            *about,
            "set -euo pipefail",
            "",
            f"mkdir -p -- {shlex.quote(resources.logs)}",
            "",
            *(text for _, text in jobs),
            f'echo "Submitted: {shown}; see them with: squeue --me"',
            "",
        ]
    )


def _job(
    variable: str,
    name: str,
    resources: Resources,
    command: str,
    *,
    after: str | None = None,
    is_array: bool = False,
    with_gres: bool = False,
) -> tuple[str, str]:
    """A job whose number the script keeps in a variable, and the lines that submit it."""
    name = re.sub(r"[^\w.-]", "-", name, flags=re.ASCII)
    output = resources.logs.replace("%", "%%") + ("/%x-%A_%a.log" if is_array else "/%x-%j.log")
    asked = {
        "array": f"1-{resources.slices}" if is_array else None,
        "cpus-per-task": str(resources.cpus),
        "time": resources.time,
        "mem": resources.mem,
        "partition": resources.partition,
        "gres": resources.gres if is_array or with_gres else None,
        "output": output,
    }
    words = ["sbatch", "--parsable", "--requeue", f"--job-name={name}"]
    words += [f"--{option}={value}" for option, value in asked.items() if value is not None]
    line = shlex.join(words)
    if after is not None:
        kind, _, before = after.partition(":")
        line += f' --kill-on-invalid-dep=yes --dependency="{kind}:${{{before}%%;*}}"'
    body = ["#!/bin/bash", "set -euo pipefail", *resources.setup, f"exec {command}"]
    end = "JOB"
    while any(end in text.splitlines() for text in body):
        end += "_"
    return variable, "\n".join([f"{variable}=$({line} <<'{end}'", *body, end, ")", ""])
