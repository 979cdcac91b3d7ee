"""Names of mmpipe's own classes and of those that other packages bring."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import PurePosixPath

import pytest

from mmpipe.core.errors import UsageError
from mmpipe.core.registry import Registry

OWN = {"plain": "pathlib:PurePosixPath", "text": "json:JSONDecoder"}


def registry(monkeypatch: pytest.MonkeyPatch, *points: tuple[str, str], takes_paths: bool = False) -> Registry[object]:
    """A registry beside which packages with these entry points are installed."""
    found = [EntryPoint(name, value, "mmpipe.shapes") for name, value in points]
    monkeypatch.setattr("mmpipe.core.registry.entry_points", lambda group: [p for p in found if p.group == group])
    return Registry("shape", "mmpipe.shapes", OWN, takes_paths=takes_paths)


def test_own_names_and_those_of_other_packages_load(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = registry(monkeypatch, ("other", "json:JSONEncoder"))
    assert shapes.load("plain") is PurePosixPath
    assert shapes.load("other") is json.JSONEncoder
    assert list(shapes.names()) == ["plain", "text", "other"]


def test_an_unknown_name_is_answered_with_the_valid_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"shape 'round' does not exist; valid names: other, plain, text$"):
        registry(monkeypatch, ("other", "json:JSONEncoder")).load("round")


def test_a_class_on_the_python_path_serves_where_the_registry_takes_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    assert registry(monkeypatch, takes_paths=True).load("json:JSONEncoder") is json.JSONEncoder
    with pytest.raises(UsageError, match="or MODULE:CLASS of your own"):
        registry(monkeypatch, takes_paths=True).load("round")
    with pytest.raises(UsageError, match="does not exist"):
        registry(monkeypatch).load("json:JSONEncoder")
    with pytest.raises(UsageError, match=r"cannot be imported .*PYTHONPATH"):
        registry(monkeypatch, takes_paths=True).load("no_such_module:Shape")


@pytest.mark.parametrize("points", [[("plain", "json:JSONEncoder")], [("a", "json:X"), ("a", "json:Y")]])
def test_a_package_that_takes_a_name_that_is_given_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, points: list[tuple[str, str]]
) -> None:
    with pytest.raises(UsageError, match=f"{points[0][0]!r}.* already the name of .*uninstall"):
        registry(monkeypatch, *points).load("text")


def test_a_package_whose_class_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"shape 'other' cannot be imported .*complete"):
        registry(monkeypatch, ("other", "json:NoSuchClass")).load("other")
